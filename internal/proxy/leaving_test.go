package proxy

import (
	"bufio"
	"context"
	"errors"
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

// leaving is an endpoint with an idle connection and a download under way from its caller.
type leaving struct {
	open     *atomic.Int64 // connections that the caller's sidecar has to it
	e        plan.Endpoint
	orders   *sidecar
	client   *http.Client
	download *http.Response
	proceed  chan struct{} // lets the download end
}

// startLeaving opens the two connections; over the mesh requests share one, and bytes have one of their own.
func startLeaving(t *testing.T, meshed bool) *leaving {
	t.Helper()
	m := newMesh(t)
	l := &leaving{open: new(atomic.Int64), orders: m.sidecar("orders"), proceed: make(chan struct{})}
	users := m.sidecar("users")
	l.e = users.endpoint(8080)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/download" {
			fmt.Fprint(w, "first,")
			http.NewResponseController(w).Flush()
			<-l.proceed
			fmt.Fprint(w, "last")
		}
	})
	counted := func(ctx context.Context, c net.Conn, serve func(context.Context, net.Conn)) {
		l.open.Add(1)
		defer l.open.Add(-1)
		serve(ctx, c)
	}
	if meshed {
		m.listen(netip.AddrPortFrom(users.ip, portMesh), func(ctx context.Context, c net.Conn) { counted(ctx, c, users.inbound.serveMesh) })
		m.plainApp(app(users), handler)
	} else {
		l.e.Meshed, l.e.Identity = false, ""
		inner := netip.AddrPortFrom(m.ip(), 8080)
		m.plainApp(inner, handler)
		m.listen(app(users), func(ctx context.Context, c net.Conn) {
			counted(ctx, c, func(_ context.Context, c net.Conn) { splice(c, inner) })
		})
	}
	l.orders.apply(service(model.HTTP, l.e)...)
	l.client = m.client(l.orders)
	resp, err := l.client.Get(usersURL + "/download")
	if err != nil {
		t.Fatal(err)
	}
	l.download = resp
	get(t, l.client, "/")
	return l
}

// splice carries bytes between a connection and an address until both have ended.
func splice(c net.Conn, to netip.AddrPort) {
	up, err := net.Dial("tcp", to.String())
	if err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(up, c)
		up.Close()
	}()
	io.Copy(c, up)
	c.Close()
	<-done
}

// An endpoint that goes, or is about to go, keeps no connection that carries nothing, and loses none that does.
func TestConnectionsToAnEndpointThatGoes(t *testing.T) {
	for _, how := range []struct {
		name string
		es   func(plan.Endpoint) []plan.Endpoint
	}{
		{"gone", func(plan.Endpoint) []plan.Endpoint { return nil }},
		{"draining", func(e plan.Endpoint) []plan.Endpoint {
			e.Health = plan.Draining
			return []plan.Endpoint{e}
		}},
	} {
		for _, meshed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/mesh=%t", how.name, meshed), func(t *testing.T) {
				l := startLeaving(t, meshed)
				if want := map[bool]int64{true: 1, false: 2}[meshed]; l.open.Load() != want {
					t.Fatalf("%d connections, want %d", l.open.Load(), want)
				}
				begun := time.Now()
				l.orders.apply(service(model.HTTP, how.es(l.e)...)...)
				eventually(t, "the idle connection to end", func() bool { return l.open.Load() == 1 })
				close(l.proceed)
				body, err := io.ReadAll(l.download.Body)
				l.download.Body.Close()
				if string(body) != "first,last" || err != nil {
					t.Errorf("the download gave %q, %v", body, err)
				}
				eventually(t, "the busy connection to end after its work", func() bool { return l.open.Load() == 0 })
				if took := time.Since(begun); took > 3*time.Second { // after 4 s they would be idle for too long
					t.Errorf("took %s, want at once", took)
				}
			})
		}
	}
}

// One that drains is called where nothing better is left, and the connections for that are not kept from before.
func TestTheOnlyEndpointDrainsAndIsCalled(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.plainApp(app(users), says("ok"))
		orders.apply(service(model.HTTP, e)...)
		c := m.client(orders)
		get(t.T, c, "/")
		e.Health = plan.Draining
		orders.apply(service(model.HTTP, e)...)
		for range 3 {
			if resp, body := get(t.T, c, "/"); resp.StatusCode != 200 || body != "ok" {
				t.Errorf("= %d %q", resp.StatusCode, body)
			}
		}
	})
}

// Bytes to an endpoint that goes flow until one of the two ends them.
func TestOpaqueConnectionToAnEndpointThatGoes(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.rawServer(app(users), func(c *net.TCPConn) { io.Copy(c, c) })
		orders.apply(service(model.TCP, e)...)
		conn := dial(t, m.entrance(orders, usersAddr()))
		r := bufio.NewReader(conn)
		for _, step := range []func(){
			func() {},
			func() { e.Health = plan.Draining; orders.apply(service(model.TCP, e)...) },
			func() { orders.apply(service(model.TCP)...) },
		} {
			step()
			fmt.Fprint(conn, "echo\n")
			expectLine(t, r, "echo\n")
		}
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("ended with %v", err)
		}
	})
}
