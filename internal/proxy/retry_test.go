package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/plan"
)

const usersURL = "http://users-service.myapp.svc.cluster.local:8080"

// fetch makes one request and gives status and body.
func fetch(tb testing.TB, c *http.Client, method, path, body string) (*http.Response, string) {
	tb.Helper()
	req, err := http.NewRequest(method, usersURL+path, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		tb.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatalf("%s %s: %v", method, path, err)
	}
	return resp, string(b)
}

// says is an app that answers with a word.
func says(word string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, word)
	})
}

// cutter accepts a request and breaks off without an answer.
func (m *mesh) cutter(addr netip.AddrPort, requests *atomic.Int32) {
	m.rawServer(addr, func(c *net.TCPConn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			requests.Add(1)
		}
		c.SetLinger(0)
	})
}

func TestConnectFailureIsRetriedForAnyMethod(t *testing.T) {
	m := newMesh(t)
	orders, users, gone := m.sidecar("orders"), m.sidecar("users"), m.sidecar("gone")
	m.serveApp(users, says("users"))
	m.meshed(gone) // its sidecar lives, its app does not: "x-fairlead-error: connect"
	dead := m.sidecar("dead").endpoint(8080)
	plainDead := plainEndpoint(netip.AddrPortFrom(m.ip(), 8080))
	c := m.client(orders)
	for _, tt := range []struct {
		name string
		bad  plan.Endpoint
	}{{"no_sidecar_there", dead}, {"no_app_behind_the_sidecar", gone.endpoint(8080)}, {"plain", plainDead}} {
		t.Run(tt.name, func(t *testing.T) {
			orders.apply(service(model.HTTP, tt.bad, users.endpoint(8080))...)
			for i := range 20 {
				for _, method := range []string{"GET", "POST", "DELETE"} {
					if resp, body := fetch(t, c, method, "/", "x"); resp.StatusCode != 200 || body != "users" {
						t.Fatalf("%s %d = %d %q", method, i, resp.StatusCode, body)
					}
				}
			}
		})
	}
}

// TestConnectFailureIsRetriedWhateverTheLength: a connection that was refused has consumed nothing of a body, also of one
// whose end nobody knows yet, as of every call of gRPC.
func TestConnectFailureIsRetriedWhateverTheLength(t *testing.T) {
	for _, protocol := range []model.Protocol{model.HTTP, model.HTTP2} {
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s_known_%t", protocol, known), func(t *testing.T) {
				m := newMesh(t)
				orders, users := m.sidecar("orders"), m.sidecar("users")
				echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
				dead := plainEndpoint(netip.AddrPortFrom(m.ip(), 8080))
				c := m.client(orders)
				if protocol == model.HTTP2 {
					m.h2cApp(app(users), echo)
					m.meshed(users)
					c = m.h2cClient(m.entrance(orders, usersAddr()))
				} else {
					m.serveApp(users, echo)
				}
				orders.apply(service(protocol, dead, users.endpoint(8080))...)
				for i := range 20 {
					var body io.Reader = strings.NewReader("hello")
					if !known {
						body = io.MultiReader(body)
					}
					resp, err := c.Post(usersURL+"/", "text/plain", body)
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if resp.StatusCode != http.StatusOK || string(got) != "hello" || err != nil {
						t.Errorf("call %d = %d %q, %v", i, resp.StatusCode, got, err)
					}
				}
			})
		}
	}
}

func TestResetBeforeAnswer(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		var requests atomic.Int32
		m.cutter(app(users), &requests)
		orders.apply(service(model.HTTP, e)...)
		c := m.client(orders)
		for _, tt := range []struct {
			method, flag string
			want         int32
		}{{"GET", "UC,URX", 3}, {"POST", "UC", 1}} {
			requests.Store(0)
			resp, body := fetch(t, c, tt.method, "/", "")
			if resp.StatusCode != 503 || !strings.Contains(body, "connection termination") {
				t.Errorf("%s = %d %q", tt.method, resp.StatusCode, body)
			}
			if n := requests.Load(); n != tt.want {
				t.Errorf("%s reached the app %d times, want %d", tt.method, n, tt.want)
			}
			expectMetric(t, orders, `reporter="source"`, `response_flags="`+tt.flag+`"`)
		}
	})
}

// A stream that the app resets is no connection that it ends: who calls the app says so, its own sidecar or else the caller's.
func TestStreamResetBeforeAnswer(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.h2cApp(app(users), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
		orders.apply(service(model.HTTP2, e)...)
		c := m.h2cClient(m.entrance(orders, usersAddr()))
		resp, err := c.Post(usersURL+"/", "text/plain", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("= %d %q, %v", resp.StatusCode, body, err)
		}
		if e.Meshed {
			expectMetric(t, users, `reporter="destination"`, `response_flags="UR"`)
			return
		}
		expectMetric(t, orders, `reporter="source"`, `response_flags="UR"`)
		if !strings.Contains(string(body), "remote reset") {
			t.Errorf("the body does not say remote reset: %q", body)
		}
	})
}

func TestResetBeforeAnswerIsRetriedElsewhere(t *testing.T) {
	m := newMesh(t)
	orders, users, bad := m.sidecar("orders"), m.sidecar("users"), m.sidecar("bad")
	m.serveApp(users, says("users"))
	m.meshed(bad)
	var requests atomic.Int32
	m.cutter(app(bad), &requests)
	orders.apply(service(model.HTTP, bad.endpoint(8080), users.endpoint(8080))...)
	c := m.client(orders)
	for range 50 {
		if resp, body := fetch(t, c, "GET", "/", ""); resp.StatusCode != 200 || body != "users" {
			t.Fatalf("= %d %q", resp.StatusCode, body)
		}
	}
	if requests.Load() == 0 {
		t.Error("the endpoint that breaks off was never tried: the test proves nothing")
	}
}

func TestRetryOnStatus(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		var n atomic.Int32
		m.plainApp(app(users), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			if n.Add(1)%3 != 0 {
				w.WriteHeader(503)
				fmt.Fprint(w, "busy")
				return
			}
			fmt.Fprint(w, "finally ", string(b))
		}))
		c := m.client(orders)
		orders.apply(with(service(model.HTTP, e), func(d *plan.Destination) {
			d.Routes[0].Retry = model.Retry{Attempts: 2, Codes: []int{503}, Backoff: time.Millisecond}
		})...)
		if resp, body := fetch(t, c, "POST", "/", "body"); resp.StatusCode != 200 || body != "finally body" {
			t.Errorf("with retryOn 503 = %d %q", resp.StatusCode, body)
		}
		n.Store(0)
		orders.apply(with(service(model.HTTP, e), func(d *plan.Destination) {
			d.Routes[0].Retry = model.Retry{Attempts: 1, Codes: []int{503}, Backoff: time.Millisecond}
		})...)
		if resp, body := fetch(t, c, "POST", "/", "body"); resp.StatusCode != 503 || body != "busy" {
			t.Errorf("out of tries = %d %q, want the app's own answer", resp.StatusCode, body)
		}
		n.Store(0)
		orders.apply(service(model.HTTP, e)...)
		if resp, body := fetch(t, c, "GET", "/", ""); resp.StatusCode != 503 || body != "busy" {
			t.Errorf("nobody asked for a retry = %d %q", resp.StatusCode, body)
		}
	})
}

func TestTimeouts(t *testing.T) {
	const limit = 500 * time.Millisecond // enough for a connection on a busy machine: without one the answer is another
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		var n atomic.Int32
		var slow atomic.Int32
		m.plainApp(app(users), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1) <= slow.Load() {
				<-r.Context().Done() // until the proxy gives up
				return
			}
			fmt.Fprint(w, "in time")
		}))
		c := m.client(orders)
		tests := []struct {
			name   string
			route  func(*plan.Route)
			slow   int32
			status int
			flag   string
		}{
			{"request_timeout", func(r *plan.Route) { r.Timeout = limit }, 99, 504, "UT"},
			{"per_try_timeout_then_success", func(r *plan.Route) {
				r.Retry.PerTryTimeout, r.Retry.Backoff = time.Second, time.Millisecond
			}, 1, 200, "-"},
			{"per_try_timeout_until_out_of_tries", func(r *plan.Route) {
				r.Retry.PerTryTimeout, r.Retry.Backoff = limit, time.Millisecond
			}, 99, 504, "UT,URX"},
			{"backend_timeout", func(r *plan.Route) { r.BackendTimeout, r.Retry.Attempts = limit, 0 }, 99, 504, "UT"},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				orders.apply(with(service(model.HTTP, e), func(d *plan.Destination) { tt.route(&d.Routes[0]) })...)
				n.Store(0)
				slow.Store(tt.slow)
				resp, body := fetch(t, c, "GET", "/", "")
				if resp.StatusCode != tt.status {
					t.Errorf("= %d %q, want %d", resp.StatusCode, body, tt.status)
				}
				expectMetric(t, orders, `reporter="source"`, `response_flags="`+tt.flag+`"`)
			})
		}
	})
}

// An endpoint dies under load: no client notices.
func TestEndpointKilledUnderLoad(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.plainApp(app(users), says("ok"))
		victim := m.sidecar("victim")
		v := victim.endpoint(8080)
		if e.Meshed {
			m.meshed(victim)
		} else {
			v.Meshed, v.Identity = false, ""
		}
		stopApp := m.stoppable(app(victim), func(_ context.Context, c net.Conn) { serveKeepAlive(c) })
		orders.apply(service(model.HTTP, e, v)...)
		c := m.client(orders)
		var wg sync.WaitGroup
		var calls atomic.Int64
		stop := make(chan struct{})
		for range 8 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					resp, err := c.Get(usersURL + "/")
					if err != nil {
						t.Error(err)
						return
					}
					body, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if resp.StatusCode != 200 || err != nil {
						t.Errorf("%d %q %v", resp.StatusCode, body, err)
					}
					calls.Add(1)
				}
			})
		}
		goesOn(t, "some load", &calls, 200)
		victim.gate.kill()
		stopApp()
		goesOn(t, "load after the death", &calls, 500)
		close(stop)
		wg.Wait()
	})
}

// serveKeepAlive answers GET requests until the connection ends. The answers have no body: one whose head was carried on when its sender died would
// be cut, as it must be.
func serveKeepAlive(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		io.Copy(io.Discard, req.Body)
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
			return
		}
	}
}

// stoppable listens until the returned function is called, which cuts every connection.
func (m *mesh) stoppable(addr netip.AddrPort, serve func(context.Context, net.Conn)) (stop func()) {
	m.t.Helper()
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		m.t.Fatal(err)
	}
	workers := h2.NewWorkers(0)
	a := &acceptor{listeners: []net.Listener{l}, workers: workers, serve: toTheEnd(serve), active: new(atomic.Int64), own: new(atomic.Int64)}
	ctx, cancel := context.WithCancel(m.ctx)
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
		workers.Close()
	})
	m.t.Cleanup(stop)
	return stop
}

func TestPolicyMayAllowMoreTriesThanAreRemembered(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	c := m.client(orders)
	rs := service(model.HTTP, users.endpoint(8080)) // no app listens there
	rs[1].(*plan.Destination).Routes[0].Retry = model.Retry{Attempts: 10, On: []string{"connect-failure"}, Backoff: time.Microsecond}
	orders.apply(rs...)
	resp, body := get(t, c, "/")
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "connection failure") {
		t.Errorf("= %d %q, want 503 after ten retries", resp.StatusCode, body)
	}
}
