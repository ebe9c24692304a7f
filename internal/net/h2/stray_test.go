package h2

import (
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
)

// TestDataOnStreamsThatWereReset: what was in flight when a stream was reset is thrown away, and a client that goes on
// sending is cut, and said to be a nuisance.
func TestDataOnStreamsThatWereReset(t *testing.T) {
	const frame = minMaxFrame
	reset := func(p *peer, id uint32) {
		p.headers(id, p.block(":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/"), false)
		p.f.WriteRawFrame(http2.FrameWindowUpdate, 0, id, make([]byte, 4))
		p.awaitReset(id, http2.ErrCodeProtocol)
	}
	start := func(t *testing.T) (*peer, *atomic.Int32, func()) {
		t.Helper()
		told, release := new(atomic.Int32), make(chan struct{})
		p, _ := clientOf(t, Options{Handler: func(*ServerStream) { <-release }, Abused: func() { told.Add(1) }})
		return p, told, func() { close(release) }
	}
	t.Run("within_their_windows", func(t *testing.T) {
		p, told, done := start(t)
		defer done()
		for id := uint32(1); id < 2*50; id += 2 {
			reset(p, id)
			for range startWindow / frame {
				p.f.WriteData(id, false, make([]byte, frame))
			}
		}
		p.f.WritePing(false, [8]byte{1}) // the connection lives on
		p.await("PING", func(f http2.Frame) bool { return f.Header().Type == http2.FramePing })
		if told.Load() != 0 {
			t.Error("a client within its windows is said to be a nuisance")
		}
	})
	t.Run("beyond", func(t *testing.T) {
		p, told, done := start(t)
		reset(p, 1)
		for range (startWindow+strayGrace)/frame + 2 {
			p.f.WriteData(1, false, make([]byte, frame))
		}
		p.awaitGoAway(http2.ErrCodeFlowControl)
		done() // the handler, if it began before the reset: the server waits for it
		<-p.done
		if n := told.Load(); n != 1 {
			t.Errorf("told %d times, want once", n)
		}
	})
	t.Run("beyond_on_streams_that_were_refused", func(t *testing.T) {
		told, release := new(atomic.Int32), make(chan struct{})
		defer close(release)
		p, _ := clientOf(t, Options{
			MaxConcurrentStreams: 1, Handler: func(*ServerStream) { <-release }, Abused: func() { told.Add(1) },
		})
		p.headers(1, p.get(), false)
		p.headers(3, p.get(), false)
		p.awaitReset(3, http2.ErrCodeRefusedStream)
		for range (startWindow+strayGrace)/frame + 2 {
			p.f.WriteData(3, false, make([]byte, frame))
		}
		p.awaitGoAway(http2.ErrCodeFlowControl)
	})
}

// TestResetBeforeItsTurn: a stream whose reset is read before a goroutine is free for it never reaches the handler.
func TestResetBeforeItsTurn(t *testing.T) {
	c := &conn{server: new(Server), pool: new(Pool)}
	c.opts = Options{Handler: func(*ServerStream) { t.Error("the handler was called") }}.withDefaults()
	c.settings.init(c)
	c.streams.init(c)
	c.ending.c = c
	c.out.init(c)
	c.streams.active, c.out.dead = 1, true // it has no socket
	s := new(ServerStream)
	s.begin(c)
	s.open(1)
	c.server.handlers.Add(1)
	c.mu.Lock()
	c.streams.lose(&s.stream, &ResetError{Code: CodeCancel, Remote: true})
	c.mu.Unlock()
	s.serve()
	if c.streams.active != 0 {
		t.Errorf("%d streams are in use", c.streams.active)
	}
}
