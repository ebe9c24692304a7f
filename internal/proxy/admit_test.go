package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// strict is a policy that takes connections of the mesh only, except on the given ports.
func strict(ports ...plan.InboundPort) *plan.InboundPolicy {
	return &plan.InboundPolicy{Name: "in/myapp/users", MTLS: model.MTLSStrict, MTLSOrigin: "PeerAuthentication myapp/default", Ports: ports}
}

func TestStrictRefusesPlainConnections(t *testing.T) {
	protocols := []model.Protocol{model.HTTP, model.HTTP2, model.TCP, model.TLS, model.Undeclared}
	for _, protocol := range protocols {
		t.Run(protocol.String(), func(t *testing.T) {
			m := newMesh(t)
			orders, users := m.sidecar("orders"), m.sidecar("users")
			m.serveApp(users, says("inside"))
			users.apply(strict(plan.InboundPort{Port: 8080, Protocol: protocol, MTLS: model.MTLSStrict}))
			expectRefused(t, m.plainly(users, app(users)))
			expectMetric(t, users, "istio_tcp_connections_closed_total", `connection_security_policy="none"`, "} 1")
			orders.apply(service(model.HTTP, users.endpoint(8080))...)
			if resp, body := fetch(t, m.client(orders), "GET", "/", ""); resp.StatusCode != 200 || body != "inside" {
				t.Errorf("a caller of the mesh: %d %q", resp.StatusCode, body)
			}
		})
	}
}

// expectRefused wants a plain connection to be reset once it has said that it is none of a peer's.
func expectRefused(tb testing.TB, addr string) {
	tb.Helper()
	c := dial(tb, addr)
	c.Write([]byte("G")) // may come too late
	if _, err := c.Read(make([]byte, 1)); !isReset(err) || errors.Is(err, os.ErrDeadlineExceeded) {
		tb.Errorf("read = %v, want a reset", err)
	}
}

// A client that says nothing may be a peer, for a while.
func TestStrictRefusesTheSilent(t *testing.T) {
	m := newMesh(t)
	users := m.sidecar("users")
	users.apply(strict())
	expectReset(t, m.plainly(users, app(users)))
}

func TestPortsHaveTheirOwnMode(t *testing.T) {
	tests := []struct {
		name    string
		policy  *plan.InboundPolicy
		port    uint16
		refused bool
	}{
		{"the workload's mode", strict(), 8080, true},
		{"a port that is PERMISSIVE", strict(plan.InboundPort{Port: 8080, MTLS: model.MTLSPermissive}), 8080, false},
		{"a port that is DISABLE", strict(plan.InboundPort{Port: 8080, MTLS: model.MTLSDisable}), 8080, false},
		{"another port", strict(plan.InboundPort{Port: 8080, MTLS: model.MTLSPermissive}), 8081, true},
		{"PERMISSIVE", &plan.InboundPolicy{MTLS: model.MTLSPermissive}, 8080, false},
		{"a STRICT port", &plan.InboundPolicy{MTLS: model.MTLSPermissive, Ports: []plan.InboundPort{{Port: 8080, MTLS: model.MTLSStrict}}}, 8080, true},
		{"readiness and metrics", strict(), portReady, false},
		{"app probes", strict(), portMetrics, false},
		{"Prometheus", strict(), portPrometheus, false},
	}
	m := newMesh(t)
	users := m.sidecar("users")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			users.apply(tt.policy)
			if _, err := users.inbound.admit(t.Context(), tt.port); (err != nil) != tt.refused {
				t.Errorf("admit(%d) = %v, want refused = %v", tt.port, err, tt.refused)
			}
		})
	}
}

// Before the policy is known no peer can be admitted or refused: plain connections wait for it.
func TestPlainConnectionsWaitForThePolicy(t *testing.T) {
	m := newMesh(t)
	users := m.ungoverned("users")
	m.plainApp(app(users), says("inside"))
	if why := users.Ready(); !strings.Contains(why, "no policy for inbound connections") {
		t.Errorf("Ready() = %q", why)
	}
	client := m.dialled(m.plainly(users, app(users)))
	done := make(chan string, 1)
	go func() {
		defer close(done)
		_, body := fetch(t, client, "GET", "/", "")
		done <- body
	}()
	users.apply(&plan.InboundPolicy{Name: "in/myapp/users", MTLS: model.MTLSPermissive})
	if body := <-done; body != "inside" {
		t.Errorf("= %q", body)
	}
	if why := users.Ready(); why != "" {
		t.Errorf("Ready() = %q", why)
	}
}

func TestPlainConnectionsAreRefusedWithoutPolicy(t *testing.T) {
	m := newMesh(t)
	users := m.ungoverned("users")
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // instead of waiting for the time to pass
	addr := netip.AddrPortFrom(m.ip(), portInbound)
	m.listen(addr, func(_ context.Context, c net.Conn) { users.inbound.servePlain(ctx, c, app(users)) })
	expectReset(t, addr.String())
}

func TestRefusalsAreSaidOnce(t *testing.T) {
	m := newMesh(t)
	users := m.sidecar("users")
	users.apply(strict())
	users.apply(&plan.MeshGlobal{AccessLog: plan.AccessLogText})
	addr := m.plainly(users, app(users))
	const times = 3
	for range times {
		expectRefused(t, addr)
	}
	expectMetric(t, users, "istio_tcp_connections_closed_total", "} 3")
	const why = "mutual TLS is required by PeerAuthentication myapp/default, and the caller came without a sidecar"
	expectLogged(t, users.log, why)
	if said := strings.Count(users.log.String(), why); said != 1 {
		t.Errorf("said %d times:\n%s", said, users.log.String())
	}
	lines := users.accessLines(t, times)
	for _, line := range lines {
		if len(lines) != times || !strings.Contains(line, ` 0 NR filter_chain_not_found - "`+why+`" `) || !strings.Contains(line, "inbound|8080||") {
			t.Errorf("access log:\n%s", users.accessLog.String())
			break
		}
	}
}

func TestInboundOpaqueConnectionsAreLogged(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.rawServer(app(users), func(c *net.TCPConn) { io.Copy(c, c) })
		users.apply(&plan.MeshGlobal{AccessLog: plan.AccessLogText})
		addr := m.plainly(users, app(users))
		if e.Meshed {
			orders.apply(service(model.TCP, e)...)
			addr = m.entrance(orders, usersAddr())
		}
		c := dial(t, addr)
		io.WriteString(c, "hello")
		c.CloseWrite()
		if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
			t.Fatalf("= %q, %v", got, err)
		}
		expectMetric(t, users, "istio_tcp_connections_closed_total", "} 1")
		users.expectAccess(t, " 5 5 ", app(users).String()+`" inbound|8080||`)
	})
}

// buffer is a bytes.Buffer for writers in other goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// permissive is a policy that takes every connection to a port that carries protocol.
func permissive(port uint16, protocol model.Protocol) *plan.InboundPolicy {
	return &plan.InboundPolicy{
		Name: "in/myapp/users", MTLS: model.MTLSPermissive,
		Ports: []plan.InboundPort{{Port: port, Protocol: protocol, MTLS: model.MTLSPermissive}},
	}
}

// TestAuthorize is the one step before both doors.
func TestAuthorize(t *testing.T) {
	m := newMesh(t)
	users := m.sidecar("users")
	users.apply(&plan.InboundPolicy{Name: "in/myapp/users", Ports: []plan.InboundPort{
		{Port: 8080, Protocol: model.HTTP, MTLS: model.MTLSStrict, MTLSOrigin: "PeerAuthentication myapp/strict"},
		{Port: 3306, Protocol: model.TCP},
	}})
	at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(users.ip, port) }
	foreign := netip.AddrPortFrom(m.ip(), 8080)
	const astray, strict = "not an address of this workload: ", "mutual TLS is required by PeerAuthentication myapp/strict"
	for _, tt := range []struct {
		name string
		a    arrival
		want string // how the refusal begins, "" for none
	}{
		{"a peer's request", arrival{kind: meshRequest, to: at(8080)}, ""},
		{"a peer's request to the address that it came to", arrival{kind: meshRequest, to: foreign, came: foreign.Addr()}, ""},
		{"a peer's request for another workload", arrival{kind: meshRequest, to: foreign, came: users.ip}, astray},
		{"a peer's request to a port of the sidecar", arrival{kind: meshRequest, to: at(portMesh)}, astray},
		{"a peer's tunnel", arrival{kind: meshTunnel, to: at(3306)}, ""},
		{"a peer's tunnel to a port that takes requests", arrival{kind: meshTunnel, to: at(8080)}, "port 8080 is declared HTTP"},
		{"a peer's tunnel for another workload", arrival{kind: meshTunnel, to: foreign}, astray},
		{"a peer's tunnel to a port of the sidecar", arrival{kind: meshTunnel, to: at(portAdmin)}, astray},
		{"a plain connection", arrival{kind: plainConnection, to: at(3306)}, ""},
		{"a plain connection to a port of the mesh", arrival{kind: plainConnection, to: at(8080)}, strict},
		{"a peer's connection to a port of the mesh", arrival{kind: peerConnection, to: at(8080)}, ""},
		{"a peer's connection to a port of the sidecar", arrival{kind: peerConnection, to: at(portAdmin)}, astray},
		{"a plain connection for another workload", arrival{kind: plainConnection, to: foreign}, astray},
		{"a plain connection to a port of the sidecar", arrival{kind: plainConnection, to: at(portInbound)}, astray},
	} {
		_, err := users.inbound.authorize(t.Context(), tt.a)
		if got := fmt.Sprint(err); (err != nil) != (tt.want != "") || err != nil && !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
