//go:build envoy

package differential_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// heard is what a backend got. It is the body of its answer.
type heard struct {
	Backend, Method, Host, Target, Proto, Body string
	Header                                     http.Header
	Attempt                                    int
}

// backend answers as the request tells it to, "x-answers: *=503", and says what it got.
type backend struct {
	name string

	mu   sync.Mutex
	seen map[string]int // by x-request: how often it came; guarded by mu
	got  map[string]outcome
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sent, err := io.ReadAll(io.LimitReader(r.Body, 1<<10))
	id := r.Header.Get("X-Request")
	h := heard{Backend: b.name, Method: r.Method, Host: r.Host, Target: r.RequestURI, Proto: r.Proto, Body: string(sent), Header: r.Header}
	b.mu.Lock()
	b.seen[id]++
	h.Attempt = b.seen[id]
	b.got[id] = append(b.got[id], h.lines()...)
	b.mu.Unlock()
	if name, value, ok := strings.Cut(r.Header.Get("X-Says"), ": "); ok {
		w.Header().Set(name, value)
	}
	w.Header().Set("X-Backend", b.name)
	status := http.StatusOK
	if _, code, ok := strings.Cut(r.Header.Get("X-Answers"), "="); ok {
		status, _ = strconv.Atoi(code)
	}
	body, failed := json.Marshal(h)
	if err != nil || failed != nil {
		status = http.StatusTeapot
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

// came gives what a request looked like when it came, nil where it has not.
func (b *backend) came(id string) outcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.got[id])
}

// Backends by their names: the two versions of everything, those that are chosen among by a hash, and the one that gets copies.
const copies = "copies"

func versions() []string { return []string{"v1", "v2"} }

func hashed() []string { return []string{"h1", "h2", "h3", "h4", "h5", "h6"} }

func everyBackend() []string { return append(append(versions(), hashed()...), copies) }

// apps are all backends, and their ports.
type apps struct {
	ports    map[string]uint16
	*backend // that of copies
}

// backends serves HTTP/1.1 and HTTP/2.
func backends(t *testing.T) *apps {
	t.Helper()
	out := &apps{ports: map[string]uint16{}}
	for _, name := range everyBackend() {
		out.backend = &backend{name: name, seen: map[string]int{}, got: map[string]outcome{}}
		s := httptest.NewUnstartedServer(out.backend)
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetHTTP1(true)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		t.Cleanup(s.Close)
		out.ports[name] = uint16(s.Listener.Addr().(*net.TCPAddr).Port)
	}
	return out
}

// host is one that both proxies call, by rules of its own.
type host struct {
	name string
	// protocol names its port: http, http2 or grpc. versions are its backends, policy is its DestinationRule's, rule its routes'.
	protocol     string
	versions     []string
	policy, rule string
}

// manifests are the host, with an address of its own, and its second version as a Service.
func (h *host) manifests(number int, ports map[string]uint16) string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: shop}
spec: {clusterIP: 10.96.%[2]d.%[3]d, ports: [{name: %[4]s, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s-v2, namespace: shop}
spec: {clusterIP: 10.97.%[2]d.%[3]d, ports: [{name: %[4]s, port: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %[1]s, namespace: shop}
spec: {host: %[1]s, %[5]s subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
`, h.name, number/250, 1+number%250, h.protocol, h.policy)
	for _, version := range h.versions {
		b.WriteString(slice(h.name, h.protocol, version, ports[version]))
	}
	b.WriteString(slice(h.name+"-v2", h.protocol, "v2", ports["v2"]))
	return b.String() + h.rule + "---\n"
}

func slice(service, protocol, pod string, port uint16) string {
	return fmt.Sprintf(`apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-%[2]s-%[4]s, namespace: shop, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: %[4]s, port: %[3]d}]
endpoints: [{addresses: [127.0.0.1], conditions: {ready: true}, targetRef: {kind: Pod, namespace: shop, name: %[2]s}}]
---
`, service, pod, port, protocol)
}

// surroundings are what all hosts have in common: the pods that subsets are told apart by, and where copies go.
func surroundings(ports map[string]uint16) string {
	var b strings.Builder
	for i, name := range everyBackend() {
		fmt.Fprintf(&b, `apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: shop, labels: {version: %[1]s}}
spec: {containers: [{name: app, image: app}]}
status: {phase: Running, podIP: 127.0.1.%[2]d, podIPs: [{ip: 127.0.1.%[2]d}]}
---
`, name, 1+i)
	}
	return b.String() + fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: shop}
spec: {clusterIP: 10.98.1.1, ports: [{name: http, port: 8080}, {name: http2, port: 8081}]}
---
`, copies) + slice(copies, "http", copies, ports[copies]) + slice(copies, "http2", copies, ports[copies])
}

// meshOf is all of several hosts.
func meshOf(hosts []host, ports map[string]uint16) (manifests string, names []string) {
	var b strings.Builder
	b.WriteString(surroundings(ports))
	for i := range hosts {
		b.WriteString(hosts[i].manifests(i, ports))
		names = append(names, hosts[i].name)
	}
	return b.String(), names
}
