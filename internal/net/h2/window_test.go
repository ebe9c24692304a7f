package h2

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// stuck is a server of ours whose handlers do not read, and that shares a budget.
func stuck(t *testing.T, budget *Budget) *peer {
	t.Helper()
	release := make(chan struct{})
	p, _ := clientOf(t, Options{Handler: func(*ServerStream) { <-release }, Pool: &Pool{Budget: budget}})
	t.Cleanup(func() { close(release) })
	return p
}

// ping waits until the server has seen what was sent so far, and gives the frames that came meanwhile.
func (p *peer) ping() (frames []http2.FrameHeader) {
	p.f.WritePing(false, [8]byte{9})
	p.await("PING", func(f http2.Frame) bool {
		frames = append(frames, f.Header())
		ping, ok := f.(*http2.PingFrame)
		return ok && ping.IsAck()
	})
	return frames
}

// upload sends n bytes on a stream, as far as the windows that a connection begins with allow.
func (p *peer) upload(id uint32, n int) {
	p.headers(id, p.block(":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/"), false)
	for ; n > 0; n -= minMaxFrame {
		p.f.WriteData(id, false, make([]byte, min(n, minMaxFrame)))
	}
}

func TestStuckStreamDoesNotHoldBackItsConnection(t *testing.T) {
	p := stuck(t, NewBudget(1<<20))
	p.upload(1, 60<<10)
	for _, f := range p.ping() {
		if f.Type == http2.FrameWindowUpdate && f.StreamID == 0 {
			return
		}
	}
	t.Error("the connection's window is not given back while one stream is not read")
}

func TestBudgetHoldsConnectionsBack(t *testing.T) {
	budget := NewBudget(64 << 10)
	budget.haste = time.Hour // it is about windows: nothing is shed, however slow the machine
	full := stuck(t, budget)
	full.upload(1, 48<<10)
	full.ping()
	other := stuck(t, budget)
	other.upload(1, 40<<10)
	for _, f := range other.ping() {
		if f.Type == http2.FrameWindowUpdate {
			t.Errorf("%v: the peer may send on although the budget is used up", f)
		}
	}
	// A client whose body is read goes on all the same.
	pool := &Pool{Budget: budget}
	cc, sc := loopback(t)
	p := startPair(t, cc, sc, setup{client: Options{Pool: pool}, server: Options{Pool: pool, Handler: echo}})
	body := strings.Repeat("0123456789abcdef", 1<<16)
	r := request("POST", "/")
	r.ContentLength = -1
	if got, err := p.exchangeDuplex(r, body, nil); err != nil || got.Body != body {
		t.Errorf("a body of 1 MiB that is read: %d bytes, %v", len(got.Body), err)
	}
}

func TestBudgetShedsWhatIsNotRead(t *testing.T) {
	budget := NewBudget(64 << 10)
	budget.haste = 0
	shed := 0
	for range 8 { // each within the window that it was promised at the start
		p := stuck(t, budget)
		p.upload(1, 62<<10)
		for _, f := range p.ping() {
			if f.Type == http2.FrameRSTStream {
				shed++
			}
		}
	}
	if held := budget.Held(); held > 8*(shedQueue+minMaxFrame)+96<<10 {
		t.Errorf("%d bytes are held of a budget of %d", held, 64<<10)
	}
	if shed == 0 || shed == 8 {
		t.Errorf("%d of 8 streams were reset, want those that came when memory was short", shed)
	}
}

// TestBudgetShedsStreamsThatRest: streams that have sent what they may and are not read are reset by and by, those of the
// peer that holds most first, and what they hold is given back at once, although their handlers go on.
func TestBudgetShedsStreamsThatRest(t *testing.T) {
	budget := NewBudget(256 << 10)
	budget.stall = time.Hour
	release := make(chan struct{})
	defer close(release)
	greedy := Options{Handler: func(*ServerStream) { <-release }, Pool: &Pool{Budget: budget}, Quota: NewQuota(100)}
	modest := greedy
	modest.Quota = NewQuota(100)
	quiet, _ := clientOf(t, modest)
	quiet.upload(1, 40<<10) // more than any connection of the other one
	quiet.ping()
	var peers []*peer
	for range 10 {
		p, _ := clientOf(t, greedy)
		p.upload(1, 30<<10) // less than its window
		p.ping()
		peers = append(peers, p)
	}
	if held := budget.Held(); held != (40+10*30)<<10 {
		t.Fatalf("%d bytes are held", held)
	}
	budget.stall = 0
	budget.relieve()
	if held := budget.Held(); held > 256<<10 || held < (256-30)<<10 {
		t.Errorf("%d bytes are held of a budget of %d", held, 256<<10)
	}
	resets := func(p *peer) (n int) {
		for _, f := range p.ping() {
			if f.Type == http2.FrameRSTStream {
				n++
			}
		}
		return n
	}
	shed := 0
	for _, p := range peers {
		shed += resets(p)
	}
	if shed != 3 {
		t.Errorf("%d streams were reset, want as many as make room", shed)
	}
	if n := resets(quiet); n != 0 {
		t.Errorf("%d streams of the peer that holds little were reset", n)
	}
}

// TestBudgetRuns: it is enough that more comes, on whatever stream.
func TestBudgetRuns(t *testing.T) {
	budget := NewBudget(64 << 10)
	budget.stall = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); budget.Run(ctx) }()
	defer func() { cancel(); <-done }()
	p := stuck(t, budget)
	p.upload(1, 48<<10)
	p.ping()
	other := stuck(t, budget)
	other.upload(1, 20<<10)
	p.awaitReset(1, http2.ErrCodeEnhanceYourCalm)
}

// TestBudgetOverdrawn: where bodies come faster than a reader can be seen to have stopped there is less patience.
func TestBudgetOverdrawn(t *testing.T) {
	budget := NewBudget(64 << 10)
	budget.stall, budget.haste = time.Hour, 0
	for range 20 {
		p := stuck(t, budget)
		p.upload(1, 62<<10)
		p.ping()
	}
	if held, most := budget.Held(), int64(96<<10+20*(shedQueue+minMaxFrame)); held > most {
		t.Errorf("%d bytes are held of a budget of %d, want at most %d", held, 64<<10, most)
	}
}

func TestWindowsGrowWhileBodiesAreRead(t *testing.T) {
	budget := NewBudget(64 << 20)
	pool := &Pool{Budget: budget}
	var size int64
	p := startPairOf(t, pool, func(s *ServerStream) {
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{s}); err != nil {
			t.Error(err)
		}
		s.c.mu.Lock()
		size = s.window.size
		s.c.mu.Unlock()
		echo(s)
	})
	r := request("POST", "/")
	r.ContentLength = -1
	if _, err := p.exchangeDuplex(r, string(bytes.Repeat([]byte("x"), 8<<20)), nil); err != nil {
		t.Fatal(err)
	}
	if size <= startWindow {
		t.Errorf("the window is %d bytes after a body of 8 MiB that was read at once", size)
	}
}

// TestStreamAloneIsHeldBackByItsOwnWindow: a reader falls behind, and its peer sends all that the two windows allow. Once they have
// grown it is the stream's that is used up, never the connection's.
func TestStreamAloneIsHeldBackByItsOwnWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cc, sc := net.Pipe()
		take := make(chan int)
		sv := NewServer(sc, Options{Pool: &Pool{Budget: NewBudget(64 << 20)}, Handler: func(s *ServerStream) {
			for n := range take {
				if _, err := io.ReadFull(s, make([]byte, n)); err != nil {
					t.Error(err)
				}
			}
		}})
		served := make(chan error, 1)
		go func() { served <- sv.Serve(t.Context()) }()
		defer func() {
			close(take)
			cc.Close()
			<-served
		}()
		p := newPeer(t, cc)
		windows := [2]int64{defaultWindow, defaultWindow} // of the connection, and of stream 1
		var updates [2]atomic.Int64                       // on their way to the peer
		go func() {
			for {
				f, err := p.f.ReadFrame()
				if err != nil {
					return
				}
				if u, ok := f.(*http2.WindowUpdateFrame); ok {
					updates[u.StreamID].Add(int64(u.Increment))
				}
			}
		}()
		io.WriteString(cc, http2.ClientPreface)
		p.f.WriteSettings()
		p.headers(1, p.block(":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/"), false)
		largest := int64(0)
		for range 500 {
			for windows[1] > 0 {
				n := min(windows[0], windows[1], minMaxFrame)
				if n <= 0 && largest <= startWindow {
					break // both begin alike
				}
				if n <= 0 {
					t.Fatalf("the connection's window is used up, and the stream may send %d bytes more; its window has been %d", windows[1], largest)
				}
				windows[0] -= n
				windows[1] -= n
				p.f.WriteData(1, false, make([]byte, n))
			}
			take <- 48 << 10
			synctest.Wait()
			for i := range windows {
				windows[i] += updates[i].Swap(0)
			}
			largest = max(largest, windows[1])
		}
		if largest < defaultStreamWindow/4 {
			t.Errorf("the stream's window has grown to %d bytes only", largest)
		}
	})
}

func startPairOf(t *testing.T, pool *Pool, h func(*ServerStream)) *pair {
	t.Helper()
	cc, sc := loopback(t)
	return startPair(t, cc, sc, setup{client: Options{Pool: pool}, server: Options{Pool: pool, Handler: h}})
}

// TestBudgetIsGivenBack ends connections in the middle of everything.
func TestBudgetIsGivenBack(t *testing.T) {
	budget := NewBudget(1 << 20)
	pool := &Pool{Budget: budget}
	for range 5 {
		cc, sc := loopback(t)
		client := NewClient(cc, Options{Pool: pool})
		server := NewServer(sc, Options{Pool: pool, Handler: func(s *ServerStream) { io.ReadFull(s, make([]byte, 300<<10)) }})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		go func() { ended <- client.Run(ctx) }()
		go func() { ended <- server.Serve(ctx) }()
		for range 4 {
			s, err := client.Open()
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(s.Send(upload()), s.Flush()); err != nil {
				t.Fatal(err)
			}
			s.Write(make([]byte, 400<<10)) // may be cut off by the handler's end
			s.Close()
		}
		cancel()
		<-ended
		<-ended
	}
	if held, grown := budget.Held(), budget.grown.Load(); held != 0 || grown != 0 {
		t.Errorf("%d bytes held and %d grown after the end of all connections", held, grown)
	}
}
