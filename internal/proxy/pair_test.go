package proxy

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/call"
	"fairlead.dev/fairlead/internal/proxy/directory"
)

// mesh is a few sidecars in this process, each made by New and served by Run. Workloads live on addresses of their own in
// 127.0.0.0/8, so that the mesh port is the real one. What is the tests': the control plane, and where a connection was
// meant to go before it was redirected.
type mesh struct {
	t   testing.TB
	ctx context.Context
	run sync.WaitGroup // of the sidecars
	ca  *ca.CA
	ttl time.Duration // of certificates

	mu   sync.Mutex
	pods map[string]*plan.Workload // what the control plane knows, by resource name
}

// sidecar is a proxy whose workload is at ip.
type sidecar struct {
	*Proxy
	ip netip.Addr
	id identity.ID

	control *control
	// opened takes what the workload opens, plain what is opened to it without a sidecar, gate what comes by the mesh.
	opened, plain *door
	gate          *gate
	// leave has it drain, and returns at once.
	leave func()
	// log and accessLog are what it writes. They are there from the start: what is exchanged while it serves would race.
	log, accessLog *buffer
}

var nextAddr atomic.Uint32 // tests of a package share the loopback

func newMesh(tb testing.TB) *mesh {
	tb.Helper()
	ca, err := ca.LoadOrCreate(tb.TempDir(), ca.Options{TrustDomain: "cluster.local", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // must outlive t.Context: cleanups drain
	m := &mesh{t: tb, ctx: ctx, ca: ca, pods: map[string]*plan.Workload{}}
	tb.Cleanup(func() { // last of all: clients and apps are gone
		cancel()
		m.run.Wait()
	})
	return m
}

// ip gives an unused loopback address.
func (m *mesh) ip() netip.Addr {
	n := nextAddr.Add(1)
	return netip.AddrFrom4([4]byte{127, byte(1 + os.Getpid()%250), byte(n >> 8), byte(n)}) // two runs at once do not meet
}

func (m *mesh) sidecar(name string, changes ...func(*Options)) *sidecar {
	m.t.Helper()
	s := m.ungoverned(name, changes...)
	s.apply(&plan.InboundPolicy{Name: "in/myapp/" + name, MTLS: model.MTLSPermissive})
	return s
}

// ungoverned is a sidecar that has not been told yet whom to let in.
func (m *mesh) ungoverned(name string, changes ...func(*Options)) *sidecar {
	m.t.Helper()
	ip := m.ip()
	s := &sidecar{ip: ip, log: new(buffer), accessLog: new(buffer), id: identity.ID{TrustDomain: "cluster.local", Namespace: "myapp", ServiceAccount: name}}
	s.control = &control{m: m, id: s.id, addresses: silent{}}
	s.control.pods = pods{m, s}
	logger := slog.New(slog.NewTextHandler(s.log, nil))
	workload, err := identity.NewWorkload(identity.WorkloadOptions{Sign: s.control.sign, Logger: logger})
	if err != nil {
		m.t.Fatal(err)
	}
	s.opened, s.plain, s.gate = m.door(), m.door(), newGate()
	o := Options{
		Pod: model.Key{Namespace: "myapp", Name: name}, IPs: []netip.Addr{ip}, Discovery: s.control, Identity: workload,
		Sockets: &Sockets{Outbound: []net.Listener{s.opened}, Inbound: []net.Listener{s.plain}, Mesh: []net.Listener{s.gate}},
		Logger:  logger, AccessLog: s.accessLog, Drain: time.Second, Version: "test",
		Captured: s.captured,
		Dial: func(ctx context.Context, d netio.Dialer, to netip.AddrPort) (net.Conn, error) {
			if !d.Source4.IsValid() {
				d.Source4 = ip
			}
			return dialSocket(ctx, d, to)
		},
	}
	for _, change := range changes {
		change(&o)
	}
	if s.Proxy, err = New(o); err != nil {
		m.t.Fatal(err)
	}
	ctx, leave := context.WithCancel(m.ctx)
	s.leave = leave
	m.run.Go(func() {
		if err := s.Run(ctx); err != nil {
			m.t.Error(err)
		}
	})
	<-workload.Ready()
	w := &plan.Workload{IP: ip, Key: o.Pod, IPs: o.IPs, ServiceAccount: name, Identity: s.id.String(), Meshed: true, Info: plan.WorkloadInfo{
		Namespace: "myapp", Name: name, App: name, CanonicalName: name,
	}}
	m.mu.Lock()
	m.pods[w.ResourceName()] = w
	m.mu.Unlock()
	s.apply(w)
	return s
}

// captured says what a connection to one of the doors is meant for.
func (s *sidecar) captured(c net.Conn) (netip.AddrPort, error) {
	for _, d := range []*door{s.opened, s.plain} {
		if dst, ok := d.captured(c); ok {
			return dst, nil
		}
	}
	return netip.AddrPort{}, fmt.Errorf("%s stands for nothing", c.LocalAddr())
}

// control is the channel of a sidecar to a control plane that is this test.
type control struct {
	m  *mesh
	id identity.ID
	// addresses answers for all names but those of pods.
	addresses, pods directory.Channel
}

func (c *control) of(name string) directory.Channel {
	if plan.KindOf(name) == plan.NameWorkload {
		return c.pods
	}
	return c.addresses
}

func (c *control) Use(name string)                              { c.of(name).Use(name) }
func (c *control) Await(ctx context.Context, name string) error { return c.of(name).Await(ctx, name) }
func (*control) Subscribe(string)                               {}
func (*control) Report(func(*discovery.HealthReport))           {}
func (*control) Connected() bool                                { return false }
func (*control) Stale() bool                                    { return false }
func (*control) LastSync() time.Time                            { return time.Time{} }

func (*control) Holders(context.Context, string, *discovery.HoldersRequest) (*discovery.HoldersResponse, error) {
	return nil, errors.ErrUnsupported
}

func (*control) Addrs() []string { return []string{"127.0.0.1:1"} }

func (*control) Run(ctx context.Context, _ discovery.Handler) error {
	<-ctx.Done()
	return nil
}

func (c *control) sign(_ context.Context, der []byte) (chain []byte, said identity.Trust, err error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, identity.Trust{}, err
	}
	chain, err = c.m.ca.Sign(csr, c.id, cmp.Or(c.m.ttl, time.Hour))
	return chain, identity.Trust{Own: c.m.ca.Roots()}, err
}

// silent is a control channel on which nothing is ever answered.
type silent struct{}

func (silent) Use(string) {}

func (silent) Await(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

// pods is a control channel that knows the pods of a mesh.
type pods struct {
	m *mesh
	s *sidecar
}

func (pods) Use(string) {}

func (p pods) Await(_ context.Context, name string) error {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	u := discovery.Update{Name: name}
	if w := p.m.pods[name]; w != nil {
		u.Resource = w
	}
	p.s.directory.Apply([]discovery.Update{u})
	return nil
}

// apply hands resources over as the control channel would.
func (s *sidecar) apply(rs ...plan.Resource) {
	var us []discovery.Update
	for _, r := range rs {
		u := discovery.Update{Name: r.ResourceName(), Resource: r}
		if d, ok := r.(*plan.Destination); ok {
			for _, a := range d.Addresses {
				u.Aliases = append(u.Aliases, plan.AddressName(netip.AddrPortFrom(a, d.Port)))
			}
		}
		us = append(us, u)
	}
	if rejected := s.directory.Apply(us); len(rejected) > 0 {
		panic(fmt.Sprint(rejected))
	}
}

// listen accepts on addr and serves each connection until the test ends.
func (m *mesh) listen(addr netip.AddrPort, serve func(context.Context, net.Conn)) {
	m.t.Helper()
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		m.t.Fatal(err)
	}
	workers := h2.NewWorkers(0)
	a := &acceptor{listeners: []net.Listener{l}, workers: workers, serve: toTheEnd(serve), active: new(atomic.Int64), own: new(atomic.Int64)}
	ctx, cancel := context.WithCancel(m.ctx)
	done := make(chan error)
	go func() { done <- a.run(ctx) }()
	m.t.Cleanup(func() {
		cancel()
		<-done
		workers.Close()
	})
}

// serveApp runs an HTTP app on the sidecar's address and opens its mesh port.
func (m *mesh) serveApp(s *sidecar, h http.Handler) {
	m.t.Helper()
	m.meshed(s)
	m.plainApp(netip.AddrPortFrom(s.ip, 8080), h)
}

func (m *mesh) plainApp(addr netip.AddrPort, h http.Handler) {
	m.t.Helper()
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		m.t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	done := make(chan error)
	go func() { done <- srv.Serve(l) }()
	m.t.Cleanup(func() {
		srv.Close()
		<-done
	})
}

// endpoint describes the app of a sidecar.
func (s *sidecar) endpoint(port uint16) plan.Endpoint {
	return plan.Endpoint{
		Addr: netip.AddrPortFrom(s.ip, port), Weight: 1, Health: plan.Healthy, Meshed: true, Identity: s.id.String(),
		Workload: plan.WorkloadInfo{Namespace: "myapp", Name: s.o.Pod.Name, Pod: s.o.Pod.Name},
	}
}

var vip = netip.MustParseAddr("10.96.0.5")

// service is a destination with one default route.
func service(protocol model.Protocol, es ...plan.Endpoint) []plan.Resource {
	const host = "users-service.myapp.svc.cluster.local"
	shard := &plan.EndpointShard{Name: "eps/" + host + ":8080/s1", Endpoints: es}
	return []plan.Resource{shard, &plan.Destination{
		Name: "dst/myapp/" + host + ":8080", Host: host, Port: 8080, Protocol: protocol, Addresses: []netip.Addr{vip},
		Service:  model.Key{Namespace: "myapp", Name: "users-service"},
		Routes:   []plan.Route{{Name: "default", Backends: []plan.WeightedBackend{{Backend: 0, Weight: 1}}, Retry: model.Retry{Attempts: 2}}},
		TCP:      []plan.TCPRoute{{Backends: []plan.WeightedBackend{{Backend: 0, Weight: 1}}}},
		Backends: []plan.Backend{{Name: "outbound|8080||" + host, Host: host, Port: 8080, Resolution: model.ResolveSlices, Shards: []string{shard.Name}}},
	}}
}

// client opens connections that its sidecar takes for captured ones to the service's address.
func (m *mesh) client(s *sidecar) *http.Client {
	m.t.Helper()
	addr := m.entrance(s, usersAddr())
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}, MaxIdleConnsPerHost: 64}
	m.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func get(t *testing.T, c *http.Client, path string) (*http.Response, string) {
	t.Helper()
	resp, err := c.Get("http://users-service.myapp.svc.cluster.local:8080" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestCallCrossesTwoSidecars(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	var seen http.Header
	m.serveApp(users, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %d", r.Method, r.Host, r.URL.Path, len(b))
	}))
	c := m.client(orders)
	orders.apply(service(model.HTTP, users.endpoint(8080))...)
	for i, size := range []int{0, 100, scratch, 3 * scratch, 1 << 20} {
		resp, err := c.Post("http://users-service:8080/api", "text/plain", strings.NewReader(strings.Repeat("x", size)))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := fmt.Sprint("POST users-service:8080 /api ", size); err != nil || resp.StatusCode != 200 || string(body) != want {
			t.Fatalf("call %d = %d %q %v, want 200 %q", i, resp.StatusCode, body, err, want)
		}
	}
	if got := seen.Get("X-Forwarded-Client-Cert"); !strings.Contains(got, "URI=spiffe://cluster.local/ns/myapp/sa/orders") ||
		!strings.Contains(got, "By=spiffe://cluster.local/ns/myapp/sa/users") {
		t.Errorf("X-Forwarded-Client-Cert = %q: both identities must be there", got)
	}
	if seen.Get(call.TargetField) != "" {
		t.Errorf("%s reached the app", call.TargetField)
	}
	expectMetric(t, orders, `reporter="source"`, `destination_workload="users"`)
	expectMetric(t, users, `source_workload="orders"`, `connection_security_policy="mutual_tls"`, `response_code="200",response_flags="-"`)
}

func TestCallToAnUnmeshedEndpointIsPlain(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	addr := netip.AddrPortFrom(m.ip(), 8080)
	m.plainApp(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "plain ", r.Header.Get(call.TargetField)) }))
	c := m.client(orders)
	orders.apply(service(model.HTTP, plan.Endpoint{Addr: addr, Weight: 1, Health: plan.Healthy})...)
	for range 3 {
		if resp, body := get(t, c, "/"); resp.StatusCode != 200 || body != "plain " {
			t.Fatalf("%d %q", resp.StatusCode, body)
		}
	}
}

func TestAnswersOfTheProxyItself(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	c := m.client(orders)
	gone := users.endpoint(8080)
	down := gone
	down.Health = plan.Unhealthy
	tests := []struct {
		name   string
		config []plan.Resource
		status int
		body   string
		flags  string
	}{
		{"no_endpoints", service(model.HTTP), 503, "no healthy upstream", "UH"},
		{"unhealthy_endpoints_are_named", service(model.HTTP, down), 503, down.Addr.String() + " unhealthy", "UH"},
		{"connection_refused", service(model.HTTP, gone), 503, "connection failure", "UF"},
		{"missing_subset", func() []plan.Resource {
			rs := service(model.HTTP, gone)
			rs[1].(*plan.Destination).Backends[0].Missing = "subset v3 does not exist"
			return rs
		}(), 503, "subset v3 does not exist", "NC"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			orders.apply(tt.config...)
			resp, body := get(t, c, "/")
			if resp.StatusCode != tt.status || !strings.Contains(body, tt.body) {
				t.Errorf("= %d %q, want %d with %q", resp.StatusCode, body, tt.status, tt.body)
			}
			if resp.Header.Get("Proxy-Status") == "" {
				t.Error("no Proxy-Status (RFC 9209)")
			}
			eventually(t, "a series with flags "+tt.flags, func() bool {
				return strings.Contains(metricsOf(t, orders), `response_flags="`+tt.flags)
			})
		})
	}
}
