package proxy

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// TestOverloadSheds: what begins while memory is short is refused, what is under way goes on, and all is well afterwards.
func TestOverloadSheds(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		entered, leave := make(chan struct{}), make(chan struct{})
		m.plainApp(app(users), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/wait" {
				entered <- struct{}{}
				<-leave
			}
			fmt.Fprint(w, "ok")
		}))
		orders.apply(service(model.HTTP, e)...)
		c := m.client(orders)
		waiting := make(chan string)
		go func() {
			_, body := fetch(t, c, "GET", "/wait", "")
			waiting <- body
		}()
		<-entered
		orders.overload.tight.Store(true)
		resp, body := fetch(t, c, "POST", "/", "x")
		if resp.StatusCode != 503 || !strings.Contains(body, "overloaded") || !strings.Contains(resp.Header.Get("Proxy-Status"), "overloaded") {
			t.Errorf("= %d %q %q, want 503", resp.StatusCode, body, resp.Header.Get("Proxy-Status"))
		}
		expectMetric(t, orders, `response_code="503",response_flags="OM"`)
		close(leave)
		if got := <-waiting; got != "ok" {
			t.Errorf("the call under way got %q", got)
		}
		orders.overload.tight.Store(false)
		if resp, body := fetch(t, c, "GET", "/", ""); resp.StatusCode != 200 {
			t.Errorf("afterwards: %d %q", resp.StatusCode, body)
		}
	})
}

// A called sidecar that is short of memory has done nothing: the call goes to another endpoint, whatever its method.
func TestOverloadedPeerIsPassedOver(t *testing.T) {
	m := newMesh(t)
	orders, full, users := m.sidecar("orders"), m.sidecar("full"), m.sidecar("users")
	m.serveApp(full, says("full"))
	m.serveApp(users, says("ok"))
	full.overload.tight.Store(true)
	orders.apply(service(model.HTTP, full.endpoint(8080), users.endpoint(8080))...)
	c := m.client(orders)
	for range 20 {
		if resp, body := fetch(t, c, "POST", "/", "x"); resp.StatusCode != 200 || body != "ok" {
			t.Fatalf("= %d %q", resp.StatusCode, body)
		}
	}
}

// TestTooManyConnections: beyond the limit connections are reset, those that are open go on, and there is room again.
func TestTooManyConnections(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.plainApp(app(users), says("ok"))
	e := users.endpoint(8080)
	e.Meshed = false
	orders.apply(service(model.HTTP, e)...)
	orders.limits.put(plan.Limits{Connections: 8})
	addr := m.entrance(orders, usersAddr())
	ask := func(c net.Conn) error {
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: users\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil && resp.StatusCode != 200 {
			err = fmt.Errorf("status %d", resp.StatusCode)
		}
		return err
	}
	var open []net.Conn
	for i := range 6 { // three quarters of all
		c := dial(t, addr)
		if err := ask(c); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		open = append(open, c)
	}
	expectReset(t, addr)
	expectMetric(t, orders, `fairlead_connections_refused_total{reason="too_many"}`)
	for i, c := range open {
		if err := ask(c); err != nil {
			t.Errorf("connection %d, later: %v", i, err)
		}
	}
	open[0].Close()
	eventually(t, "room for one more", func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return false // the reset was faster than the end of the handshake
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		return ask(c) == nil
	})
}

// Between the marks nothing changes, so that it does not swing.
func TestOverloadHasTwoMarks(t *testing.T) {
	var held int64
	o := &overload{limits: new(meshLimits), memory: 100, held: func() int64 { return held }}
	for _, tt := range []struct {
		held int64
		want bool
	}{{50, false}, {85, false}, {95, true}, {85, true}, {50, false}, {85, false}} {
		held = tt.held
		o.look()
		if got := o.tight.Load(); got != tt.want {
			t.Errorf("%d of 100 held: shedding = %t, want %t", tt.held, got, tt.want)
		}
	}
}

func TestConnectionLimits(t *testing.T) {
	o := &overload{limits: new(meshLimits), connections: 1000}
	for _, tt := range []struct {
		all, own int64
		set      uint32
		want     bool
	}{
		{0, 0, 0, true},
		{999, 0, 0, true},
		{1000, 0, 0, false},
		{800, 749, 0, true},
		{800, 750, 0, false}, // one door leaves room for the others
		{10, 0, 10, false},
		{5000, 100, 10_000, true},
	} {
		o.limits.put(plan.Limits{Connections: tt.set})
		if got := o.connection(tt.all, tt.own); got != tt.want {
			t.Errorf("%d open, %d here, limit %d: %t, want %t", tt.all, tt.own, tt.set, got, tt.want)
		}
	}
	if n := newOverload(new(meshLimits)).connections; n <= 0 {
		t.Errorf("%d connections by default", n)
	}
	if held := heldMemory(); held <= 0 || held > 1<<30 {
		t.Errorf("held memory = %d", held)
	}
}
