package lab_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"fairlead.dev/fairlead/internal/lab/demoapp"
)

const attackedIP = "10.96.0.110"

// attack is what one client does to a sidecar. It goes on until ctx ends, on connections that end with it.
type attack struct {
	name  string
	port  string
	conns int
	run   func(ctx context.Context, conn net.Conn) (sent int64)
}

// attackedMemory is the largest resident memory that a sidecar without a limit of its memory may have had, in MB, after all
// attacks so far: with as many requests under way as one address may have, 1000, each with its buffers on both sides, and
// with the garbage of thousands. It has had 55 to 69, and how much garbage there is depends on when it is collected.
const attackedMemory = 96

// attacks come one after another, each from a pod of its own, for who was told to calm down is slow for a while.
var attacks = []attack{
	{"silent", "8080", 100, func(ctx context.Context, _ net.Conn) int64 { <-ctx.Done(); return 0 }},
	{"silent_pages", "15021", 250, func(_ context.Context, conn net.Conn) int64 { // until it is reset
		_, _ = conn.Read(make([]byte, 1))
		return 0
	}},
	{"half_a_head", "8080", 100, func(ctx context.Context, conn net.Conn) int64 {
		n, _ := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: server\r\nX-Half: ")
		<-ctx.Done()
		return int64(n)
	}},
	{"endless_upload", "8080", 20, func(_ context.Context, conn net.Conn) int64 {
		n, _ := io.WriteString(conn, "POST /?delay=60s HTTP/1.1\r\nHost: server\r\nContent-Length: 1000000000000\r\n\r\n")
		more, _ := io.Copy(struct{ io.Writer }{conn}, letters{})
		return int64(n) + more
	}},
	{"http2_zero_window", "8080", 10, func(ctx context.Context, conn net.Conn) int64 {
		asked := 0
		return floodHTTP2(conn, []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}, func(f *http2.Framer, id uint32, head []byte) error {
			if asked++; asked > 200 {
				<-ctx.Done()
				return ctx.Err()
			}
			return f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head, EndHeaders: true, EndStream: true})
		})
	}},
	{"http2_uploads", "8080", 10, func(_ context.Context, conn net.Conn) int64 { return uploads(conn, 64<<10-1, newAllowance()) }},
	{"http2_uploads_beyond_windows", "8080", 10, func(_ context.Context, conn net.Conn) int64 { return uploads(conn, 256<<10, nil) }},
	{"rapid_reset", "8080", 4, func(_ context.Context, conn net.Conn) int64 {
		return floodHTTP2(conn, nil, func(f *http2.Framer, id uint32, head []byte) error {
			err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head, EndHeaders: true, EndStream: true})
			return errors.Join(err, f.WriteRSTStream(id, http2.ErrCodeCancel))
		})
	}},
}

// attackHead is the head of a request, with no entry of a table, so that every head of it is the same.
func attackHead(path string, more ...[2]string) []byte {
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	for _, f := range append([][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "server"}, {":path", path}}, more...) {
		_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: true})
	}
	return head.Bytes()
}

// floodHTTP2 writes one request after another until the connection ends, and gives how many. What comes back is read and
// thrown away.
func floodHTTP2(conn net.Conn, settings []http2.Setting, write func(f *http2.Framer, id uint32, head []byte) error) (sent int64) {
	head := attackHead("/bytes/100000")
	var reader sync.WaitGroup
	defer reader.Wait()
	defer conn.Close()
	reader.Go(func() { _, _ = io.Copy(io.Discard, conn) })
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return 0
	}
	f := http2.NewFramer(conn, nil)
	if f.WriteSettings(settings...) != nil || f.WriteSettingsAck() != nil {
		return 0
	}
	for id := uint32(1); ; id += 2 {
		if err := write(f, id, head); err != nil {
			return sent
		}
		sent++
	}
}

// uploads begins one request after another, each with so much of a body that never ends: what the windows of streams and of
// the connection allow, or with no regard for them.
func uploads(conn net.Conn, size int, allowed *allowance) int64 {
	if allowed != nil {
		conn = allowed.watch(conn)
	}
	return floodHTTP2(conn, nil, func(f *http2.Framer, id uint32, head []byte) (err error) {
		err = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head, EndHeaders: true})
		for left := size; left > 0; left -= 16 << 10 {
			err = errors.Join(err, allowed.take(min(left, 16<<10)), f.WriteData(id, false, make([]byte, min(left, 16<<10))))
		}
		return err
	})
}

// allowance is what the window of a connection has left; nil knows no bound.
type allowance struct {
	mu    sync.Mutex
	more  sync.Cond
	left  int
	ended bool
}

func newAllowance() *allowance {
	a := &allowance{left: 64<<10 - 1}
	a.more.L = &a.mu
	return a
}

// take waits until n bytes may be sent.
func (a *allowance) take(n int) error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.left < n && !a.ended {
		a.more.Wait()
	}
	if a.ended {
		return net.ErrClosed
	}
	a.left -= n
	return nil
}

// watch has what is read from a connection looked through for updates of its window.
func (a *allowance) watch(conn net.Conn) net.Conn {
	r, w := io.Pipe()
	go func() {
		f := http2.NewFramer(nil, r)
		for {
			frame, err := f.ReadFrame()
			a.mu.Lock()
			if u, ok := frame.(*http2.WindowUpdateFrame); ok && u.StreamID == 0 {
				a.left += int(u.Increment)
			}
			a.ended = err != nil
			a.more.Broadcast()
			a.mu.Unlock()
			if err != nil {
				_, _ = io.Copy(io.Discard, r)
				return
			}
		}
	}()
	return &watchedConn{conn, w}
}

// watchedConn writes what is read from it to somebody else as well.
type watchedConn struct {
	net.Conn

	copy *io.PipeWriter
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	_, _ = c.copy.Write(p[:n])
	if err != nil {
		_ = c.copy.CloseWithError(err)
	}
	return n, err
}

// TestAttackedSidecar: one client does its worst to a sidecar, while others have their calls answered, the kubelet its
// probes, and the sidecar stays small.
func TestAttackedSidecar(t *testing.T) {
	t.Parallel()
	const victim, outsider = "deploy/server-v1", "deploy/outsider-v1"
	var attackers strings.Builder
	attacker := func(i int) string { return "attacker" + strconv.Itoa(i) }
	for i := range attacks {
		attackers.WriteString(app{name: attacker(i), replicas: 1, bare: true}.String())
	}
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "outsider", replicas: 1, bare: true}.String()+
		attackers.String()+app{name: "server", replicas: 1}.String()+service("server", attackedIP, "app: server", http80))
	ip := m.find(t, victim).IPs[0].String()
	load := []string{"http://" + attackedIP + "/", "--rate", "50", "--concurrency", "4", "--timeout", "10s", "--for", attackTime().String()}
	for i, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			end := m.attack(t, a, "deploy/"+attacker(i)+"-v1", ip)
			waits := []func() demoapp.Report{m.begin(t, outsider, load...), m.begin(t, client, load...)}
			for i, who := range []string{"without a sidecar", "with one"} {
				r := waits[i]()
				t.Logf("the client %s: %d calls, %d failed, p50 %.1f ms, p99 %.1f ms, slowest %.0f ms", who, r.Requests, r.Failed, r.P50, r.P99, r.Max)
				if r.Failed > 0 || r.OK < 20 {
					t.Errorf("the client %s: %+v", who, r)
				}
			}
			if probe := m.do(t, outsider, http.MethodGet, ip+":15021", "/healthz/ready"); probe.StatusCode != http.StatusOK {
				t.Errorf("the kubelet's probe: %d %q", probe.StatusCode, probe.body)
			}
			opened, sent := end()
			most := m.memory(t, victim, "VmHWM:")
			t.Logf("%d connections, %d sent on them; the sidecar has had %.1f MB at most", opened, sent, float64(most)/1000)
			if most > attackedMemory*1000 {
				t.Errorf("the sidecar has had %d kB, want at most %d MB", most, attackedMemory)
			}
		})
	}
	if p := m.find(t, victim); p.Restarts > 0 {
		t.Errorf("the pod was restarted %d times", p.Restarts)
	}
}

// attackTime is how long each attack goes on.
func attackTime() time.Duration {
	if long {
		return 30 * time.Second
	}
	return 1500 * time.Millisecond
}

// attack begins one on all of its connections, and opens another one where one ends. What it gives ends it, and tells how
// many connections there were and how much was sent: bytes of HTTP/1.1, requests of HTTP/2.
func (m *mesh) attack(t *testing.T, a attack, from, ip string) (end func() (opened, sent int64)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var opened, sent atomic.Int64
	var wg, begun sync.WaitGroup
	for range a.conns {
		begun.Add(1)
		wg.Go(func() {
			arrived := sync.OnceFunc(begun.Done)
			defer arrived()
			for ctx.Err() == nil {
				conn, err := m.DialPod(ctx, pod(from), net.JoinHostPort(ip, a.port))
				if err != nil {
					continue // refused, which ends no attack
				}
				opened.Add(1)
				arrived()
				stop := context.AfterFunc(ctx, func() { conn.Close() })
				sent.Add(a.run(ctx, conn))
				stop()
				conn.Close()
			}
		})
	}
	begun.Wait()
	end = func() (int64, int64) {
		cancel()
		wg.Wait()
		return opened.Load(), sent.Load()
	}
	t.Cleanup(func() { end() })
	return end
}
