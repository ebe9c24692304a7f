package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// A connection that was open before its port became STRICT drains: what is in flight finishes, nothing more begins.
func TestOpenPlainConnectionsDrainWhenStrictComes(t *testing.T) {
	// slow answers once it is told to.
	begun, finish := make(chan struct{}, 1), make(chan struct{}, 1)
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			begun <- struct{}{}
			<-finish
		}
		fmt.Fprint(w, "done")
	})
	start := func(t *testing.T, protocol model.Protocol) (users *sidecar, addr string) {
		t.Helper()
		m := newMesh(t)
		users = m.sidecar("users")
		serve := map[model.Protocol]func(){
			model.HTTP:  func() { m.plainApp(app(users), slow) },
			model.HTTP2: func() { m.h2cApp(app(users), slow) },
			model.TCP:   func() { m.rawServer(app(users), func(c *net.TCPConn) { io.Copy(c, c) }) },
		}
		serve[protocol]()
		users.apply(permissive(8080, protocol))
		return users, m.plainly(users, app(users))
	}
	becomeStrict := func(users *sidecar) { users.apply(strict()) }

	t.Run("idle HTTP/1.1", func(t *testing.T) {
		users, addr := start(t, model.HTTP)
		c := dial(t, addr)
		r := bufio.NewReader(c)
		ask(t, c, "/")
		if resp := answer(t, r); resp.Close {
			t.Error("closed although nothing has changed")
		}
		users.apply(strict(plan.InboundPort{Port: 8080, MTLS: model.MTLSPermissive})) // STRICT elsewhere
		ask(t, c, "/")
		if resp := answer(t, r); resp.Close {
			t.Error("closed although the port is still PERMISSIVE")
		}
		becomeStrict(users)
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("read %v, want the end", err)
		}
		expectReset(t, addr)
	})
	t.Run("HTTP/1.1 in a request", func(t *testing.T) {
		users, addr := start(t, model.HTTP)
		c := dial(t, addr)
		ask(t, c, "/slow")
		<-begun
		becomeStrict(users)
		finish <- struct{}{}
		r := bufio.NewReader(c)
		if resp := answer(t, r); !resp.Close {
			t.Error("the last response does not say that it is the last")
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("read %v, want the end", err)
		}
	})
	t.Run("HTTP/2 in a request", func(t *testing.T) {
		users, addr := start(t, model.HTTP2)
		client := (&mesh{t: t}).h2cClient(addr)
		done := make(chan string, 1)
		go func() {
			_, body := fetch(t, client, "GET", "/slow", "")
			done <- body
		}()
		<-begun
		becomeStrict(users)
		finish <- struct{}{}
		if body := <-done; body != "done" {
			t.Errorf("the request in flight = %q", body)
		}
		// What the client sends before it has read the GOAWAY is answered (RFC 9113 §6.8).
		eventually(t, "a further request to need a new connection, and to get none", func() bool {
			resp, err := client.Get(usersURL + "/")
			if err == nil {
				resp.Body.Close()
			}
			return err != nil
		})
	})
	t.Run("opaque", func(t *testing.T) {
		users, addr := start(t, model.TCP)
		c := dial(t, addr)
		io.WriteString(c, "hello")
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		becomeStrict(users)
		if _, err := c.Read(make([]byte, 1)); !isReset(err) {
			t.Errorf("read %v, want a reset", err)
		}
	})
	t.Run("a request that does not end", func(t *testing.T) {
		users, addr := start(t, model.HTTP)
		c := dial(t, addr)
		ask(t, c, "/slow")
		<-begun
		becomeStrict(users)
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("it was answered")
		}
		finish <- struct{}{}
	})
}

func ask(tb testing.TB, c net.Conn, path string) {
	tb.Helper()
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		tb.Fatal(err)
	}
}

func answer(tb testing.TB, r *bufio.Reader) *http.Response {
	tb.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		tb.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); string(body) != "done" || err != nil {
		tb.Fatalf("= %q %v", body, err)
	}
	return resp
}

// A peer is who its certificate says until the certificate ends, on either side: then the connection is replaced by one
// with the renewed certificate, without a failed call, and opaque streams in it are cut.
func TestMeshConnectionsEndWithTheCertificate(t *testing.T) {
	m := newMesh(t)
	m.ttl = 2 * time.Second
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.meshed(users)
	m.plainApp(app(users), says("ok"))
	echo := netip.AddrPortFrom(users.ip, 8081)
	m.rawServer(echo, func(c *net.TCPConn) { io.Copy(c, c) })

	orders.apply(service(model.TCP, users.endpoint(8081))...)
	opaque := dial(t, m.entrance(orders, usersAddr()))
	io.WriteString(opaque, "hello")
	if _, err := io.ReadFull(opaque, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	orders.apply(service(model.HTTP, users.endpoint(8080))...)
	var calls atomic.Int64
	stop := m.load(m.client(orders), &calls)
	eventually(t, "two more connections between the sidecars", func() bool { return users.gate.accepted() >= 4 || t.Failed() })
	stop()
	if _, err := opaque.Read(make([]byte, 1)); !isReset(err) {
		t.Errorf("the opaque connection: read %v, want a reset", err)
	}
}
