package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// endsTLS serves an app that ends mutual TLS itself, as a gRPC library or a sidecar of another kind does, and proves to be id.
func (m *mesh) endsTLS(at *sidecar, id identity.ID, h http.Handler, offers ...string) {
	m.t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	l, err := tls.Listen("tcp", app(at).String(), m.demanding(id, offers...))
	if err != nil {
		m.t.Fatal(err)
	}
	srv := &http.Server{Handler: h, Protocols: protocols, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	done := make(chan error)
	go func() { done <- srv.Serve(l) }()
	m.t.Cleanup(func() {
		srv.Close()
		<-done
	})
}

// demanding is the TLS of a server that is id and takes no client without a certificate.
func (m *mesh) demanding(id identity.ID, offers ...string) *tls.Config {
	m.t.Helper()
	return &tls.Config{Certificates: []tls.Certificate{*certificate(m.t, m.ca, id)}, NextProtos: offers, ClientAuth: tls.RequireAnyClientCert}
}

// A server without a sidecar that ends mutual TLS itself is called by it, and sees who calls, whatever is spoken inside.
func TestServerThatEndsMutualTLS(t *testing.T) {
	for _, speaks := range []string{"HTTP/1.1", "HTTP/2.0"} {
		for _, tt := range []struct {
			name   string
			mutual bool
			mode   model.TLSMode
		}{
			{"because it takes it", true, model.TLSUnset},
			{"because it takes it, and a rule says so", true, model.TLSIstioMutual},
			{"because a rule says so", false, model.TLSIstioMutual},
		} {
			t.Run(speaks+" "+tt.name, func(t *testing.T) {
				m := newMesh(t)
				orders, users := m.sidecar("orders"), m.sidecar("users")
				m.endsTLS(users, users.id, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					for field := range r.Header {
						if strings.HasPrefix(strings.ToLower(field), markPrefix) {
							t.Errorf("%s reached the server", field)
						}
					}
					id, err := identity.PeerID(r.TLS)
					fmt.Fprintf(w, "%s %s %q %v", r.Proto, id, r.TLS.NegotiatedProtocol, err)
				}), "h2", "http/1.1")
				e := plainEndpoint(app(users))
				e.Mutual, e.Identity = tt.mutual, users.id.String()
				orders.apply(backendOf(service(model.Undeclared, e), func(b *plan.Backend) { b.TLS.Mode = tt.mode })...)
				c := m.client(orders)
				if speaks == "HTTP/2.0" {
					c = m.h2cClient(m.entrance(orders, usersAddr()))
				}
				want := speaks + ` spiffe://cluster.local/ns/myapp/sa/orders "` + strings.ToLower(strings.TrimSuffix(speaks, ".0")) + `" <nil>`
				want = strings.Replace(want, "http/2", "h2", 1)
				for range 3 {
					if resp, body := fetch(t, c, "GET", "/", ""); resp.StatusCode != 200 || body != want {
						t.Fatalf("%d %q, want %q", resp.StatusCode, body, want)
					}
				}
				expectMetric(t, orders, "istio_requests_total", `destination_principal="`+users.id.String()+`"`, "} 3")
				if h := orders.ups.Holdings(); h.Pools != 1 {
					t.Errorf("%+v: one pool should do", h)
				}
			})
		}
	}
}

// A connection of bytes goes to such a server by mutual TLS that says so, as between Istio's sidecars.
func TestBytesToServerThatEndsMutualTLS(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	config := m.demanding(users.id, "istio")
	m.rawServer(app(users), func(c *net.TCPConn) {
		secured := tls.Server(c, config)
		line, err := bufio.NewReader(secured).ReadString('\n')
		if err == nil {
			state := secured.ConnectionState()
			id, _ := identity.PeerID(&state)
			fmt.Fprint(secured, state.NegotiatedProtocol, " ", id.ServiceAccount, " ", line)
		}
		secured.Close()
	})
	e := plainEndpoint(app(users))
	e.Mutual, e.Identity = true, users.id.String()
	orders.apply(service(model.TCP, e)...)
	c := dial(t, m.entrance(orders, usersAddr()))
	fmt.Fprint(c, "hello\n")
	if got, err := io.ReadAll(c); string(got) != "istio orders hello\n" || err != nil {
		t.Fatalf("read %q, %v", got, err)
	}
	c.Close()
	expectMetric(t, orders, "istio_tcp_connections_closed_total", `destination_principal="`+users.id.String()+`"`, "} 1")
}

// Who is not who was expected gets nothing, and nobody is called plainly instead.
func TestServerMustProveWhoItIs(t *testing.T) {
	root := sharedRoot(t)
	for _, tt := range []struct {
		name     string
		expected func(users *sidecar) string
		serves   func(m *mesh, users *sidecar) *tls.Config
		why      string
	}{
		{"another workload", func(u *sidecar) string { return u.id.String() }, func(m *mesh, _ *sidecar) *tls.Config {
			return m.demanding(identity.ID{TrustDomain: "cluster.local", Namespace: "myapp", ServiceAccount: "thief"}, "http/1.1")
		}, "wrong identity"},
		{"another root", func(u *sidecar) string { return u.id.String() }, func(m *mesh, u *sidecar) *tls.Config {
			c := m.demanding(u.id, "http/1.1")
			c.Certificates = []tls.Certificate{*certificate(t, caOf(t, sharedRoot(t), "cluster.local"), u.id)}
			return c
		}, "expected " + "spiffe://cluster.local/ns/myapp/sa/users"},
		{"nobody is expected", func(*sidecar) string { return "" }, func(m *mesh, u *sidecar) *tls.Config { return m.demanding(u.id, "http/1.1") }, "which identity to expect"},
		{"no TLS at all", func(u *sidecar) string { return u.id.String() }, nil, "mutual TLS with"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh(t)
			m.ca = caOf(t, root, "cluster.local")
			orders, users := m.sidecar("orders"), m.sidecar("users")
			var heard atomic.Bool
			var config *tls.Config
			if tt.serves != nil {
				config = tt.serves(m, users)
			}
			m.rawServer(app(users), func(c *net.TCPConn) {
				var in net.Conn = c
				if config != nil {
					in = tls.Server(c, config)
				}
				first := make([]byte, 3)
				if _, err := io.ReadFull(in, first); err == nil && string(first) == "GET" {
					heard.Store(true)
				}
			})
			e := plainEndpoint(app(users))
			e.Mutual, e.Identity = true, tt.expected(users)
			orders.apply(service(model.HTTP, e)...)
			if resp, body := fetch(t, m.client(orders), "GET", "/", ""); resp.StatusCode != 503 || !strings.Contains(body, tt.why) {
				t.Errorf("%d %q, want 503 with %q", resp.StatusCode, body, tt.why)
			}
			if heard.Load() {
				t.Error("the server heard of the request")
			}
		})
	}
}

// A rule that says DISABLE has such a server called plainly.
func TestMutualTLSIsSwitchedOffByARule(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.plainApp(app(users), says("plain"))
	e := plainEndpoint(app(users))
	e.Mutual, e.Identity = true, users.id.String()
	orders.apply(backendOf(service(model.HTTP, e), func(b *plan.Backend) { b.TLS.Mode = model.TLSDisable })...)
	if resp, body := fetch(t, m.client(orders), "GET", "/", ""); resp.StatusCode != 200 || body != "plain" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	expectMetric(t, orders, "istio_requests_total", `destination_principal="unknown"`, "} 1")
}
