package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// A draining sidecar finishes the call in flight, says that it was the last one, and closes idle connections.
func TestDrainOfHTTP1(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		entered, leave := make(chan struct{}, 1), make(chan struct{})
		m.plainApp(app(users), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				entered <- struct{}{}
				<-leave
			}
			fmt.Fprint(w, "finished")
		}))
		orders.apply(service(model.HTTP, e)...)
		addr := m.entrance(orders, usersAddr())

		idle := dial(t, addr)
		fmt.Fprint(idle, "GET / HTTP/1.1\r\nHost: users\r\n\r\n")
		idleReader := bufio.NewReader(idle)
		readAnswer(t, idleReader, false)
		busy := dial(t, addr)
		fmt.Fprint(busy, "GET /slow HTTP/1.1\r\nHost: users\r\n\r\n")
		<-entered
		orders.leave()
		if _, err := idleReader.ReadByte(); err != io.EOF {
			t.Errorf("the idle connection ended with %v, want an orderly end", err)
		}
		close(leave)
		r := bufio.NewReader(busy)
		readAnswer(t, r, true)
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("the busy connection ended with %v, want an orderly end", err)
		}
	})
}

// A workload that ends takes what callers outside the mesh have just sent, also on connections that it has not heard of yet,
// tells them that it was the last, and closes connections on which nothing comes.
func TestLeavingWorkloadTakesPlainCalls(t *testing.T) {
	m := newMesh(t)
	users := m.sidecar("users")
	m.plainApp(app(users), says("finished"))
	addr := m.plainly(users, app(users))
	ask := func(conn net.Conn, last bool) *bufio.Reader {
		t.Helper()
		fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: users\r\nContent-Length: 2\r\n\r\nhi")
		r := bufio.NewReader(conn)
		readAnswer(t, r, last)
		return r
	}
	busy, idle := dial(t, addr), dial(t, addr)
	ask(busy, false)
	left := ask(idle, false)
	silent := dial(t, addr)
	users.apply(&plan.InboundPolicy{Name: "in/myapp/users", MTLS: model.MTLSPermissive, Leaving: true, Grace: time.Minute})
	if users.Ready() != "draining" {
		t.Errorf("Ready() = %q", users.Ready())
	}
	for what, conn := range map[string]net.Conn{"a connection that is open": busy, "one that comes later": dial(t, addr)} {
		if _, err := ask(conn, true).ReadByte(); err != io.EOF {
			t.Errorf("%s ended with %v after its last answer", what, err)
		}
	}
	for what, r := range map[string]io.ByteReader{"the idle connection": left, "the one that never said anything": bufio.NewReader(silent)} {
		if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("%s ended with %v, want an orderly end", what, err)
		}
	}
}

// A peer that has not heard that the workload ends has its calls carried on a connection that it opens for them.
func TestLeavingWorkloadTakesNewPeers(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.serveApp(users, says("ok"))
	users.apply(&plan.InboundPolicy{Name: "in/myapp/users", MTLS: model.MTLSPermissive, Leaving: true, Grace: time.Minute})
	orders.apply(with(service(model.HTTP, users.endpoint(8080)), func(d *plan.Destination) { d.Routes[0].Retry = model.Retry{} })...)
	c := m.client(orders)
	for range 200 {
		if resp, body := get(t, c, "/"); resp.StatusCode != 200 {
			t.Fatalf("= %d %q", resp.StatusCode, body)
		}
	}
}

func readAnswer(tb testing.TB, r *bufio.Reader, last bool) {
	tb.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		tb.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "finished" || resp.Close != last {
		tb.Errorf("= %q %v, Connection: close %t, want %t", body, err, resp.Close, last)
	}
}

// The server's sidecar drains while its callers go on: GOAWAY on the mesh transport loses nothing.
func TestDrainOfThePeerUnderLoad(t *testing.T) {
	m := newMesh(t)
	orders, users, more := m.sidecar("orders"), m.sidecar("users"), m.sidecar("more")
	m.serveApp(users, says("ok"))
	m.serveApp(more, says("ok"))
	es := []plan.Endpoint{users.endpoint(8080), more.endpoint(8080)}
	orders.apply(service(model.HTTP, es...)...)
	c := m.client(orders)
	var calls atomic.Int64
	stopLoad := m.load(c, &calls)
	goesOn(t, "load", &calls, 100)
	users.leave()
	es[0].Health = plan.Draining // discovery says so as well, a moment later
	orders.apply(service(model.HTTP, es...)...)
	goesOn(t, "load after the drain", &calls, 300)
	stopLoad()
}

// load calls with several clients until the returned function is called; every call must succeed.
func (m *mesh) load(c *http.Client, calls *atomic.Int64) (stop func()) {
	ctx, cancel := context.WithCancel(m.ctx)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				resp, err := c.Get(usersURL + "/")
				if err != nil {
					m.t.Error(err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 || err != nil {
					m.t.Errorf("%d %q %v", resp.StatusCode, body, err)
				}
				calls.Add(1)
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// Configuration is replaced as a whole: no call sees a half of it, or none.
func TestConfigurationSwapsUnderLoad(t *testing.T) {
	m := newMesh(t)
	orders, users, more := m.sidecar("orders"), m.sidecar("users"), m.sidecar("more")
	m.serveApp(users, says("ok"))
	m.serveApp(more, says("ok"))
	variants := [][]plan.Resource{
		service(model.HTTP, users.endpoint(8080)),
		service(model.HTTP, more.endpoint(8080)),
		service(model.HTTP, users.endpoint(8080), more.endpoint(8080)),
		with(service(model.HTTP, users.endpoint(8080)), func(d *plan.Destination) {
			d.Routes = append([]plan.Route{{
				Origin:   "canary",
				Matches:  []model.HTTPMatch{{URI: &model.StringMatch{Kind: model.Regex, Value: "/x.*"}}},
				Backends: []plan.WeightedBackend{{Weight: 1}},
			}}, d.Routes...)
		}),
	}
	orders.apply(variants[0]...)
	c := m.client(orders)
	var calls atomic.Int64
	stopLoad := m.load(c, &calls)
	for i := range 200 {
		orders.apply(variants[i%len(variants)]...)
		at := calls.Load()
		eventually(t, "another call", func() bool { return calls.Load() > at || t.Failed() })
	}
	stopLoad()
}
