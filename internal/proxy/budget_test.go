//go:build !race

package proxy

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// rawApp answers every request on a keep-alive connection with 1 KB, without allocating: what is counted is the
// proxy's.
func rawApp(conn net.Conn) {
	r := bufio.NewReaderSize(conn, 8<<10)
	resp := []byte("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\nContent-Type: text/plain\r\n\r\n" + strings.Repeat("x", 1024))
	for {
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				conn.Close()
				return
			}
			if len(line) == 2 {
				break
			}
		}
		if _, err := conn.Write(resp); err != nil {
			return
		}
	}
}

func startRawApp(tb testing.TB, addr netip.AddrPort) {
	tb.Helper()
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		tb.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go rawApp(c)
		}
	}()
	tb.Cleanup(func() { l.Close() })
}

// rawClient sends requests on one connection.
type rawClient struct {
	conn net.Conn
	r    *bufio.Reader
	req  []byte
	body []byte
}

func newRawClient(tb testing.TB, addr string) *rawClient {
	tb.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	return &rawClient{conn: conn, r: bufio.NewReaderSize(conn, 8<<10), body: make([]byte, 1024), req: []byte(
		"GET /api/user/123?x=1 HTTP/1.1\r\nHost: users-service.myapp.svc.cluster.local:8080\r\nUser-Agent: test\r\nAccept: */*\r\nOrigin: https://app.example.com\r\n\r\n")}
}

func (c *rawClient) do(tb testing.TB) {
	tb.Helper()
	if _, err := c.conn.Write(c.req); err != nil {
		tb.Fatal(err)
	}
	first := true
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			tb.Fatal(err)
		}
		if first && string(line) != "HTTP/1.1 200 OK\r\n" {
			rest, _ := c.r.Peek(c.r.Buffered())
			tb.Fatalf("%s%s", line, rest)
		}
		first = false
		if len(line) == 2 {
			break
		}
	}
	if _, err := io.ReadFull(c.r, c.body); err != nil {
		tb.Fatal(err)
	}
}

// realisticRoutes is a canary with a header match in front, users that stay with their endpoint, and outlier detection:
// what a user has.
func realisticRoutes(rs []plan.Resource) []plan.Resource {
	d := rs[1].(*plan.Destination)
	d.Backends[0].LB, d.Backends[0].Hash = model.Maglev, model.HashPolicy{By: model.HashByHeader, Name: "user-agent"}
	d.Backends[0].Outlier = &model.OutlierDetection{Consecutive5xx: 5, MaxEjectionPercent: 50}
	d.Routes = []plan.Route{
		{
			Origin:   "VirtualService myapp/users-service http[0]",
			Matches:  []model.HTTPMatch{{Headers: []model.NamedMatch{{Name: "x-canary", Match: model.StringMatch{Kind: model.Exact, Value: "yes"}}}}},
			Backends: []plan.WeightedBackend{{Backend: 0, Weight: 1}},
		},
		{
			Origin:   "VirtualService myapp/users-service http[1]",
			Matches:  []model.HTTPMatch{{URI: &model.StringMatch{Kind: model.Prefix, Value: "/api/"}}},
			Rewrite:  &model.Rewrite{Path: "/v1/", HasPath: true, ReplacePrefix: true},
			Headers:  model.HeaderOps{Request: model.HeaderChange{Set: []model.HeaderValue{{Name: "x-set", Value: "1"}, {Name: "x-from", Template: "%DOWNSTREAM_REMOTE_ADDRESS% at %START_TIME% for %REQ(user-agent)%"}}}, Response: model.HeaderChange{Add: []model.HeaderValue{{Name: "x-via", Value: "mesh"}}}},
			Backends: []plan.WeightedBackend{{Backend: 0, Weight: 90}, {Backend: 0, Weight: 10}},
			Retry:    model.Retry{Attempts: 2, On: []string{"connect-failure", "refused-stream"}},
			CORS:     &model.CORS{Origins: []model.StringMatch{{Kind: model.Exact, Value: "https://app.example.com"}}, Expose: "x-via", Credentials: true},
		},
	}
	return rs
}

// bounded has a service's requests limited in number and in time.
func bounded(rs []plan.Resource) []plan.Resource {
	return with(rs, func(d *plan.Destination) {
		for i := range d.Backends {
			d.Backends[i].ConnectionPool = model.ConnectionPool{MaxConnections: 100, MaxPendingRequests: 100, MaxRequests: 100, MaxRetries: 3, MaxConnectionDuration: time.Hour}
		}
		for i := range d.Routes {
			d.Routes[i].Timeout, d.Routes[i].Retry.PerTryTimeout = time.Minute, time.Second
		}
	})
}

// allocatedBy is what the whole process allocates for one of many calls, once what they leave warm is so.
func allocatedBy(call func()) (allocations, bytes float64) {
	for range 200 {
		call()
	}
	const n = 2000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		call()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / n, float64(after.TotalAlloc-before.TotalAlloc) / n
}

// TestRequestAllocations holds the whole path of a keep-alive request to its budget: two sidecars, both codecs,
// routing, header changes, rewrite, limits, timeouts, picking, metrics. History: plain 0; mesh 2, both of crypto/tls (one per record that is read).
func TestRequestAllocations(t *testing.T) {
	const plainBudget, meshBudget = 0.05, 2.1 // per request, over both sidecars; the remainder is timers and stray collections
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.meshed(users)
	startRawApp(t, netip.AddrPortFrom(users.ip, 8080))
	c := newRawClient(t, m.entrance(orders, usersAddr()))
	plain := users.endpoint(8080)
	plain.Meshed = false
	for _, tt := range []struct {
		name   string
		e      plan.Endpoint
		budget float64
	}{{"outbound_to_a_plain_endpoint", plain, plainBudget}, {"outbound_and_inbound_over_the_mesh", users.endpoint(8080), meshBudget}} {
		t.Run(tt.name, func(t *testing.T) {
			orders.apply(bounded(realisticRoutes(service(model.HTTP, tt.e)))...)
			per, bytes := allocatedBy(func() { c.do(t) })
			t.Logf("%.3f allocations and %.0f bytes per request", per, bytes)
			if per > tt.budget {
				t.Errorf("%.3f allocations per request, budget %v", per, tt.budget)
			}
		})
	}
}

// TestIdleConnectionMemory holds the memory of an app's connection that waits for its next request, in the caller's sidecar.
// History: 10100 bytes of heap, 10300 of stacks in two goroutines; 4800 and 8200 in one; 5100 in none. The test's end is some 900 of it.
func TestIdleConnectionMemory(t *testing.T) {
	const conns, heapBudget, stackBudget = 500, 5300, 200 // bytes
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.meshed(users)
	startRawApp(t, netip.AddrPortFrom(users.ip, 8080))
	orders.apply(service(model.HTTP, users.endpoint(8080))...)
	addr := m.entrance(orders, usersAddr())
	orders.lot.After = 10 * time.Millisecond
	clients := make([]*rawClient, 0, 2*conns)
	open := func() {
		for range conns {
			c := newRawClient(t, addr)
			c.do(t)
			c.r, c.req, c.body = nil, nil, nil // they are not the sidecar's
			clients = append(clients, c)
		}
	}
	inUse := func() (heap, stack int64) {
		eventually(t, "all are parked", func() bool { return orders.lot.Waiting() == len(clients) })
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc), int64(s.StackInuse) // either may have shrunk meanwhile: goroutines that wait have their stacks halved
	}
	open() // what is shared has grown afterwards
	heap, stack := inUse()
	goroutines := runtime.NumGoroutine()
	open()
	more := runtime.NumGoroutine() - goroutines
	moreHeap, moreStack := inUse()
	heap, stack = (moreHeap-heap)/conns, (moreStack-stack)/conns
	t.Logf("%d bytes of heap and %d of stack per connection", heap, stack)
	if heap > heapBudget || stack > stackBudget || more > conns/2 {
		t.Errorf("%d bytes of heap, %d of stack, and %d goroutines for %d connections; budget %d, %d and none", heap, stack, more, conns, heapBudget, stackBudget)
	}
	runtime.KeepAlive(clients)
}

func BenchmarkPair(b *testing.B) {
	for _, conns := range []int{1, 8, 64} {
		b.Run("connections="+strconv.Itoa(conns), func(b *testing.B) {
			m := newMesh(b)
			orders, users := m.sidecar("orders"), m.sidecar("users")
			m.meshed(users)
			startRawApp(b, netip.AddrPortFrom(users.ip, 8080))
			orders.apply(service(model.HTTP, users.endpoint(8080))...)
			clients := make(chan *rawClient, conns)
			for range conns {
				clients <- newRawClient(b, m.entrance(orders, usersAddr()))
			}
			b.SetParallelism(conns)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				c := <-clients
				for pb.Next() {
					c.do(b)
				}
				clients <- c
			})
		})
	}
}

// TestTracedRequestAllocations holds requests with tracing on, and not sampled, to the budget of requests without.
func TestTracedRequestAllocations(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	at := netip.AddrPortFrom(m.ip(), 8080)
	startRawApp(t, at)
	orders.traced(0, netip.AddrPortFrom(m.ip(), 9411))
	orders.apply(bounded(realisticRoutes(service(model.HTTP, plainEndpoint(at))))...)
	c := newRawClient(t, m.entrance(orders, usersAddr()))
	for range 200 {
		c.do(t)
	}
	const n = 2000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		c.do(t)
	}
	runtime.ReadMemStats(&after)
	if per := float64(after.Mallocs-before.Mallocs) / n; per > 0.05 {
		t.Errorf("%.3f allocations per request, budget 0.05", per)
	}
	if c := orders.tracer.Client.Begun.Load(); c < n {
		t.Errorf("%d requests were looked at, want %d", c, n)
	}
}
