package h2

import (
	"bytes"
	"crypto/tls"
	"io"
	"runtime"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// Budgets in bytes of heap. A connection is measured as client and server together with their sockets, without TLS,
// after it has carried requests: measured 16 500, a fifth of it the share of the Pool, most of the rest the tables of
// HPACK. Stacks of the two reading goroutines come on top. A stream is measured with its request: 2 200.
const (
	budgetIdleConnection = 20 << 10
	budgetIdleStream     = 3 << 10 // both ends of a stream that waits
)

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestBudgetIdleConnection(t *testing.T) {
	const n = 50
	pool, workers := new(Pool), NewWorkers(1)
	t.Cleanup(workers.Close) // after the connections have ended
	before := heap()
	pairs := make([]*pair, 0, n)
	for range n {
		cc, sc := loopback(t)
		p := startPair(t, cc, sc, setup{
			client: Options{Pool: pool, PingAfter: time.Millisecond, DoubtAfter: doubtAfter, DoubtTimeout: doubtTimeout},
			server: Options{Pool: pool, PingAfter: time.Millisecond, Workers: workers, Handler: echoHandler()},
		})
		c := newCaller(p.client)
		for range 20 {
			if err := c.call(); err != nil {
				t.Fatal(err)
			}
		}
		pairs = append(pairs, p)
	}
	for _, p := range pairs { // buffers go back once nothing has been received for a while
		for p.client.conn.life.large.Load() || p.server.conn.life.large.Load() {
			runtime.Gosched()
		}
	}
	per := (heap() - before) / n
	t.Logf("%d bytes per idle connection, both ends", per)
	if per > budgetIdleConnection && !raceEnabled {
		t.Errorf("idle connection takes %d bytes, want at most %d", per, budgetIdleConnection)
	}
	runtime.KeepAlive(pairs)
}

func TestBudgetIdleStream(t *testing.T) {
	const n = 500
	release := make(chan struct{})
	arrived := make(chan struct{})
	p := newPair(t, func(s *ServerStream) {
		arrived <- struct{}{}
		<-release
		s.Respond(&httpx.Response{Status: 204})
		s.End(nil)
	}, setup{})
	t.Cleanup(func() { close(release) })
	r := typical()
	r.ContentLength = 0
	before := heap()
	streams := make([]*Stream, n)
	for i := range streams {
		s, err := p.client.Open()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(r); err != nil {
			t.Fatal(err)
		}
		s.End(nil)
		streams[i] = s
		<-arrived
	}
	per := (heap() - before) / n
	t.Logf("%d bytes per idle stream, both ends", per)
	if per > budgetIdleStream && !raceEnabled {
		t.Errorf("idle stream takes %d bytes, want at most %d", per, budgetIdleStream)
	}
	for _, s := range streams {
		s.Close()
	}
}

func TestReadingGoesOnAfterSilence(t *testing.T) {
	p := newPair(t, echo, setup{
		tls: true, client: Options{PingAfter: time.Millisecond}, server: Options{PingAfter: time.Millisecond},
	})
	body := string(bytes.Repeat([]byte("x"), 100<<10))
	for range 3 {
		r := request("POST", "/")
		r.ContentLength = int64(len(body))
		got, err := p.exchangeDuplex(r, body, nil)
		if err != nil || got.Body != body {
			t.Fatalf("exchange = %d bytes, %v", len(got.Body), err)
		}
		for p.client.conn.life.large.Load() || p.server.conn.life.large.Load() {
			runtime.Gosched()
		}
	}
}

func TestQuietConnectionGivesBuffersBack(t *testing.T) {
	p := newPair(t, echoHandler(), setup{})
	big := request("POST", "/")
	big.ContentLength = 200 << 10
	if _, err := p.exchangeDuplex(big, string(make([]byte, 200<<10)), nil); err != nil {
		t.Fatal(err)
	}
	for range 2 * quietReads {
		if _, err := p.exchange(request("GET", "/"), "", nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []*conn{&p.client.conn, &p.server.conn} {
		c.mu.Lock()
		if c.out.pending != nil || c.streams.n != 0 || c.streams.active > 1 {
			t.Errorf("idle connection holds a buffer (%v), %d streams, %d active", c.out.pending != nil, c.streams.n, c.streams.active)
		}
		c.mu.Unlock()
	}
}

// countingConn counts the calls of a socket.
type countingConn struct {
	*script
	reads, writes int
	sizes         []int
	source        io.Reader
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes++
	c.sizes = append(c.sizes, len(p))
	return len(p), nil
}

func (c *countingConn) Read(p []byte) (int, error) {
	c.reads++
	return c.source.Read(p)
}

func TestCoalescerGathersRecords(t *testing.T) {
	sock := &countingConn{script: new(script)}
	co := NewRecordCoalescer(sock, nil)
	record := make([]byte, recordLen)
	co.Cork()
	for range 4 {
		if n, err := co.Write(record); n != len(record) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	if sock.writes != 0 {
		t.Errorf("%d writes while corked, want none", sock.writes)
	}
	if err := co.Uncork(); err != nil {
		t.Fatal(err)
	}
	co.Write(record)
	if sock.writes != 2 || sock.sizes[0] != 4*recordLen {
		t.Errorf("writes of %v bytes, want %d and %d", sock.sizes, 4*recordLen, recordLen)
	}
}

func TestCoalescerReadsAhead(t *testing.T) {
	in := bytes.Repeat([]byte("0123456789abcdef"), 16<<10)
	sock := &countingConn{script: new(script), source: bytes.NewReader(in)}
	co := NewRecordCoalescer(sock, nil)
	got, buf := []byte(nil), make([]byte, 1000)
	for {
		n, err := co.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil {
			break
		}
	}
	if !bytes.Equal(got, in) {
		t.Errorf("read %d bytes that differ, want %d", len(got), len(in))
	}
	if sock.reads > 8 {
		t.Errorf("%d reads for %d bytes, want few", sock.reads, len(in))
	}
	if co.in != nil {
		t.Error("buffer kept at the end")
	}
}

// TestFlushIsOneWrite counts the writes of a body of many records through TLS.
func TestFlushIsOneWrite(t *testing.T) {
	cc, sc := loopback(t)
	ccfg, scfg := tlsConfigs(t)
	co := NewRecordCoalescer(cc, nil)
	ccfg.DynamicRecordSizingDisabled = true
	nc, peer := tls.Client(co, ccfg), tls.Server(sc, scfg)
	for _, err := range handshakes(t.Context(), nc, peer) {
		if err != nil {
			t.Fatal(err)
		}
	}
	sock := &countingConn{script: new(script)}
	co.Conn = sock
	c := &conn{nc: nc, opts: Options{Coalescer: co}}
	c.out.init(c)
	if err := c.out.send(make([]byte, 60<<10)); err != nil {
		t.Fatal(err)
	}
	if sock.writes != 1 {
		t.Errorf("60 KiB left in writes of %v bytes, want one", sock.sizes)
	}
}
