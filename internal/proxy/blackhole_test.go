package proxy

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
)

// While a call waits for a connection to an endpoint that does not answer, the others go elsewhere.
func TestOneCallAtATimeWaitsForABlackHole(t *testing.T) {
	m := newMesh(t)
	alive, hole := netip.AddrPortFrom(m.ip(), 8080), netip.AddrPortFrom(m.ip(), 8080)
	m.plainApp(alive, says("ok"))
	var waiting atomic.Int32
	orders := m.sidecar("orders", func(o *Options) {
		dial := o.Dial
		o.Dial = func(ctx context.Context, d netio.Dialer, addr netip.AddrPort) (net.Conn, error) {
			if addr != hole {
				return dial(ctx, d, addr)
			}
			waiting.Add(1)
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	orders.apply(backendOf(service(model.HTTP, plainEndpoint(alive), plainEndpoint(hole)), func(b *plan.Backend) { b.ConnectTimeout = 2 * time.Second })...)
	c := m.client(orders)
	answers := make(chan int, 1000)
	begun := 0
	for waiting.Load() == 0 {
		begun++
		go func() {
			resp, err := c.Get(usersURL + "/")
			if err != nil {
				answers <- 0
				return
			}
			resp.Body.Close()
			answers <- resp.StatusCode
		}()
		eventually(t, "an answer, or a call that waits", func() bool { return waiting.Load() > 0 || len(answers) == begun })
	}
	for range 50 {
		if resp, body := fetch(t, c, "GET", "/", ""); resp.StatusCode != 200 {
			t.Fatalf("= %d %q", resp.StatusCode, body)
		}
	}
	if n := waiting.Load(); n != 1 {
		t.Errorf("%d calls wait for the black hole, want one", n)
	}
	for range begun { // the one that waits goes on to the other endpoint in the end
		if status := <-answers; status != 200 {
			t.Errorf("= %d", status)
		}
	}
}
