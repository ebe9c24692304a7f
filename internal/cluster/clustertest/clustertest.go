// Package clustertest is an API server for tests: objects that are given to it, and ports inside pods.
//
// In: values of k8s.io/api and HTTP handlers. Out: a kubeconfig file of a server on loopback that answers GET, LIST with
// selectors and pages, and port-forwarding both over WebSocket and plainly. It is a package of its own because the
// tests of internal/cluster, internal/check and internal/cli share it. It keeps no rules of Kubernetes: what is put in
// comes out. A Server may be used and changed by several goroutines. To debug, look at Server.Asked.
package clustertest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// Server is one API server.
type Server struct {
	// Token is what the kubeconfig has; other callers are refused. Fixed.
	Token string

	http *httptest.Server

	mu        sync.Mutex
	objects   map[string]json.RawMessage // by path
	failing   map[string]int             // status codes by path
	ports     map[string]net.Listener    // by "namespace/pod:port"
	asked     []string
	pageSize  int
	websocket bool
}

// New starts a server that the test's end stops.
func New(tb testing.TB) *Server {
	tb.Helper()
	s := &Server{
		Token: "secret", objects: map[string]json.RawMessage{}, failing: map[string]int{}, ports: map[string]net.Listener{},
		pageSize: 500, websocket: true,
	}
	s.http = httptest.NewTLSServer(http.HandlerFunc(s.serve))
	tb.Cleanup(s.http.Close)
	return s
}

// Kubeconfig writes a kubeconfig file with the contexts "test", in namespace "team", and "other", which is the same
// cluster in namespace "default". "test" is the current one.
func (s *Server) Kubeconfig(tb testing.TB) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: test
clusters: [{name: c, cluster: {server: %q, insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: %s}}]
contexts:
- {name: test, context: {cluster: c, user: u, namespace: team}}
- {name: other, context: {cluster: c, user: u}}
`, s.http.URL, s.Token)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return file
}

// Put stores an object, or anything that is JSON, under its path.
func (s *Server) Put(tb testing.TB, at string, object any) {
	tb.Helper()
	data, err := json.Marshal(object)
	if err != nil {
		tb.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[at] = data
}

// Fail lets the server answer a path with a status code.
func (s *Server) Fail(at string, code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing[at] = code
}

// Pages makes lists come in pages of size objects.
func (s *Server) Pages(size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pageSize = size
}

// RefuseWebSocket makes the server one of the time before port-forwarding came in WebSocket.
func (s *Server) RefuseWebSocket() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.websocket = false
}

// Listen puts an HTTP server on a port of a pod.
func (s *Server) Listen(tb testing.TB, pod string, port int, handler http.Handler) {
	tb.Helper()
	h := httptest.NewServer(handler)
	tb.Cleanup(h.Close)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports[pod+":"+strconv.Itoa(port)] = h.Listener
}

// ListenRaw puts a listener that the caller serves on a port of a pod.
func (s *Server) ListenRaw(pod string, port int, listener net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports[pod+":"+strconv.Itoa(port)] = listener
}

// Asked are the requests so far, "METHOD PATH?QUERY", sorted.
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(slices.Values(s.asked))
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.Method+" "+r.URL.RequestURI())
	code := s.failing[r.URL.Path]
	object, found := s.objects[r.URL.Path]
	s.mu.Unlock()
	switch {
	case r.Header.Get("Authorization") != "Bearer "+s.Token:
		refuse(w, http.StatusUnauthorized, "Unauthorized")
	case code != 0:
		refuse(w, code, fmt.Sprintf("%s: %s", r.URL.Path, http.StatusText(code)))
	case strings.HasSuffix(r.URL.Path, "/portforward"):
		s.forward(w, r)
	case r.Method == http.MethodPost:
		s.review(w, r)
	case found:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(object)
	case s.isList(r.URL.Path):
		s.list(w, r)
	default:
		refuse(w, http.StatusNotFound, fmt.Sprintf("%s %q not found", path.Base(path.Dir(r.URL.Path)), path.Base(r.URL.Path)))
	}
}

// review answers a SelfSubjectAccessReview: everything is allowed but what Fail was told about, by
// "GROUP/RESOURCE".
func (s *Server) review(w http.ResponseWriter, r *http.Request) {
	var review map[string]any
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	spec, _ := review["spec"].(map[string]any)
	attributes, _ := spec["resourceAttributes"].(map[string]any)
	s.mu.Lock()
	code := s.failing[fmt.Sprint(attributes["group"], "/", attributes["resource"])]
	s.mu.Unlock()
	review["status"] = map[string]any{"allowed": code == 0}
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(review)
}

func refuse(w http.ResponseWriter, code int, message string) {
	reason := map[int]metav1.StatusReason{
		http.StatusNotFound: metav1.StatusReasonNotFound, http.StatusForbidden: metav1.StatusReasonForbidden,
		http.StatusUnauthorized: metav1.StatusReasonUnauthorized,
	}[code]
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Message: message, Reason: reason, Code: int32(code),
	})
}

// isList tells /api/v1/pods from /api/v1/namespaces/x: the last word is a resource where its predecessor is not.
func (s *Server) isList(at string) bool {
	words := strings.Split(strings.Trim(at, "/"), "/")
	root := 2 // api/v1
	if words[0] == "apis" {
		root = 3
	}
	if len(words) > root+1 && words[root] == "namespaces" {
		root += 2
	}
	return len(words) == root+1
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	selector, err := labels.Parse(query.Get("labelSelector"))
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	name, _ := strings.CutPrefix(query.Get("fieldSelector"), "metadata.name=")
	s.mu.Lock()
	size := s.pageSize
	var items []json.RawMessage
	for _, at := range slices.Sorted(func(yield func(string) bool) {
		for at := range s.objects {
			if !yield(at) {
				return
			}
		}
	}) {
		var o metav1.PartialObjectMetadata
		if listed(at, r.URL.Path) && json.Unmarshal(s.objects[at], &o) == nil && selector.Matches(labels.Set(o.Labels)) && (name == "" || name == o.Name) {
			items = append(items, s.objects[at])
		}
	}
	s.mu.Unlock()
	from, _ := strconv.Atoi(query.Get("continue"))
	to := min(from+size, len(items))
	page := map[string]any{"metadata": map[string]any{}, "items": items[min(from, to):to]}
	if to < len(items) {
		page["metadata"] = map[string]any{"continue": strconv.Itoa(to)}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(page)
}

// listed reports whether the object at belongs to the list in: directly below it, or in a namespace of it.
func listed(at, in string) bool {
	if path.Dir(at) == in {
		return true
	}
	prefix, resource := path.Split(in)
	rest, ok := strings.CutPrefix(at, prefix+"namespaces/")
	words := strings.Split(rest, "/")
	return ok && len(words) == 3 && words[1] == resource
}

// forward is what API server and kubelet do for a port-forward request.
func (s *Server) forward(w http.ResponseWriter, r *http.Request) {
	words := strings.Split(r.URL.Path, "/")
	pod := words[len(words)-4] + "/" + words[len(words)-2]
	var conn httpstream.Connection
	streams := make(chan httpstream.Stream, 2)
	accept := func(stream httpstream.Stream, _ <-chan struct{}) error {
		streams <- stream
		return nil
	}
	s.mu.Lock()
	inWebSocket := s.websocket
	s.mu.Unlock()
	switch {
	case !websocket.IsWebSocketUpgrade(r):
		if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
			return
		}
		conn = spdy.NewResponseUpgrader().UpgradeResponse(w, r, accept)
	case inWebSocket:
		upgrader := websocket.Upgrader{Subprotocols: []string{"SPDY/3.1+" + portforward.PortForwardProtocolV1Name}}
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		conn, err = spdy.NewServerConnection(portforward.NewTunnelingConnection("server", ws), accept)
		if err != nil {
			return
		}
	default:
		refuse(w, http.StatusBadRequest, "Upgrade request required")
		return
	}
	if conn == nil {
		return
	}
	defer func() { _ = conn.Close() }()
	byType := map[string]httpstream.Stream{}
	for len(byType) < 2 {
		select {
		case stream := <-streams:
			byType[stream.Headers().Get(corev1.StreamType)] = stream
		case <-conn.CloseChan():
			return
		}
	}
	data, complaints := byType[corev1.StreamTypeData], byType[corev1.StreamTypeError]
	s.connect(pod+":"+data.Headers().Get(corev1.PortHeader), data, complaints)
	<-conn.CloseChan()
}

// connect copies between a stream and the port, or complains in the words of containerd.
func (s *Server) connect(to string, data, complaints httpstream.Stream) {
	defer data.Close()
	defer complaints.Close()
	s.mu.Lock()
	listener := s.ports[to]
	s.mu.Unlock()
	if listener == nil {
		_, port, _ := strings.Cut(to, ":")
		fmt.Fprintf(complaints, "error forwarding port %s to pod 5ba, uid : failed to execute portforward in network namespace "+
			"\"/var/run/netns/cni-1\": failed to connect to localhost:%s inside namespace \"5ba\", IPv4: dial tcp4 127.0.0.1:%s: connect: connection refused", port, port, port)
		return
	}
	app, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		fmt.Fprint(complaints, err)
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(app, data)
		app.Close()
	}()
	_, _ = io.Copy(data, app)
	data.Close()
	app.Close()
	_ = data.Reset()
	<-done
}
