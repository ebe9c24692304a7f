package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/plan"
)

const deadline = 20 * time.Second

const usersService = `apiVersion: v1
kind: Service
metadata: {name: users, namespace: myapp}
spec:
  clusterIP: 10.96.0.5
  selector: {app: users}
  ports: [{name: http, port: 8080, targetPort: 8080}]
`

// usersSlice has one ready endpoint per last byte of an address.
func usersSlice(last ...int) string {
	var b strings.Builder
	b.WriteString(`apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: users-abc, namespace: myapp, labels: {kubernetes.io/service-name: users}}
addressType: IPv4
ports: [{name: http, port: 8080}]
`)
	if len(last) == 0 {
		b.WriteString("endpoints: []\n")
	} else {
		b.WriteString("endpoints:\n")
	}
	for _, n := range last {
		fmt.Fprintf(&b, "- {addresses: [10.0.0.%d], conditions: {ready: true}}\n", n)
	}
	return b.String()
}

// world is a control plane that runs on loopback, and what a proxy needs to reach it.
type world struct {
	dir     string // of manifests
	state   string
	others  string // directory of other clusters
	key     string // file with the public token key
	private []byte
	addr    string
	monitor string
	plain   string // for standard xDS clients
	log     *lockedBuffer
	stop    func()
}

// ownAddress is of this package's tests alone: what is stopped and listens again finds its port free, whatever else runs on the machine.
const ownAddress = "127.158.0.1:0"

// start runs a control plane on files given as name, content, name, content, …
func start(t *testing.T, files ...string) *world {
	t.Helper()
	base := t.TempDir()
	w := &world{dir: filepath.Join(base, "manifests"), state: filepath.Join(base, "state"), others: filepath.Join(base, "clusters"), key: filepath.Join(base, "token.pub")}
	for _, dir := range []string{w.dir, w.others} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	private, public, err := ca.GenerateTokenKey()
	if err != nil {
		t.Fatal(err)
	}
	w.private = private
	if err := os.WriteFile(w.key, public, 0o600); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(files); i += 2 {
		w.write(t, files[i], files[i+1])
	}
	w.run(t, ownAddress)
	return w
}

// run starts the control plane at an address; w.stop ends it.
func (w *world) run(t *testing.T, addr string) {
	t.Helper()
	discovery, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	monitor, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.plain = plain.Addr().String()
	w.addr, w.monitor, w.log = discovery.Addr().String(), monitor.Addr().String(), &lockedBuffer{}
	c, err := New(Options{
		Sources: []string{w.dir}, ListenListener: discovery, MonitorListener: monitor, PlainListener: plain, StateDir: w.state, TokenKey: w.key,
		RemoteClusters: w.others,
		Logger:         slog.New(slog.NewTextHandler(w.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(w.stop)
	eventually(t, "the control plane is ready", func() bool { return w.status(t, "/healthz/ready") == http.StatusOK })
}

// write puts a manifest in place as editors do: under another name, then renamed.
func (w *world) write(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path+".tmp", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}

func (w *world) request(t *testing.T, path string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.monitor+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func (w *world) status(t *testing.T, path string) int {
	t.Helper()
	resp := w.request(t, path)
	defer resp.Body.Close()
	return resp.StatusCode
}

func (w *world) get(t *testing.T, path string) string {
	t.Helper()
	resp := w.request(t, path)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (w *world) token(t *testing.T, namespace, pod string) string {
	t.Helper()
	issuer, err := ca.NewTokenIssuer(w.private, "test")
	if err != nil {
		t.Fatal(err)
	}
	token, err := issuer.Issue(ca.Claims{Namespace: namespace, ServiceAccount: "orders", Pod: pod, PodUID: "uid-" + pod})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// client makes a client for a pod of namespace myapp.
func (w *world) client(t *testing.T, pod string, h discovery.Handler) *client {
	t.Helper()
	return w.clientIn(t, "myapp", pod, h)
}

// roots are what clients trust.
func (w *world) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(w.state, RootCertFile))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("%s holds no certificate", RootCertFile)
	}
	return roots
}

func (w *world) clientIn(t *testing.T, namespace, pod string, h discovery.Handler) *client {
	t.Helper()
	roots := w.roots(t)
	token := w.token(t, namespace, pod)
	c, err := discovery.NewClient(discovery.ClientOptions{
		Addrs: []string{w.addr},
		TLSConfig: func() (*tls.Config, error) {
			return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: "fairlead-controller.fairlead-system.svc"}, nil
		},
		Token:  func() (string, error) { return token, nil },
		Node:   discovery.Node{ID: pod + "." + namespace, Version: "test"},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &client{c, h}
}

// client is a sidecar's end of the control channel, and what hears of it.
type client struct {
	*discovery.Client
	handler discovery.Handler
}

// run runs a client until the returned function is called, or the test ends.
func run(t *testing.T, c *client) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, c.handler) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("client: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// proxy is a handler that keeps what it was told.
type proxy struct {
	mu       sync.Mutex
	state    map[string]plan.Resource
	aliases  map[string]string // alias → canonical, "" where absent
	refuse   string            // name of a resource to refuse
	fresh    chan struct{}
	applied  time.Time
	messages int
}

func newProxy() *proxy {
	return &proxy{state: make(map[string]plan.Resource), aliases: make(map[string]string), fresh: make(chan struct{}, 1)}
}

func (p *proxy) Apply(updates []discovery.Update) (rejected []discovery.Rejection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.applied = time.Now()
	p.messages++
	for _, u := range updates {
		switch {
		case u.Dropped:
			delete(p.state, u.Name)
			delete(p.aliases, u.Name)
		case u.Resource == nil:
			p.aliases[u.Name] = ""
		case u.Name == p.refuse:
			rejected = append(rejected, discovery.Rejection{Name: u.Name, Reason: "this proxy does not like it"})
		default:
			p.state[u.Name] = u.Resource
			for _, a := range u.Aliases {
				p.aliases[a] = u.Name
			}
		}
	}
	poke(p.fresh)
	return rejected
}

// until waits for a state, and gives the time at which the update that brought it was applied.
func (p *proxy) until(t *testing.T, what string, ok func() bool) time.Time {
	t.Helper()
	timeout := time.NewTimer(deadline)
	defer timeout.Stop()
	for {
		p.mu.Lock()
		done, at := ok(), p.applied
		p.mu.Unlock()
		if done {
			return at
		}
		select {
		case <-p.fresh:
		case <-timeout.C:
			t.Fatalf("waiting until %s: have %v", what, p.aliases)
		}
	}
}

// addresses lists the endpoints of all shards of the destination behind vip; mu is held.
func (p *proxy) addresses() (list []string) {
	d, ok := p.state[p.aliases[vip]].(*plan.Destination)
	if !ok {
		return nil
	}
	for _, b := range d.Backends {
		for _, n := range b.Shards {
			if s, ok := p.state[n].(*plan.EndpointShard); ok {
				for _, e := range s.Endpoints {
					list = append(list, e.Addr.String())
				}
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func (p *proxy) untilAddresses(t *testing.T, want ...string) time.Time {
	t.Helper()
	slices.Sort(want)
	return p.until(t, fmt.Sprintf("%s has endpoints %v", vip, want), func() bool { return slices.Equal(p.addresses(), want) })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(deadline); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waiting until %s", what)
		}
	}
}

func await(t *testing.T, c *client, names ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for _, n := range names {
		if err := c.Await(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const vip = "ip/10.96.0.5:8080"

func parse(t *testing.T, text string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}
