package h2

import (
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"fairlead.dev/fairlead/internal/net/httpx"
)

func TestClientDrains(t *testing.T) {
	p, c := serverOf(t, Options{})
	s, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	s.Send(request("GET", "/"))
	s.End(nil)
	c.GoAway()
	p.headers(1, p.block(":status", "204"), true)
	var res httpx.Response
	if err := s.Receive(&res); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := c.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-p.done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	p.awaitGoAway(http2.ErrCodeNo)
}

func TestTooManyStreams(t *testing.T) {
	p, c := serverOf(t, Options{}, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
	p.await("SETTINGS ack", func(f http2.Frame) bool { s, ok := f.(*http2.SettingsFrame); return ok && s.IsAck() })
	s, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Open()
	want(t, err, ErrTooManyStreams)
	s.Close()
	if s, err = c.Open(); err != nil {
		t.Fatalf("Open after Close: %v", err)
	}
	defer s.Close()
	r := request("GET", "/")
	r.Upgrade = []byte("websocket")
	want(t, s.Send(r), ErrNoExtendedConnect)
}

func TestConnectionLostBeforeSending(t *testing.T) {
	cc, sc := net.Pipe()
	c := NewClient(cc, Options{})
	s, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(request("GET", "/")); err != nil { // into the buffer
		t.Fatal(err)
	}
	sc.Close()
	if err := c.Run(t.Context()); err == nil {
		t.Error("Run = nil, want why nothing could be written")
	}
	var res httpx.Response
	want(t, s.Receive(&res), ErrClosed)
	s.Close()
	_, err = c.Open()
	want(t, err, ErrClosed)
}

func TestWindowExhaustion(t *testing.T) {
	p, c := serverOf(t, Options{}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
	p.await("SETTINGS ack", func(f http2.Frame) bool { s, ok := f.(*http2.SettingsFrame); return ok && s.IsAck() })
	s, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	long := request("POST", "/")
	long.ContentLength = -1
	s.Send(long)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if n, err := s.Write(make([]byte, 100)); n != 100 || err != nil {
			t.Errorf("Write = %d, %v, want 100", n, err)
		}
		s.End(nil)
	})
	var got, steps []int
	total, ended := 0, false
	for !ended {
		p.await("DATA", func(f http2.Frame) bool {
			d, ok := f.(*http2.DataFrame)
			if !ok {
				return false
			}
			total += len(d.Data())
			got = append(got, len(d.Data()))
			ended = d.StreamEnded()
			return true
		})
		step := 30
		if len(steps) == 0 { // a smaller window takes back what was given
			p.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			step = 40
		}
		steps = append(steps, step)
		p.f.WriteWindowUpdate(1, uint32(step))
	}
	if total != 100 || got[0] != 10 || got[1] != 30 {
		t.Errorf("DATA frames of %v bytes, want 10, 30 and so on up to 100", got)
	}
}

func TestSilentPeerIsProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, peers := bubble(t)
		p, c := serverOver(t, ours, peers, Options{PingAfter: 5 * time.Millisecond, PingTimeout: time.Second})
		s, err := c.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.Send(request("GET", "/"))
		s.End(nil)
		p.fallSilent()
		var res httpx.Response
		want(t, s.Receive(&res), ErrClosed)
	})
}

// fallSilent answers the first PING by something else, which is a sign of life all the same, and then says nothing any more.
func (p *peer) fallSilent() {
	p.t.Helper()
	ping := func() { p.await("PING", func(f http2.Frame) bool { return f.Header().Type == http2.FramePing }) }
	ping()
	p.f.WriteWindowUpdate(0, 1)
	ping()
	want(p.t, <-p.done, ErrPeerSilent)
}

func TestIdlePeerIsProbedWhereAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, peers := bubble(t)
		p, _ := serverOver(t, ours, peers, Options{PingAfter: 5 * time.Millisecond, PingTimeout: time.Second, PingIdle: true})
		p.fallSilent()
	})
}

func TestServerShutdownLosesNothing(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	p, sv := clientOf(t, Options{Handler: func(s *ServerStream) {
		started <- struct{}{}
		<-release
		echo(s)
	}})
	p.headers(1, p.get(), true)
	<-started
	down := make(chan error, 1)
	go func() { down <- sv.Shutdown(t.Context()) }()
	p.await("first GOAWAY", func(f http2.Frame) bool {
		g, ok := f.(*http2.GoAwayFrame)
		return ok && g.LastStreamID == maxStreamID && g.ErrCode == http2.ErrCodeNo
	})
	p.headers(3, p.get(), true) // sent before the GOAWAY was seen
	<-started
	p.await("PING", func(f http2.Frame) bool {
		g, ok := f.(*http2.PingFrame)
		if ok {
			p.f.WritePing(true, g.Data)
		}
		return ok
	})
	p.await("second GOAWAY", func(f http2.Frame) bool { g, ok := f.(*http2.GoAwayFrame); return ok && g.LastStreamID == 3 })
	close(release)
	ended := 0
	for ended < 2 {
		p.await("response", func(f http2.Frame) bool {
			if f.Header().Flags&flagEndStream != 0 && (f.Header().Type == http2.FrameHeaders || f.Header().Type == http2.FrameData) {
				ended++
			}
			return true
		})
	}
	if err := errors.Join(<-down, <-p.done); err != nil {
		t.Errorf("Shutdown, Serve = %v", err)
	}
}
