package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/call"
)

// never is a control channel that does not answer.
type never struct{ asked atomic.Int64 }

func (*never) Use(string) {}

func (n *never) Await(ctx context.Context, _ string) error {
	n.asked.Add(1)
	<-ctx.Done()
	return ctx.Err()
}

// What a peer is called in metrics comes from its certificate, and from what the control plane says of its address.
func TestPeersAreNamedByWhatTheyProve(t *testing.T) {
	pod := func(change func(*plan.Workload)) *plan.Workload {
		w := &plan.Workload{
			Key: model.Key{Namespace: "myapp", Name: "orders-1"}, ServiceAccount: "orders", Meshed: true,
			Info: plan.WorkloadInfo{Namespace: "myapp", Name: "orders-v2", App: "orders", Version: "v2", CanonicalName: "orders", CanonicalRevision: "v2", Cluster: "c1"},
		}
		change(w)
		return w
	}
	const named = `source_workload="orders-v2",source_workload_namespace="myapp",source_principal="spiffe://cluster.local/ns/myapp/sa/orders",` +
		`source_app="orders",source_version="v2",source_canonical_service="orders",source_canonical_revision="v2",source_cluster="c1"`
	const proved = `source_workload="unknown",source_workload_namespace="myapp",source_principal="spiffe://cluster.local/ns/myapp/sa/orders",` +
		`source_app="unknown",source_version="unknown",source_canonical_service="unknown"`
	tests := []struct {
		name   string
		pod    *plan.Workload // that the control plane knows at the peer's address
		silent bool
		want   string
	}{
		{"the_pod_at_its_address", pod(func(*plan.Workload) {}), false, named},
		{"another_account_at_its_address", pod(func(w *plan.Workload) { w.ServiceAccount = "billing" }), false, proved},
		{"another_namespace_at_its_address", pod(func(w *plan.Workload) { w.Key.Namespace = "victim" }), false, proved},
		{"a_pod_without_sidecar_at_its_address", pod(func(w *plan.Workload) { w.Meshed = false }), false, proved},
		{"no_pod_at_its_address", nil, false, proved},
		{"the_control_plane_is_silent", nil, true, proved},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh(t)
			orders, users := m.sidecar("orders"), m.sidecar("users")
			m.plainApp(app(users), says("ok"))
			delete(m.pods, "ip/"+orders.ip.String())
			if tt.pod != nil {
				tt.pod.IP = orders.ip
				m.pods["ip/"+orders.ip.String()] = tt.pod
			}
			if tt.silent {
				users.control.pods = new(never)
			}
			m.meshed(users)
			began := time.Now()
			if status := liar(t, orders, app(users)); status != 200 {
				t.Fatalf("status %d", status)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("the call took %v: it waited for the caller's name", took)
			}
			expectMetric(t, users, "istio_requests_total", `reporter="destination"`, tt.want, `response_code="200"`)
			if all := metricsOf(t, users); strings.Contains(all, "forged") {
				t.Errorf("what the peer said of itself is in the metrics:\n%s", brief(all))
			}
		})
	}
}

// liar calls an app over the mesh transport, with a certificate of the caller's sidecar and lies about who it is in
// every place where a peer can say something.
func liar(t *testing.T, from *sidecar, to netip.AddrPort) int {
	t.Helper()
	return astray(t, from, to, to)
}

// astray is liar for a call that comes to one workload and is meant for another.
func astray(t *testing.T, from *sidecar, to, target netip.AddrPort) int {
	t.Helper()
	conn, err := from.dialPlain(t.Context(), netip.AddrPortFrom(to.Addr(), portMesh))
	if err != nil {
		t.Fatal(err)
	}
	secured := tls.Client(conn, from.identity.ClientConfig((identity.ID{TrustDomain: "cluster.local", Namespace: "myapp", ServiceAccount: "users"}).String()))
	if err := secured.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The frame in which sidecars of former versions told who they are.
	const frame = "victim\x00forged-pod\x00forged\x00forged\xff\x00forged\x00forged\x00forged\x00forged\x00forged"
	client := h2.NewClient(&prefaced{Conn: secured, extra: append([]byte{0, 0, byte(len(frame)), 0xfa, 0, 0, 0, 0, 0}, frame...)}, h2.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); client.Run(ctx) }()
	defer func() { cancel(); conn.Close(); <-done }()
	stream, err := client.Open()
	for ; err != nil; stream, err = client.Open() { // until Run has begun
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	var req httpx.Request
	req.Version, req.Method, req.Scheme, req.Path, req.Authority = httpx.HTTP2, []byte("GET"), []byte("http"), []byte("/"), []byte("users")
	for name, v := range map[string]string{call.TargetField: target.String() + "/h1", "x-envoy-peer-metadata": "forged", "x-envoy-peer-metadata-id": "forged", "baggage": "k8s.deployment.name=forged"} {
		req.Fields.AddString(name, v)
	}
	var resp httpx.Response
	if err := stream.Send(&req); err != nil {
		t.Fatal(err)
	}
	// A refusal needs no request to its end, and may reset the stream with NO_ERROR behind the answer (RFC 9113 §8.1).
	ended := stream.End(nil)
	if err := stream.Receive(&resp); err != nil {
		t.Fatalf("no answer: %v; the end of the request: %v", err, ended)
	}
	io.Copy(io.Discard, stream)
	stream.Close()
	return resp.Status
}

// prefaced sends extra bytes after the first thing that is written, the preface with its SETTINGS.
type prefaced struct {
	*tls.Conn
	extra []byte
}

func (p *prefaced) Write(b []byte) (int, error) {
	n, err := p.Conn.Write(b)
	if err == nil && p.extra != nil {
		_, err = p.Conn.Write(p.extra)
		p.extra = nil
	}
	return n, err
}

// An opaque connection does not wait until its caller has a name.
func TestOpaqueConnectionsDoNotWaitForANameOfTheCaller(t *testing.T) {
	m := newMesh(t)
	users := m.sidecar("users")
	n := new(never)
	users.control.pods = n
	who := &call.Caller{Remote: netip.MustParseAddrPort("192.0.2.1:4000"), Identity: "spiffe://cluster.local/ns/myapp/sa/orders"}
	users.inbound.Name(who, identity.ID{TrustDomain: "cluster.local", Namespace: "myapp", ServiceAccount: "orders"})
	eventually(t, "the control plane is asked", func() bool { return n.asked.Load() == 1 })
	ended := users.inbound.Connection(who, call.OpaqueRecord(who, app(users))) // returns at once: nothing else could end the wait before ended is called
	if who.IsNamed() {
		t.Fatal("the wait is over already: this test shows nothing")
	}
	ended(call.Relayed{Received: 3, Sent: 4})
	users.inbound.Bye(who)
	expectMetric(t, users, "istio_tcp_connections_closed_total", `source_workload_namespace="myapp"`, "} 1")
	expectMetric(t, users, "istio_tcp_received_bytes_total", `source_workload="unknown"`, "} 3")
}

// A caller may ask for every port there is; what is kept for it is bounded, and goes with it.
func TestPortsOfACaller(t *testing.T) {
	m := newMesh(t)
	users := m.sidecar("users")
	who := &call.Caller{Remote: netip.MustParseAddrPort("192.0.2.1:4000")}
	kept := func() (held, pools int) {
		h := users.ups.Holdings()
		return h.Users, h.Pools
	}
	for port := uint16(1); port <= 1000; port++ {
		addr := netip.AddrPortFrom(users.ip, port)
		if a, b := users.inbound.Port(who, addr), users.inbound.Port(who, addr); a != b || a.Addr != addr {
			t.Fatal("a port is found anew for every request")
		}
	}
	if held, _ := kept(); held != maxCallerPorts {
		t.Errorf("%d pools are held, want %d", held, maxCallerPorts)
	}
	users.ups.CloseIdle(time.Now())
	if _, pools := kept(); pools != maxCallerPorts {
		t.Errorf("%d pools are kept, want the %d in use", pools, maxCallerPorts)
	}
	users.inbound.Bye(who)
	users.inbound.Port(who, app(users)) // of a request that has outlived its connection
	users.ups.CloseIdle(time.Now())
	if held, pools := kept(); held != 0 || pools != 0 {
		t.Errorf("%d pools, held %d times, without a caller", pools, held)
	}
}

// The app's connections outlive the caller's: a client that connects anew for each call must not cost one to the app.
func TestConnectionsToTheAppOutliveTheCaller(t *testing.T) {
	m := newMesh(t)
	users := m.sidecar("users")
	var remotes []string
	m.plainApp(app(users), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { remotes = append(remotes, r.RemoteAddr) }))
	addr := m.plainly(users, app(users))
	for range 3 {
		c := m.dialled(addr)
		fetch(t, c, "GET", "/", "")
		c.CloseIdleConnections()
		eventually(t, "the connection is given back", func() bool { return users.ups.Holdings().Idle == 1 })
	}
	if len(remotes) != 3 || remotes[0] != remotes[1] || remotes[1] != remotes[2] {
		t.Errorf("the app saw connections from %q, want one", remotes)
	}
}

// BenchmarkInboundLookups is what an inbound request needs besides carrying it: the pool of the app, and what counts it.
func BenchmarkInboundLookups(b *testing.B) {
	m := newMesh(b)
	users := m.sidecar("users")
	addr := app(users)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		who := &call.Caller{Remote: netip.MustParseAddrPort("192.0.2.1:4000")} // every client has a connection of its own
		defer users.inbound.Bye(who)
		for pb.Next() {
			p := users.inbound.Port(who, addr)
			if p.Way == nil || users.inbound.Scopes(p) == nil {
				b.Error("nothing found")
			}
		}
	})
}

func TestInboundLookupsAllocateNothing(t *testing.T) {
	m := newMesh(t)
	users := m.sidecar("users")
	who := &call.Caller{Remote: netip.MustParseAddrPort("192.0.2.1:4000")}
	defer users.inbound.Bye(who)
	if n := testing.AllocsPerRun(100, func() { users.inbound.Scopes(users.inbound.Port(who, app(users))) }); n != 0 {
		t.Errorf("%v allocations per request, want 0", n)
	}
}
