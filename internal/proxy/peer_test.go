package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/call"
)

// What an Envoy that is told as Istio tells it offers, and a gRPC library.
var (
	envoyHTTP1 = []string{"istio-http/1.1", "istio", "http/1.1"}
	envoyHTTP2 = []string{"istio-h2", "istio", "h2"}
	envoyTCP   = []string{"istio-peer-exchange", "istio"}
	library    = []string{"h2"}
)

// foreigner is the TLS of a peer that is no Fairlead sidecar. The server must prove that it is of.
func (m *mesh) foreigner(name string, of *sidecar, offers ...string) *tls.Config {
	m.t.Helper()
	id := identity.ID{TrustDomain: "cluster.local", Namespace: "myapp", ServiceAccount: name}
	return &tls.Config{
		Certificates: []tls.Certificate{*certificate(m.t, m.ca, id)}, NextProtos: offers, InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if got, err := identity.PeerID(&state); err != nil || got != of.id {
				return fmt.Errorf("the server is %s: %w", got, err)
			}
			return nil
		},
	}
}

// securely gives a client whose connections go to addr by TLS, and speak HTTP/1.1 or HTTP/2 inside it whatever was negotiated.
func (m *mesh) securely(addr string, config *tls.Config, offers []string) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		d := tls.Dialer{Config: config}
		return d.DialContext(ctx, "tcp", addr)
	}
	if strings.HasSuffix(offers[0], "h2") {
		return m.h2cClientOver(dial)
	}
	tr := &http.Transport{DialContext: dial}
	m.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// modes are policies for port 8080 of users.
func modes(protocol model.Protocol) map[string]*plan.InboundPolicy {
	return map[string]*plan.InboundPolicy{
		"PERMISSIVE": permissive(8080, protocol),
		"STRICT":     strict(plan.InboundPort{Port: 8080, Protocol: protocol, MTLS: model.MTLSStrict}),
	}
}

// An Envoy, or a gRPC library with certificates, calls the app's own port. The app is told who it is, and so are the metrics.
func TestForeignPeerIsServed(t *testing.T) {
	for _, protocol := range []model.Protocol{model.HTTP, model.Undeclared} {
		for mode, policy := range modes(protocol) {
			for name, offers := range map[string][]string{"HTTP/1.1": envoyHTTP1, "HTTP/2": envoyHTTP2, "a library": library} {
				if name == "a library" && protocol == model.Undeclared && mode == "PERMISSIVE" {
					continue // it may be the app's own TLS: see below
				}
				t.Run(fmt.Sprint(protocol, " ", mode, " ", name), func(t *testing.T) {
					m := newMesh(t)
					users := m.sidecar("users")
					m.bothApp(app(users), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						for field := range r.Header {
							if strings.HasPrefix(strings.ToLower(field), markPrefix) {
								t.Errorf("%s reached the app", field)
							}
						}
						fmt.Fprint(w, r.Header.Get("X-Forwarded-Client-Cert"))
					}))
					users.apply(policy)
					c := m.securely(m.plainly(users, app(users)), m.foreigner("billing", users, offers...), offers)
					for range 2 {
						req, _ := http.NewRequest("GET", usersURL+"/", http.NoBody)
						req.Header.Set("X-Forwarded-Client-Cert", "URI=spiffe://cluster.local/ns/myapp/sa/admin")
						req.Header.Set(call.TargetField, "127.0.0.1:1/h1")
						resp, err := c.Do(req)
						if err != nil {
							t.Fatal(err)
						}
						body, _ := io.ReadAll(resp.Body)
						resp.Body.Close()
						if got := string(body); !strings.HasPrefix(got, "By="+users.id.String()+";Hash=") || !strings.HasSuffix(got, ";URI=spiffe://cluster.local/ns/myapp/sa/billing") {
							t.Errorf("the app was told %q", got)
						}
					}
					expectMetric(t, users, "istio_requests_total", `source_principal="spiffe://cluster.local/ns/myapp/sa/billing"`,
						`source_workload_namespace="myapp"`, `connection_security_policy="mutual_tls"`, "} 2")
				})
			}
		}
	}
}

// What is no HTTP goes to the app as it is, also where the app speaks first.
func TestForeignPeerOfAnOpaquePort(t *testing.T) {
	for _, protocol := range []model.Protocol{model.TCP, model.TLS, model.Undeclared} {
		for mode, policy := range modes(protocol) {
			t.Run(fmt.Sprint(protocol, " ", mode), func(t *testing.T) {
				m := newMesh(t)
				users := m.sidecar("users")
				accepted := make(chan struct{}, 4)
				m.rawServer(app(users), func(c *net.TCPConn) {
					accepted <- struct{}{}
					line, err := bufio.NewReader(c).ReadString('\n')
					if err == nil {
						fmt.Fprint(c, "you said ", line)
					}
				})
				users.apply(policy)
				c := tls.Client(dial(t, m.plainly(users, app(users))), m.foreigner("billing", users, envoyTCP...))
				fmt.Fprint(c, "hello\n")
				if got, err := io.ReadAll(c); string(got) != "you said hello\n" || err != nil {
					t.Fatalf("read %q, %v", got, err)
				}
				c.Close()
				expectMetric(t, users, "istio_tcp_connections_closed_total", `source_principal="spiffe://cluster.local/ns/myapp/sa/billing"`, "} 1")
				if protocol != model.Undeclared && len(accepted) != 1 {
					t.Errorf("the app was connected to %d times", len(accepted))
				}
			})
		}
	}
}

// A plain client of a port that carries no HTTP hears a server that speaks first at once, and says what it likes.
func TestServerSpeaksFirstAtAnOpaquePort(t *testing.T) {
	m := newMesh(t)
	users := m.sidecar("users")
	m.rawServer(app(users), func(c *net.TCPConn) {
		fmt.Fprint(c, "220 ready\n")
		io.Copy(c, c)
	})
	users.apply(permissive(8080, model.TCP))
	c := dial(t, m.plainly(users, app(users)))
	r := bufio.NewReader(c)
	expectLine(t, r, "220 ready\n")
	fmt.Fprint(c, "EHLO\n")
	expectLine(t, r, "EHLO\n")
	c.CloseWrite()
	if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
		t.Errorf("then %q, %v", rest, err)
	}
}

// TLS that does not say it is the mesh's is the app's own, as is all TLS where mutual TLS is off.
func TestTLSOfTheAppIsLeftAlone(t *testing.T) {
	off := func(protocol model.Protocol) *plan.InboundPolicy {
		return &plan.InboundPolicy{Name: "in/myapp/users", Ports: []plan.InboundPort{{Port: 8080, Protocol: protocol, MTLS: model.MTLSDisable}}}
	}
	for _, tt := range []struct {
		name   string
		policy *plan.InboundPolicy
		offers []string
		server string
	}{
		{"an undeclared port", permissive(8080, model.Undeclared), library, "users.example"},
		{"a port of TLS", permissive(8080, model.TLS), library, "users.example"},
		{"a port of TCP, and a client that offers nothing", permissive(8080, model.TCP), nil, ""},
		{"the mesh's ALPN where it is off", off(model.Undeclared), envoyHTTP2, "outbound_.8080_._.users"},
		{"the mesh's ALPN where it is off, on a port of TCP", off(model.TCP), envoyTCP, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh(t)
			users := m.sidecar("users")
			own := identity.ID{TrustDomain: "cluster.local", Namespace: "myapp", ServiceAccount: "the-app-itself"}
			served := &tls.Config{Certificates: []tls.Certificate{*certificate(t, m.ca, own)}, NextProtos: append([]string{"h2"}, envoyTCP...)}
			m.rawServer(app(users), func(c *net.TCPConn) {
				secured := tls.Server(c, served)
				if line, err := bufio.NewReader(secured).ReadString('\n'); err == nil {
					fmt.Fprint(secured, line)
				}
				secured.Close()
			})
			users.apply(tt.policy)
			c := tls.Client(dial(t, m.plainly(users, app(users))), &tls.Config{InsecureSkipVerify: true, NextProtos: tt.offers, ServerName: tt.server})
			fmt.Fprint(c, "hello\n")
			if got, err := io.ReadAll(c); string(got) != "hello\n" || err != nil {
				t.Fatalf("read %q, %v", got, err)
			}
			state := c.ConnectionState()
			if id, err := identity.PeerID(&state); id != own {
				t.Errorf("the server was %s, %v", id, err)
			}
		})
	}
}

// Who does not prove to be of the mesh is refused, and nothing of it reaches the app.
func TestForeignPeerMustProveWhoItIs(t *testing.T) {
	m := newMesh(t)
	root := sharedRoot(t)
	m.ca = caOf(t, root, "cluster.local")
	users := m.sidecar("users")
	reached := make(chan struct{}, 8)
	m.rawServer(app(users), func(c *net.TCPConn) {
		c.Read(make([]byte, 1))
		reached <- struct{}{}
	})
	stranger := identity.ID{TrustDomain: "other.example", Namespace: "myapp", ServiceAccount: "billing"}
	nobody := m.foreigner("billing", users, envoyHTTP1...)
	nobody.Certificates = nil
	foreign := m.foreigner("billing", users, envoyHTTP1...)
	foreign.Certificates = []tls.Certificate{*certificate(t, caOf(t, root, "other.example"), stranger)}
	self := m.foreigner("billing", users, envoyHTTP1...)
	self.Certificates = []tls.Certificate{*certificate(t, caOf(t, sharedRoot(t), "cluster.local"), users.id)}
	for mode, policy := range modes(model.HTTP) {
		users.apply(policy)
		for name, config := range map[string]*tls.Config{"no certificate": nobody, "another trust domain": foreign, "another root": self} {
			c := tls.Client(dial(t, m.plainly(users, app(users))), config)
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: users\r\n\r\n")
			if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("%s, %s: %v", mode, name, err)
			}
		}
	}
	for _, reason := range []string{"no_certificate", "foreign_trust_domain", "untrusted_certificate"} {
		expectMetric(t, users, `fairlead_connections_refused_total{reason="`+reason+`"} 2`)
	}
	if len(reached) > 0 {
		t.Error("the app heard of one")
	}
}

// Old Envoys go no further than TLS 1.2, and a peer need not name a protocol that is known.
func TestForeignPeerByOldTLS(t *testing.T) {
	m := newMesh(t)
	users := m.sidecar("users")
	m.plainApp(app(users), says("inside"))
	users.apply(strict(plan.InboundPort{Port: 8080, Protocol: model.HTTP, MTLS: model.MTLSStrict}))
	for _, offers := range [][]string{{"something/1"}, {"istio-peer-exchange"}, {"http/1.1"}} {
		config := m.foreigner("billing", users, offers...)
		config.MaxVersion = tls.VersionTLS12
		if resp, body := fetch(t, m.securely(m.plainly(users, app(users)), config, offers), "GET", "/", ""); resp.StatusCode != 200 || body != "inside" {
			t.Errorf("%q: %d %q", offers, resp.StatusCode, body)
		}
	}
}

// A policy that forbids plain connections does not end a peer's.
func TestForeignPeerOutlivesPlainConnections(t *testing.T) {
	m := newMesh(t)
	users := m.sidecar("users")
	m.plainApp(app(users), says("inside"))
	users.apply(permissive(8080, model.HTTP))
	c := m.securely(m.plainly(users, app(users)), m.foreigner("billing", users, envoyHTTP1...), envoyHTTP1)
	for range 2 {
		if resp, body := fetch(t, c, "GET", "/", ""); resp.StatusCode != 200 || body != "inside" || resp.Close {
			t.Errorf("%d %q, last answer: %v", resp.StatusCode, body, resp.Close)
		}
		users.apply(strict())
	}
	users.inbound.plain.mu.Lock()
	defer users.inbound.plain.mu.Unlock()
	if n := len(users.inbound.plain.all); n != 0 {
		t.Errorf("%d connections are to be cut as plain ones", n)
	}
}

func TestIsPeer(t *testing.T) {
	m := newMesh(t)
	users := m.sidecar("users")
	for _, tt := range []struct {
		name   string
		mtls   model.MTLSMode
		port   uint16
		speaks model.Protocol
		offers []string
		server string
		want   bool
	}{
		{"STRICT takes nothing else", model.MTLSStrict, 8080, model.TCP, nil, "", true},
		{"a STRICT port with pages of the sidecar", model.MTLSStrict, portMetrics, model.Undeclared, envoyHTTP2, "", false},
		{"DISABLE", model.MTLSDisable, 8080, model.HTTP, envoyHTTP2, "outbound_.8080_._.users", false},
		{"an app that speaks HTTP without TLS", model.MTLSPermissive, 8080, model.GRPC, library, "", true},
		{"an Envoy", model.MTLSPermissive, 8080, model.Undeclared, envoyHTTP1, "", true},
		{"an Envoy, of TCP", model.MTLSPermissive, 8080, model.TCP, envoyTCP, "", true},
		{"by the name asked for", model.MTLSPermissive, 8080, model.TCP, nil, "outbound_.8080_.v1_.users", true},
		{"a client of the app's TLS", model.MTLSPermissive, 8080, model.TLS, []string{"h2", "http/1.1"}, "users", false},
		{"no word of a mesh", model.MTLSUnset, 8080, model.Undeclared, nil, "", false},
	} {
		users.apply(&plan.InboundPolicy{Name: "in/myapp/users", Ports: []plan.InboundPort{{Port: tt.port, Protocol: tt.speaks, MTLS: tt.mtls}}})
		c := &capturedConn{inbound: users.inbound, dst: app(users), port: users.self.Port(tt.port)}
		if tt.port != 8080 {
			c.dst = netip.AddrPortFrom(users.ip, tt.port)
		}
		if got := c.isPeer(helloOf(t, &tls.Config{InsecureSkipVerify: true, NextProtos: tt.offers, ServerName: tt.server})); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// helloOf is the greeting of a client.
func helloOf(tb testing.TB, config *tls.Config) netio.ClientHello {
	tb.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		tls.Client(near, config).HandshakeContext(tb.Context()) // ends with the pipe
	}()
	defer func() {
		far.Close()
		<-done
	}()
	hello, ok, err := clientHello(netio.NewPeekConn(far))
	if err != nil || !ok {
		tb.Fatal("no greeting:", err)
	}
	return hello
}
