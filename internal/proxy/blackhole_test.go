package proxy

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// While a call waits for a connection to an endpoint that does not answer, the others go elsewhere.
func TestOneCallAtATimeWaitsForABlackHole(t *testing.T) {
	m := newMesh(t)
	alive, hole := netip.AddrPortFrom(m.ip(), 8080), netip.AddrPortFrom(m.ip(), 8080)
	m.plainApp(alive, says("ok"))
	var waiting atomic.Int32
	over := make(chan struct{})
	orders := m.sidecar("orders", func(o *Options) {
		dial := o.Dial
		o.Dial = func(ctx context.Context, d netio.Dialer, addr netip.AddrPort) (net.Conn, error) {
			if addr != hole {
				return dial(ctx, d, addr)
			}
			waiting.Add(1)
			select {
			case <-over:
				return nil, unix.ETIMEDOUT
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	})
	orders.apply(backendOf(service(model.HTTP, plainEndpoint(alive), plainEndpoint(hole)), func(b *plan.Backend) { b.ConnectTimeout = time.Hour })...)
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
	close(over)
	for range begun { // the one that waits goes on to the other endpoint in the end
		if status := <-answers; status != 200 {
			t.Errorf("= %d", status)
		}
	}
}

// How long a connection may take depends on whether there is another endpoint to be called.
func TestConnectTimeoutOfABlackHole(t *testing.T) {
	for _, tt := range []struct {
		name    string
		another bool
		policy  time.Duration // connectTimeout
		want    time.Duration
	}{
		{"only_one", false, 0, upstream.ConnectTimeout},
		{"of_two", true, 0, lb.SparePatience},
		{"of_two_as_the_user_says", true, 8 * time.Second, 8 * time.Second},
	} {
		for _, protocol := range []model.Protocol{model.HTTP, model.TCP} {
			t.Run(tt.name+"_"+protocol.String(), func(t *testing.T) {
				m := newMesh(t)
				hole := netip.AddrPortFrom(m.ip(), 8080)
				limits := make(chan time.Duration, 100)
				orders := m.sidecar("orders", func(o *Options) {
					dial := o.Dial
					o.Dial = func(ctx context.Context, d netio.Dialer, addr netip.AddrPort) (net.Conn, error) {
						if addr != hole {
							return dial(ctx, d, addr)
						}
						until, _ := ctx.Deadline()
						limits <- time.Until(until)
						return nil, unix.EHOSTUNREACH
					}
				})
				es := []plan.Endpoint{plainEndpoint(hole)}
				if tt.another {
					alive := netip.AddrPortFrom(m.ip(), 8080)
					m.plainApp(alive, says("ok"))
					es = append(es, plainEndpoint(alive))
				}
				orders.apply(backendOf(service(protocol, es...), func(b *plan.Backend) { b.ConnectTimeout, b.LB = tt.policy, model.RoundRobin })...)
				c := m.client(orders)
				for range 2 { // each endpoint in turn; a connection for each request, for where bytes are relayed
					if resp, err := c.Get(usersURL + "/"); err == nil {
						resp.Body.Close()
					}
					c.CloseIdleConnections()
				}
				if len(limits) == 0 {
					t.Fatal("never dialled")
				}
				if got := <-limits; got > tt.want || got < tt.want-time.Second {
					t.Errorf("the dial is given %s, want %s", got, tt.want)
				}
			})
		}
	}
}

// A pod that vanished with its network refuses nothing: calls that wait for a connection to it go elsewhere as soon as
// discovery has taken it away.
func TestNobodyWaitsForAnEndpointThatLeft(t *testing.T) {
	for _, protocol := range []model.Protocol{model.HTTP, model.HTTP2, model.TCP} {
		t.Run(protocol.String(), func(t *testing.T) {
			m := newMesh(t)
			alive, hole := netip.AddrPortFrom(m.ip(), 8080), netip.AddrPortFrom(m.ip(), 8080)
			m.plainApp(alive, says("ok"))
			waits := make(chan struct{}, 10)
			orders := m.sidecar("orders", func(o *Options) {
				dial := o.Dial
				o.Dial = func(ctx context.Context, d netio.Dialer, addr netip.AddrPort) (net.Conn, error) {
					if addr != hole {
						return dial(ctx, d, addr)
					}
					waits <- struct{}{}
					<-ctx.Done()
					return nil, ctx.Err()
				}
			})
			patient := func(b *plan.Backend) { b.ConnectTimeout = time.Hour }
			orders.apply(backendOf(service(protocol, plainEndpoint(hole)), patient)...)
			c := m.client(orders)
			status := make(chan int, 1)
			go func() {
				resp, err := c.Post(usersURL+"/", "text/plain", http.NoBody)
				if err != nil {
					status <- 0
					return
				}
				resp.Body.Close()
				status <- resp.StatusCode
			}()
			<-waits
			orders.apply(backendOf(service(protocol, plainEndpoint(alive)), patient)...)
			if got := <-status; got != http.StatusOK {
				t.Errorf("= %d, want an answer of the endpoint that is left", got)
			}
		})
	}
}
