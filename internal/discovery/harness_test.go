package discovery

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// deadline bounds every wait of these tests: reaching it is a failure.
const deadline = 20 * time.Second

// fakeSource serves what a test puts into it.
type fakeSource struct {
	mu      sync.Mutex
	answers map[Key]Found
	watched map[Key]int
	servers []*Server
	fail    error // of Watch
}

func newFakeSource() *fakeSource {
	return &fakeSource{answers: make(map[Key]Found), watched: make(map[Key]int)}
}

func (f *fakeSource) Watch(_ context.Context, keys []Key) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	for _, k := range keys {
		f.watched[k]++
	}
	return nil
}

func (f *fakeSource) Unwatch(keys []Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range keys {
		f.watched[k]--
		if f.watched[k] == 0 {
			delete(f.watched, k)
		}
	}
}

func (f *fakeSource) Answer(k Key) (Found, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watched[k] == 0 {
		return Found{}, false
	}
	return f.answers[k], true
}

func (f *fakeSource) watches() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.watched)
}

// set publishes an answer for clients of namespace "myapp"; a nil resource means that the name does not exist.
func (f *fakeSource) set(t *testing.T, name string, resource plan.Resource, shards ...*plan.EndpointShard) {
	t.Helper()
	var found Found
	if resource != nil {
		found.Resource = encoded(t, resource)
	}
	key := Key{"myapp", name}
	f.mu.Lock()
	for _, s := range shards {
		found.Parts = append(found.Parts, f.answers[key].next(encoded(t, s)))
	}
	f.answers[key] = found
	servers := f.servers
	f.mu.Unlock()
	for _, s := range servers {
		s.Changed([]Key{key}, time.Now())
	}
}

// next gives the new version of a part, with what makes it of the one before.
func (f Found) next(e *plan.Encoded) *plan.Encoded {
	for _, before := range f.Parts {
		if before.Name == e.Name && before.Version == e.Version {
			return before
		}
		if patch := Patch(before, e); patch != nil {
			e.Base, e.Patch = before.Version, patch
		}
	}
	return e
}

func encoded(t *testing.T, r plan.Resource) *plan.Encoded {
	t.Helper()
	body, err := Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	return &plan.Encoded{Name: r.ResourceName(), Version: Version(body), Body: body}
}

// Resources that tests use.

func users(route string) *plan.Destination {
	return &plan.Destination{
		Name: "dst/myapp/users:8080", Host: "users.myapp.svc.cluster.local", Port: 8080,
		Routes:   []plan.Route{{Name: route, Backends: []plan.WeightedBackend{{Weight: 1}}}},
		Backends: []plan.Backend{{Name: "users", Shards: []string{"eps/users:8080/s1"}, LB: model.LeastRequest}},
	}
}

func shard(name string, addrs ...string) *plan.EndpointShard {
	s := &plan.EndpointShard{Name: name}
	for _, a := range addrs {
		s.Endpoints = append(s.Endpoints, plan.Endpoint{Addr: netip.MustParseAddrPort(a), Weight: 1, Health: plan.Healthy})
	}
	return s
}

// recorder is a Handler that notes the updates as lines.
type recorder struct {
	mu     sync.Mutex
	lines  []string
	state  map[string]plan.Resource
	refuse func(Update) error
	inUse  map[string]bool // names that do not expire
	fresh  chan struct{}
}

func newRecorder() *recorder {
	return &recorder{state: make(map[string]plan.Resource), inUse: make(map[string]bool), fresh: make(chan struct{}, 1)}
}

func (r *recorder) Apply(updates []Update) (rejected []Rejection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range updates {
		line := u.Name
		switch {
		case u.Dropped:
			line += " dropped"
			delete(r.state, u.Name)
		case u.Expired:
			if r.inUse[u.Name] {
				rejected = append(rejected, Rejection{u.Name, "in use"})
				continue
			}
			line += " expired"
		case u.Resource == nil:
			line += " absent"
		default:
			if r.refuse != nil {
				if err := r.refuse(u); err != nil {
					rejected = append(rejected, Rejection{u.Name, err.Error()})
					r.lines = append(r.lines, line+" refused")
					continue
				}
			}
			if len(u.Aliases) > 0 {
				line += " as " + strings.Join(u.Aliases, ",")
			}
			r.state[u.Name] = u.Resource
		}
		r.lines = append(r.lines, line)
	}
	poke(r.fresh)
	return rejected
}

// use says whether a name is in use.
func (r *recorder) use(n string, inUse bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inUse[n] = inUse
}

// take gives the lines so far and forgets them.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	r.lines = nil
	return lines
}

// until waits for a state of the recorder.
func (r *recorder) until(t *testing.T, what string, done func(state map[string]plan.Resource, lines []string) bool) {
	t.Helper()
	timeout := time.NewTimer(deadline)
	defer timeout.Stop()
	for {
		r.mu.Lock()
		ok := done(r.state, r.lines)
		lines := slices.Clone(r.lines)
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-r.fresh:
		case <-timeout.C:
			t.Fatalf("waiting for %s: got only %q", what, lines)
		}
	}
}

func (r *recorder) line(t *testing.T, want string) {
	t.Helper()
	r.until(t, want, func(_ map[string]plan.Resource, lines []string) bool { return slices.Contains(lines, want) })
}

// eventually waits for something that has no event of its own.
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

// testTLS gives a self-signed server certificate and the client's configuration that trusts it.
var testTLS = sync.OnceValues(func() (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"controller"},
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), // simulated time begins in 2000
		NotAfter:  time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA:      true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(crand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	server = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return server, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: "controller"}
})

// world is a control plane on a loopback port and what clients need to reach it.
type world struct {
	source    *fakeSource
	server    *Server
	addr      string
	clientTLS *tls.Config
	stop      func()
}

// ownAddress is of this package's tests alone: what is stopped and listens again finds its port free, whatever else runs on the machine.
const ownAddress = "127.158.0.2:0"

type setting func(*ServerOptions)

func start(t *testing.T, source *fakeSource, settings ...setting) *world {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", ownAddress)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, l, source, settings...)
}

func serve(t *testing.T, l net.Listener, source *fakeSource, settings ...setting) *world {
	t.Helper()
	o := ServerOptions{
		Source: source,
		Authenticate: func(_ context.Context, token string) (ClientIdentity, error) {
			pod, ok := strings.CutPrefix(token, "token-of-")
			if !ok {
				return ClientIdentity{}, errors.New("the token is signed by another authority")
			}
			return ClientIdentity{Namespace: "myapp", ServiceAccount: "orders", Pod: pod}, nil
		},
		MayRead: func(_ ClientIdentity, name string) bool { return !strings.HasPrefix(name, "private/") },
		Logger:  slog.New(slog.DiscardHandler),
	}
	for _, set := range settings {
		set(&o)
	}
	server, err := NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	source.mu.Lock()
	source.servers = append(source.servers, server)
	source.mu.Unlock()
	serverTLS, clientTLS := testTLS()
	hs := server.HTTP(serverTLS, 0)
	done := make(chan error, 1)
	go func() { done <- hs.ServeTLS(context.WithoutCancel(t.Context()), l) }()
	w := &world{source: source, server: server, addr: l.Addr().String(), clientTLS: clientTLS}
	w.stop = sync.OnceFunc(func() {
		server.Close()
		hs.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve = %v", err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

// client makes a client of the world; it is not running yet.
func (w *world) client(t *testing.T, h Handler, settings ...func(*ClientOptions)) *Client {
	t.Helper()
	o := ClientOptions{
		Addrs:     []string{w.addr},
		TLSConfig: func() (*tls.Config, error) { return w.clientTLS, nil },
		Token:     func() (string, error) { return "token-of-orders-1", nil },
		Node:      Node{ID: "orders-1.myapp", Version: "test"},
		Logger:    slog.New(slog.DiscardHandler),
	}
	for _, set := range settings {
		set(&o)
	}
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	c.handler = h // what run gives it
	return c
}

// run runs a client until the returned function is called, or the test ends.
func run(t *testing.T, c *Client) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, c.handler) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// await is Client.Await with the test's deadline.
func await(t *testing.T, c *Client, names ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for _, n := range names {
		if err := c.Await(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
}

// lapse ends the lease of a name as if it had not been used for long.
func lapse(c *Client, n string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names[n].used = time.Time{}
	poke(c.nudged)
}

// pipeListener is a network without a kernel, with room for what is on its way.
type pipeListener struct{ *bufconn.Listener }

func newPipeListener() *pipeListener { return &pipeListener{bufconn.Listen(32 << 10)} }

func (l *pipeListener) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return l.DialContext(ctx)
}

func (l *pipeListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return pipeConn{conn}, err
}

// pipeConn says that a deadline is over as sockets do: bufconn's word for it is final to crypto/tls.
type pipeConn struct{ net.Conn }

func (c pipeConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

// global is a resource that every client may have, other bytes for every mark.
func global(mark string) *plan.MeshGlobal {
	g := new(plan.MeshGlobal)
	for _, b := range []byte(mark) {
		g.NamedPorts = append(g.NamedPorts, uint16(b))
	}
	return g
}
