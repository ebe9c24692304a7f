package netio

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func newRelayer(tb testing.TB, idle time.Duration) *Relayer {
	tb.Helper()
	r, err := NewRelayer(RelayerOptions{IdleTimeout: idle})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// relay runs a Relay between a client and a server; both are the outer ends.
type relay struct {
	client, server *net.TCPConn
	result         chan Result
}

// kinds are the ways in which a relay gets its TCP connections: as they are (spliced), with a prefix, hidden.
var kinds = []struct {
	name string
	wrap func(*net.TCPConn) Stream
}{
	{"spliced", func(c *net.TCPConn) Stream { return c }},
	{"peeked", func(c *net.TCPConn) Stream { return NewPeekConn(c) }},
	{"buffered", func(c *net.TCPConn) Stream { return hidden{c} }},
}

// hidden is a TCP connection that the relay does not recognise as one.
type hidden struct{ c *net.TCPConn }

func (h hidden) Read(b []byte) (int, error)  { return h.c.Read(b) }
func (h hidden) Write(b []byte) (int, error) { return h.c.Write(b) }
func (h hidden) CloseWrite() error           { return h.c.CloseWrite() }
func (h hidden) Close() error                { return h.c.Close() }
func (h hidden) Abort(error)                 { _ = h.c.SetLinger(0) }

func startRelay(tb testing.TB, ctx context.Context, r *Relayer, wrap func(*net.TCPConn) Stream) relay {
	tb.Helper()
	client, a := tcpPair(tb)
	b, server := tcpPair(tb)
	rl := relay{client, server, make(chan Result, 1)}
	go func() { rl.result <- r.Relay(ctx, wrap(a), wrap(b), nil) }()
	deadline := time.Now().Add(20 * time.Second)
	_ = client.SetDeadline(deadline)
	_ = server.SetDeadline(deadline)
	return rl
}

func TestRelayCarriesBothWaysAndHalfCloses(t *testing.T) {
	request, response := make([]byte, 3<<20), make([]byte, 5<<20)
	_, _ = rand.Read(request)
	_, _ = rand.Read(response)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			rl := startRelay(t, t.Context(), newRelayer(t, time.Minute), k.wrap)
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, err := rl.client.Write(request); err != nil {
					t.Error(err)
				}
				rl.client.CloseWrite()
			})
			// The server answers only after the client's FIN: half-close must arrive, and only that half.
			got, err := io.ReadAll(rl.server)
			if err != nil || !bytes.Equal(got, request) {
				t.Errorf("server read %d bytes, %v, want the %d sent", len(got), err, len(request))
			}
			wg.Go(func() {
				if _, err := rl.server.Write(response); err != nil {
					t.Error(err)
				}
				rl.server.CloseWrite()
			})
			got, err = io.ReadAll(rl.client)
			if err != nil || !bytes.Equal(got, response) {
				t.Errorf("client read %d bytes, %v, want the %d sent", len(got), err, len(response))
			}
			wg.Wait()
			want := Result{AToB: int64(len(request)), BToA: int64(len(response)), Ended: SideA}
			if got := <-rl.result; got != want {
				t.Errorf("Relay = %+v, want %+v", got, want)
			}
		})
	}
}

func TestRelayMirrorsAReset(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			rl := startRelay(t, t.Context(), newRelayer(t, 0), k.wrap)
			if _, err := rl.server.Write([]byte("half an answer")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(rl.client, make([]byte, 14)); err != nil {
				t.Fatal(err)
			}
			_ = rl.server.SetLinger(0)
			rl.server.Close()
			if n, err := rl.client.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("client read %d, %v, want a reset", n, err)
			}
			got := <-rl.result
			if got.Ended != SideB || !errors.Is(got.Err, unix.ECONNRESET) || got.BToA != 14 {
				t.Errorf("Relay = %+v, want b ended by a reset after 14 bytes", got)
			}
		})
	}
}

func TestRelayEndsWithItsContext(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			drained := errors.New("drained")
			rl := startRelay(t, ctx, newRelayer(t, 0), k.wrap)
			cancel(drained)
			if got := <-rl.result; !errors.Is(got.Err, drained) || got.Ended != 0 {
				t.Errorf("Relay = %+v, want %v", got, drained)
			}
			if _, err := rl.client.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("client read: %v, want the end", err)
			}
		})
	}
}

func TestRelayIdleOnSockets(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			rl := startRelay(t, t.Context(), newRelayer(t, 20*time.Millisecond), k.wrap)
			if got := <-rl.result; !errors.Is(got.Err, ErrIdle) {
				t.Errorf("Relay = %+v, want %v", got, ErrIdle)
			}
		})
	}
}

// pipeStream makes one end of a net.Pipe a Stream; the pipe has no half-close.
type pipeStream struct{ net.Conn }

func (pipeStream) CloseWrite() error { return nil }

func TestRelayIdleCountsFromTheLastByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, a := net.Pipe()
		b, server := net.Pipe()
		result := make(chan Result, 1)
		start := time.Now()
		r := newRelayer(t, time.Hour)
		go func() { result <- r.Relay(t.Context(), pipeStream{a}, pipeStream{b}, nil) }()
		for range 5 {
			time.Sleep(50 * time.Minute)
			if _, err := client.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		got := <-result
		if !errors.Is(got.Err, ErrIdle) || got.AToB != 5 {
			t.Errorf("Relay = %+v, want idle after 5 bytes", got)
		}
		if quiet := time.Since(start) - 250*time.Minute; quiet < time.Hour || quiet > 90*time.Minute {
			t.Errorf("ended after %s of silence, want 1 h to 1 h 30", quiet)
		}
		client.Close()
		server.Close()
	})
}

func TestRelayFlushesAndCounts(t *testing.T) {
	client, a := tcpPair(t)
	b := &flushing{}
	var traffic Traffic
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	client.Close()
	got := newRelayer(t, 0).Relay(t.Context(), a, b, &traffic)
	if got.Err != nil || got.AToB != 5 || traffic.AToB.Load() != 5 {
		t.Errorf("Relay = %+v, traffic %d", got, traffic.AToB.Load())
	}
	if b.flushed != "hello" || !b.closedWrite {
		t.Errorf("flushed %q, write side closed %v", b.flushed, b.closedWrite)
	}
}

// flushing shows only what was flushed. It sends nothing.
type flushing struct {
	buf, flushed string
	closedWrite  bool
}

func (f *flushing) Read([]byte) (int, error)    { return 0, io.EOF }
func (f *flushing) Write(b []byte) (int, error) { f.buf += string(b); return len(b), nil }
func (f *flushing) Flush() error                { f.flushed += f.buf; f.buf = ""; return nil }
func (f *flushing) CloseWrite() error           { f.closedWrite = true; return nil }
func (f *flushing) Close() error                { return nil }

func TestNewRelayerRefuses(t *testing.T) {
	_, err := NewRelayer(RelayerOptions{IdleTimeout: -1})
	wantError(t, err, "negative")
}

func TestPeekConnGivesEveryByteOnce(t *testing.T) {
	near, far := tcpPair(t)
	p := NewPeekConn(far)
	for _, part := range []string{"GET ", "/ HTT"} {
		if _, err := near.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Peek(); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(p.Prefix()); got != "GET / HTT" {
		t.Errorf("Prefix = %q", got)
	}
	buf := make([]byte, 4)
	if n, err := p.Read(buf); n != 4 || err != nil {
		t.Errorf("Read = %d, %v", n, err)
	}
	if _, err := near.Write([]byte("P/1.1")); err != nil {
		t.Fatal(err)
	}
	near.CloseWrite()
	if got, err := p.Peek(); err != nil || string(got) != "/ HTTP/1.1" {
		t.Errorf("Peek after Read = %q, %v", got, err)
	}
	var rest bytes.Buffer
	if n, err := io.Copy(&rest, p); err != nil || n != 10 || rest.String() != "/ HTTP/1.1" {
		t.Errorf("the rest is %q, %v", rest.String(), err)
	}
	if _, err := p.Peek(); !errors.Is(err, io.EOF) {
		t.Errorf("Peek at the end: %v, want %v", err, io.EOF)
	}
}

func TestPeekConnReleases(t *testing.T) {
	var buffers PeekBuffers
	for _, text := range []string{"GET / HTTP/1.1", "PRI"} {
		near, far := tcpPair(t)
		p := buffers.Wrap(far)
		if _, err := near.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := p.Peek(); err != nil || string(got) != text {
			t.Errorf("Peek = %q, %v", got, err)
		}
		p.Release()
		near.Write([]byte("x"))
		if got, err := p.Peek(); err != nil || string(got) != "x" {
			t.Errorf("Peek after Release = %q, %v", got, err)
		}
		p.Release()
		p.Release() // nothing twice
	}
	a, b := buffers.get(), buffers.get()
	if &a[0] == &b[0] {
		t.Error("two have one buffer")
	}
}

func TestPeekConnIsBounded(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		_, _ = near.Write(make([]byte, 2*PeekLimit)) // ends with the pipe
	}()
	p := NewPeekConn(far)
	defer p.Close()
	for {
		_, err := p.Peek()
		if errors.Is(err, ErrPeekLimit) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := len(p.Prefix()); n != PeekLimit {
		t.Errorf("%d bytes kept, want %d", n, PeekLimit)
	}
	if err := p.CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CloseWrite of a pipe: %v", err)
	}
}

func TestPeekConnSplicesAfterThePrefix(t *testing.T) {
	client, a := tcpPair(t)
	b, server := tcpPair(t)
	p := NewPeekConn(a)
	if _, err := client.Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Peek(); err != nil {
		t.Fatal(err)
	}
	result := make(chan Result, 1)
	go func() { result <- newRelayer(t, 0).Relay(t.Context(), p, NewPeekConn(b), nil) }()
	if _, err := client.Write([]byte(" then")); err != nil {
		t.Fatal(err)
	}
	client.CloseWrite()
	got, err := io.ReadAll(server)
	if err != nil || string(got) != "first then" {
		t.Errorf("server read %q, %v", got, err)
	}
	server.Close()
	if r := <-result; r.Err != nil || r.AToB != 10 {
		t.Errorf("Relay = %+v", r)
	}
}

// abortable counts what is called on it after its relay has returned.
type abortable struct {
	net.Conn
	returned, late atomic.Bool
}

func (a *abortable) CloseWrite() error { return a.Close() }

func (a *abortable) Abort(error) {
	if a.returned.Load() {
		a.late.Store(true)
	}
	a.Close()
}

func TestRelayTouchesNothingOnceItHasReturned(t *testing.T) {
	r, err := NewRelayer(RelayerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		near, far := net.Pipe()
		other, rest := net.Pipe()
		a, b := &abortable{Conn: near}, &abortable{Conn: other}
		ctx, cancel := context.WithCancel(t.Context())
		go cancel() // at the same time as the ends
		go far.Close()
		go rest.Close()
		r.Relay(ctx, a, b, nil)
		a.returned.Store(true)
		b.returned.Store(true)
		runtime.Gosched()
		if a.late.Load() || b.late.Load() {
			t.Fatal("a stream was aborted after Relay had returned")
		}
	}
}
