package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/call"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// forged is what only a sidecar may say of a caller.
const forged = "By=spiffe://cluster.local/x;Hash=00;URI=spiffe://cluster.local/ns/victim/sa/admin"

// noises are beginnings of a connection that some servers read as a request and the codecs do not.
func noises() map[string]string {
	rest := "\r\nHost: users\r\nX-Forwarded-Client-Cert: " + forged + "\r\nConnection: close\r\n\r\n"
	out := map[string]string{}
	for name, line := range map[string]string{
		"two_blanks":           "GET  /admin HTTP/1.1",
		"tab":                  "GET\t/admin HTTP/1.1",
		"blank_in_front":       " GET /admin HTTP/1.1",
		"lower_case_version":   "GET /admin http/1.1",
		"http_2_in_the_line":   "GET /admin HTTP/2.0",
		"method_of_25_letters": strings.Repeat("G", 25) + " /admin HTTP/1.1",
		"leading_crlf":         "\r\n\r\nGET /admin HTTP/1.1",
		"leading_lf":           "\nGET /admin HTTP/1.1",
		"control_character":    "GET /admin\x01 HTTP/1.1",
		"connect":              "CONNECT users:8080 HTTP/1.1",
		"preface_as_text":      "PRI * HTTP/2.0",
	} {
		out[name] = line + rest
	}
	return out
}

// lenient is an app that takes anything with an empty line at its end for a request, and answers with what it got.
func lenient(c *net.TCPConn) {
	var head []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(bytes.TrimLeft(head, "\r\n"), []byte("\r\n\r\n")) {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		head = append(head, buf[:n]...)
	}
	fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(head), head)
	c.CloseWrite()
	io.Copy(io.Discard, c) // what is left unread resets the connection, and the answer may be lost
}

// withoutAdmin makes a service forbid /admin.
func withoutAdmin(rs []plan.Resource) []plan.Resource {
	return with(rs, func(d *plan.Destination) {
		d.Routes = append([]plan.Route{{
			Origin: "VirtualService myapp/users http[0]", Direct: &model.DirectResponse{Status: 403},
			Matches: []model.HTTPMatch{{URI: &model.StringMatch{Kind: model.Prefix, Value: "/admin"}}},
		}}, d.Routes...)
	})
}

// said sends bytes and gives all that comes back.
func said(t testing.TB, addr, what string) string {
	t.Helper()
	c := dial(t, addr)
	fmt.Fprint(c, what)
	got, err := io.ReadAll(c)
	if err != nil && !isReset(err) {
		t.Error(err)
	}
	return string(got)
}

// Whatever a client sends to a port with rules, no rule is got round and nothing that a sidecar says is forged.
func TestNoiseBeforeARequest(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.rawServer(app(users), lenient)
		for _, protocol := range []model.Protocol{model.HTTP, model.HTTP2, model.GRPC, model.Undeclared} {
			orders.apply(withoutAdmin(service(protocol, e))...)
			addr := m.entrance(orders, usersAddr())
			for name, noise := range noises() {
				got := said(t, addr, noise)
				status := strings.TrimPrefix(strings.SplitN(got, "\r\n", 2)[0], "HTTP/1.1 ")
				want := "400 505"
				switch name {
				case "leading_crlf", "method_of_25_letters": // are requests (RFC 9112 §2.2)
					want = "403"
				case "connect": // is one too, and has no path to be forbidden
					continue
				}
				if len(status) < 3 || !strings.Contains(want, status[:3]) {
					t.Errorf("%s, %s: %q, want %s", protocol, name, got, want)
				}
			}
		}
	})
}

// The called sidecar does not rely on its caller's: neither on a plain one, nor on a peer with a valid identity.
func TestNoiseAtTheCalledSidecar(t *testing.T) {
	m := newMesh(t)
	users := m.sidecar("users")
	m.rawServer(app(users), lenient)
	m.meshed(users)
	plainly := m.plainly(users, app(users))
	rogue := m.opaquePeer(m.sidecar("rogue"), users)
	for _, protocol := range []model.Protocol{model.HTTP, model.HTTP2, model.GRPC, model.Undeclared} {
		users.apply(&plan.InboundPolicy{Name: "in/myapp/users", MTLS: model.MTLSPermissive, Ports: []plan.InboundPort{
			{Port: 8080, Protocol: protocol, MTLS: model.MTLSPermissive},
		}})
		for name, noise := range noises() {
			if got := said(t, plainly, noise); strings.Contains(got, forged) || got == "" {
				t.Errorf("%s, %s, plain caller: %q, want an answer without the forged field", protocol, name, got)
			}
			if got := rogue(noise); got != "" {
				t.Errorf("%s, %s, peer: %q, want nothing", protocol, name, got)
			}
			if got := rogue("\x00" + noise); (protocol == model.Undeclared) != (got != "") {
				t.Errorf("%s, %s, peer that begins with what is no HTTP: %q", protocol, name, got)
			}
		}
	}
}

// opaquePeer gives a function that sends bytes to the app of users as an opaque stream of the mesh, byte by byte, and
// gives what comes back.
func (m *mesh) opaquePeer(rogue, users *sidecar) func(string) string {
	m.t.Helper()
	way := rogue.ups.Reach(upstream.Target{Addr: app(users), Meshed: true, Identity: users.id.String()})
	m.t.Cleanup(way.Release)
	return func(what string) string {
		s, err := way.Peer.OpenTunnel(m.ctx, patience)
		if err != nil {
			m.t.Fatal(err)
		}
		defer s.Close()
		defer time.AfterFunc(patience, func() { s.Abort(errors.New("too slow")) }).Stop()
		var req httpx.Request
		req.Method, req.Authority, req.ContentLength = []byte("CONNECT"), []byte(app(users).String()), -1
		var resp httpx.Response
		// A refusal may be here, and the stream closed by it, before all is sent (RFC 9113 §8.1).
		sent := errors.Join(s.Send(&req), s.Flush())
		if err := s.Receive(&resp); err != nil {
			m.t.Fatal(errors.Join(sent, err))
		}
		if resp.Status != 200 {
			return ""
		}
		for _, b := range []byte(what) {
			if _, err := s.Write([]byte{b}); err != nil {
				break
			}
			s.Flush()
		}
		got, err := io.ReadAll(s)
		var reset *h2.ResetError
		if err != nil && !errors.As(err, &reset) {
			m.t.Error(err)
		}
		return string(got)
	}
}

// What cannot be a request is told so at once, not when the time for a head is up.
func TestNoHTTPOnADeclaredPort(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.rawServer(app(users), lenient)
	orders.apply(service(model.HTTP, plainEndpoint(app(users)))...)
	entrances := map[string]string{"outbound": m.entrance(orders, usersAddr()), "inbound": m.plainly(users, app(users))}
	users.apply(&plan.InboundPolicy{Name: "in/myapp/users", MTLS: model.MTLSPermissive, Ports: []plan.InboundPort{
		{Port: 8080, Protocol: model.HTTP, MTLS: model.MTLSPermissive},
	}})
	for side, addr := range entrances {
		for name, tt := range map[string]struct{ in, why string }{
			"tls":      {"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "TLS handshake"},
			"binary":   {"\x00\x00\x00\x08\x04\xd2\x16\x2f", "not a token"},
			"http_0.9": {"GET /admin\r\n", "request line"},
			"a_word":   {"hello\r\n", "request line"},
		} {
			got := said(t, addr, tt.in)
			if !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, tt.why) {
				t.Errorf("%s, %s: %q, want 400 that names %q", side, name, got, tt.why)
			}
		}
	}
}

// A server of HTTP/2 sends SETTINGS to a client that says nothing, and one of HTTP/1.1 may tell it that it is too slow.
// That is not speaking first: the request that follows is one.
func TestSilentClientOfAnHTTPServer(t *testing.T) {
	for _, tt := range []struct {
		name, greeting, then string
		want                 netio.Detected
	}{
		{"http2", "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", netio.HTTP2},
		{"http1", "HTTP/1.1 408 Request Timeout\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", netio.HTTP1},
		{"smtp", "220 ready\r\n", "", netio.Opaque},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				server, dialled := net.Pipe()
				d := &detector{client: netio.NewPeekConn(theirs), claim: netio.Unclaimed, known: new(atomic.Uint32), dial: func(context.Context) (call.Tunnel, error) {
					return call.NewRawTunnel(dialled), nil
				}}
				done := make(chan struct{})
				go func() {
					defer close(done)
					found, err := d.detect(t.Context())
					if err != nil || found.protocol != tt.want {
						t.Errorf("detect = %v, %v, want %v", found.protocol, err, tt.want)
					}
					if found.server != nil {
						server.Close()
						found.server.Close()
					}
				}()
				for _, b := range []byte(tt.greeting) {
					server.SetWriteDeadline(time.Now().Add(time.Second)) // not all of it is read
					server.Write([]byte{b})
				}
				synctest.Wait()
				ours.SetWriteDeadline(time.Now().Add(time.Second))
				ours.Write([]byte(tt.then))
				<-done
				ours.Close()
				server.Close()
			})
		})
	}
}
