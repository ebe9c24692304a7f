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
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// patience bounds every wait of a test that something must end; nothing waits for it to pass.
const patience = 10 * time.Second

// What tests know of package call's insides: how much of a body is held, and the marks between sidecars.
const (
	scratch        = 16 << 10
	maxSpelling    = 2 << 10
	maxCallerPorts = 16
	markPrefix     = "x-fairlead-"
)

// door is a port of a sidecar that is there on every address of the loopback. What tests connect to it through one of
// them is a connection that was redirected from where the address stands for.
type door struct {
	net.Listener
	m *mesh

	mu    sync.Mutex
	meant map[netip.Addr]netip.AddrPort // guarded by mu; by the address that was connected to
}

func (m *mesh) door() *door {
	m.t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var bound error
		return errors.Join(c.Control(func(fd uintptr) { bound = unix.BindToDevice(int(fd), "lo") }), bound)
	}}
	l, err := lc.Listen(m.ctx, "tcp4", "0.0.0.0:0")
	if err != nil {
		m.t.Fatal(err)
	}
	return &door{Listener: l, m: m, meant: map[netip.Addr]netip.AddrPort{}}
}

// to gives an address at which connections are taken that are meant for dst.
func (d *door) to(dst netip.AddrPort) string {
	at := netip.AddrPortFrom(d.m.ip(), uint16(d.Addr().(*net.TCPAddr).Port))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.meant[at.Addr()] = dst
	return at.String()
}

// captured is Options.Captured.
func (d *door) captured(c net.Conn) (netip.AddrPort, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dst, ok := d.meant[c.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()]
	return dst, ok
}

// gate is the mesh port of a sidecar, which opens when the test says so, and closes as that of a process that is killed.
type gate struct {
	opened, closed chan struct{}
	close          sync.Once
	l              net.Listener // once opened is closed

	mu    sync.Mutex
	conns []net.Conn // guarded by mu
}

func newGate() *gate { return &gate{opened: make(chan struct{}), closed: make(chan struct{})} }

func (g *gate) open(tb testing.TB, addr netip.AddrPort) {
	tb.Helper()
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		tb.Fatal(err)
	}
	g.l = l
	close(g.opened)
}

func (g *gate) Accept() (net.Conn, error) {
	select {
	case <-g.opened:
	case <-g.closed:
		return nil, net.ErrClosed
	}
	c, err := g.l.Accept()
	if err == nil {
		g.mu.Lock()
		g.conns = append(g.conns, c)
		g.mu.Unlock()
	}
	return c, err
}

func (*gate) Addr() net.Addr { return &net.TCPAddr{Port: portMesh} }

func (g *gate) Close() error {
	g.close.Do(func() { close(g.closed) })
	select {
	case <-g.opened:
		return g.l.Close()
	default:
		return nil
	}
}

// accepted is how many connections there have been.
func (g *gate) accepted() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

// kill ends the port and its connections, as the kernel does for a process that was killed.
func (g *gate) kill() {
	g.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.conns {
		c.Close()
	}
}

// entrance is the address on which a sidecar takes connections of its workload, all of them meant for dst.
func (*mesh) entrance(s *sidecar, dst netip.AddrPort) string { return s.opened.to(dst) }

// plainly is the door of a sidecar for callers without one.
func (*mesh) plainly(s *sidecar, dst netip.AddrPort) string { return s.plain.to(dst) }

// meshed opens the mesh port of a sidecar.
func (m *mesh) meshed(s *sidecar) {
	m.t.Helper()
	s.gate.open(m.t, netip.AddrPortFrom(s.ip, portMesh))
}

// rawServer serves connections one by one with a function and closes each after it.
func (m *mesh) rawServer(addr netip.AddrPort, serve func(*net.TCPConn)) {
	m.t.Helper()
	m.listen(addr, func(_ context.Context, c net.Conn) {
		defer c.Close()
		serve(c.(interface{ NetTCP() *net.TCPConn }).NetTCP())
	})
}

// dial opens a connection whose reads and writes end with the test's patience.
func dial(tb testing.TB, addr string) *net.TCPConn {
	tb.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// plainEndpoint is an endpoint without a sidecar.
func plainEndpoint(addr netip.AddrPort) plan.Endpoint {
	return plan.Endpoint{Addr: addr, Weight: 1, Health: plan.Healthy}
}

// with changes the destination of a service.
func with(rs []plan.Resource, change func(*plan.Destination)) []plan.Resource {
	change(rs[1].(*plan.Destination))
	return rs
}

// users is the address apps dial.
func usersAddr() netip.AddrPort { return netip.AddrPortFrom(vip, 8080) }

// expectLine reads one line and compares it.
func expectLine(tb testing.TB, r *bufio.Reader, want string) {
	tb.Helper()
	got, err := r.ReadString('\n')
	if err != nil || got != want {
		tb.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

// metricsOf is the exposition of a sidecar.
func metricsOf(tb testing.TB, s *sidecar) string {
	tb.Helper()
	var b strings.Builder
	if err := s.metrics.WriteMetrics(&b); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

// expectMetric waits for a series that holds all parts: exchanges are counted after they were answered.
func expectMetric(tb testing.TB, s *sidecar, parts ...string) {
	tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(patience)
	for !hasLine(metricsOf(tb, s), parts) {
		<-tick.C
		if time.Now().After(end) {
			tb.Fatalf("no series with %q in\n%s", parts, brief(metricsOf(tb, s)))
		}
	}
}

// expectLogged waits for a line of a log that holds all parts: a sidecar counts, answers or resets first, and writes the line then.
func expectLogged(tb testing.TB, log *buffer, parts ...string) {
	tb.Helper()
	defer showAfter(tb, log)
	eventually(tb, fmt.Sprintf("a line with %q in the log", parts), func() bool { return hasLine(log.String(), parts) })
}

// expectAccess waits for such a line of the access log.
func (s *sidecar) expectAccess(tb testing.TB, parts ...string) {
	tb.Helper()
	s.accessed(tb, fmt.Sprintf("a line with %q in the access log", parts), func(log string) bool { return hasLine(log, parts) })
}

// accessLines waits until the access log has n lines, and gives all that it has.
func (s *sidecar) accessLines(tb testing.TB, n int) []string {
	tb.Helper()
	s.accessed(tb, fmt.Sprintf("%d lines in the access log", n), func(log string) bool { return strings.Count(log, "\n") >= n })
	return strings.Split(strings.TrimSpace(s.accessLog.String()), "\n")
}

// accessed flushes the access log until a condition holds of it. The sidecar flushes, too: what it has taken is not yet there.
func (s *sidecar) accessed(tb testing.TB, what string, holds func(log string) bool) {
	tb.Helper()
	over, cancel := context.WithCancel(tb.Context())
	cancel()
	defer showAfter(tb, s.accessLog)
	eventually(tb, what, func() bool {
		s.access.Run(over) // flushes
		return holds(s.accessLog.String())
	})
}

// showAfter shows a log in which a test has not found what it wants.
func showAfter(tb testing.TB, log *buffer) {
	if tb.Failed() {
		tb.Logf("it has:\n%s", log.String())
	}
}

func hasLine(all string, parts []string) bool {
	for line := range strings.Lines(all) {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
			return true
		}
	}
	return false
}

// brief leaves out of an exposition what is the same everywhere.
func brief(all string) string {
	var out strings.Builder
	for line := range strings.Lines(all) {
		if _, rest, ok := strings.Cut(line, "request_protocol="); ok && strings.Contains(line, "_total{") {
			out.WriteString(line[:strings.IndexByte(line, '{')] + " … " + rest)
		}
	}
	return out.String()
}

// eventually waits for a condition that another goroutine brings about.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-end.C:
			tb.Fatalf("still not: %s", what)
		}
	}
}

// goesOn waits until a count has grown by so much, or the test has failed. Each twentieth has the time of a wait: how fast the count grows is the
// machine's.
func goesOn(tb testing.TB, what string, count *atomic.Int64, by int64) {
	tb.Helper()
	for i, from := int64(1), count.Load(); i <= 20; i++ {
		eventually(tb, what, func() bool { return count.Load() >= from+by*i/20 || tb.Failed() })
	}
}

// dialled gives a client all of whose connections go to one address.
func (m *mesh) dialled(addr string) *http.Client {
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		},
		MaxIdleConnsPerHost: 64, ExpectContinueTimeout: patience, DisableCompression: true,
	}
	m.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// isReset reports whether a connection broke, as opposed to having ended.
func isReset(err error) bool { return err != nil && !errors.Is(err, io.EOF) }

// expectReset wants a connection to be refused as well as one can that was accepted: by a reset, which may come while
// connect has not even returned.
func expectReset(tb testing.TB, addr string) {
	tb.Helper()
	c, err := net.Dial("tcp", addr)
	if err == nil {
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		_, err = c.Read(make([]byte, 1))
	}
	if !isReset(err) || errors.Is(err, os.ErrDeadlineExceeded) {
		tb.Errorf("read = %v, want a reset", err)
	}
}

// runner is a *testing.T, for what is no helper but the body of a test.
type runner struct{ *testing.T }

// flavours runs a test over the mesh and without it.
func flavours(t *testing.T, test func(t runner, m *mesh, client, server *sidecar, endpoint plan.Endpoint)) {
	for _, meshed := range []bool{true, false} {
		name := "plain"
		if meshed {
			name = "mesh"
		}
		t.Run(name, func(t *testing.T) {
			m := newMesh(t)
			orders, users := m.sidecar("orders"), m.sidecar("users")
			e := users.endpoint(8080)
			if meshed {
				m.meshed(users)
			} else {
				e.Meshed, e.Identity = false, ""
			}
			test(runner{t}, m, orders, users, e)
		})
	}
}

func app(s *sidecar) netip.AddrPort { return netip.AddrPortFrom(s.ip, 8080) }

// undeclared is a service whose port names no protocol.
func undeclared(es ...plan.Endpoint) []plan.Resource { return service(model.Undeclared, es...) }
