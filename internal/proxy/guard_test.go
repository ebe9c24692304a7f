package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// waits is an app that answers only when its client has gone, and says so.
func waits(entered, gone chan<- struct{}) http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	})
}

// A client that gives up while its request is being answered takes the request with it, through every hop.
func TestClientGivesUpWaiting(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		entered, gone := make(chan struct{}, 1), make(chan struct{}, 1)
		m.plainApp(app(users), waits(entered, gone))
		orders.apply(service(model.HTTP, e)...)
		addrs := map[string]string{"outbound": m.entrance(orders, usersAddr())}
		if !e.Meshed {
			addrs["inbound"] = m.plainly(users, app(users))
		}
		for side, addr := range addrs {
			t.Run(side+" HTTP/1.1", func(t *testing.T) {
				c := dial(t, addr)
				fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: users\r\n\r\n")
				<-entered
				c.SetLinger(0) // a reset; the end of the connection might be that of its requests only
				c.Close()
				later := time.Now().Add(time.Hour) // instead of waiting until the request counts as a long one
				eventually(t, "the app to be told", func() bool {
					orders.clients.Look(later)
					users.clients.Look(later)
					return len(gone) > 0
				})
				<-gone
			})
		}
		expectMetric(t, orders, "istio_requests_total", `response_flags="DC"`)
	})
}

func TestHTTP2ClientGivesUpWaiting(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		entered, gone := make(chan struct{}, 1), make(chan struct{}, 1)
		m.h2cApp(app(users), waits(entered, gone))
		orders.apply(service(model.GRPC, e)...)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, usersURL+"/", http.NoBody)
		c := m.h2cClient(m.entrance(orders, usersAddr()))
		done := make(chan error, 1)
		go func() {
			_, err := c.Do(req)
			done <- err
		}()
		<-entered
		cancel()
		if err := <-done; err == nil {
			t.Error("a call that was given up was answered")
		}
		<-gone
		expectMetric(t, orders, "istio_requests_total", `response_flags="DC"`)
	})
}

// One that is there and silent is left alone, as is one that has sent its next request already.
func TestClientThatWaitsIsLeftAlone(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	entered, leave := make(chan struct{}, 2), make(chan struct{})
	m.plainApp(app(users), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-leave
		io.WriteString(w, "finished")
	}))
	orders.apply(service(model.HTTP, plainEndpoint(app(users)))...)
	addr := m.entrance(orders, usersAddr())
	silent, eager := dial(t, addr), dial(t, addr)
	fmt.Fprint(silent, "GET / HTTP/1.1\r\nHost: users\r\nConnection: close\r\n\r\n")
	fmt.Fprint(eager, "GET / HTTP/1.1\r\nHost: users\r\n\r\nGET / HTTP/1.1\r\nHost: users\r\nConnection: close\r\n\r\n")
	<-entered
	<-entered
	orders.clients.Look(time.Now().Add(time.Hour))
	close(leave)
	for _, c := range []net.Conn{silent, eager} {
		if got, err := io.ReadAll(c); err != nil || len(got) == 0 {
			t.Errorf("= %q, %v", got, err)
		}
	}
}

// One that has ended its own direction gets its answer, however late.
func TestAHalfClosedClientGetsItsAnswer(t *testing.T) {
	inPairs(t, model.HTTP, func(t runner, p *pair) {
		entered, leave := make(chan struct{}, 1), make(chan struct{})
		p.m.rawServer(app(p.users), func(c *net.TCPConn) {
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				entered <- struct{}{}
				<-leave
				io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nlate")
			}
		})
		for _, request := range []string{
			"GET / HTTP/1.1\r\nHost: users\r\n\r\n", "GET / HTTP/1.0\r\nHost: users\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: users\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		} {
			c := dial(t, p.entrance)
			io.WriteString(c, request)
			c.CloseWrite()
			awaited(t, entered)
			for _, s := range []*sidecar{p.orders, p.users} {
				s.clients.Look(time.Now().Add(time.Hour)) // instead of waiting until the request counts as a long one
			}
			leave <- struct{}{}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(body) != "late" || err != nil {
				t.Errorf("= %d %q, %v", resp.StatusCode, body, err)
			}
		}
	})
}
