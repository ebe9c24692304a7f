package h2

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// TestServerAsksForCalm throws exchanges away in every way that a client has. The server must say GOAWAY after about a
// hundred, and meanwhile carry a stream that behaves.
func TestServerAsksForCalm(t *testing.T) {
	post := func(p *peer, fields ...string) []byte {
		return p.block(append([]string{":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/"}, fields...)...)
	}
	for _, tt := range []struct {
		name string
		// do throws stream id away.
		do func(p *peer, id uint32)
	}{
		{"reset_by_client", func(p *peer, id uint32) {
			p.headers(id, p.get(), true)
			p.f.WriteRSTStream(id, http2.ErrCodeCancel)
		}},
		{"window_update_of_0", func(p *peer, id uint32) {
			p.headers(id, p.get(), false)
			p.f.WriteRawFrame(http2.FrameWindowUpdate, 0, id, make([]byte, 4))
		}},
		{"window_overflow", func(p *peer, id uint32) {
			p.headers(id, p.get(), false)
			p.f.WriteRawFrame(http2.FrameWindowUpdate, 0, id, []byte{0x7f, 0xff, 0xff, 0xff})
		}},
		{"data_after_the_end", func(p *peer, id uint32) {
			p.headers(id, p.get(), true)
			p.f.WriteData(id, true, []byte("x"))
		}},
		{"headers_after_the_end", func(p *peer, id uint32) {
			p.headers(id, p.get(), true)
			p.headers(id, p.block("a", "b"), true)
		}},
		{"malformed_head", func(p *peer, id uint32) { p.headers(id, post(p, "Upper", "x"), true) }},
		{"malformed_trailers", func(p *peer, id uint32) {
			p.headers(id, post(p), false)
			p.headers(id, p.block(":path", "/"), true)
		}},
		{"body_shorter_than_declared", func(p *peer, id uint32) { p.headers(id, post(p, "content-length", "3"), true) }},
		{"body_longer_than_declared", func(p *peer, id uint32) {
			p.headers(id, post(p, "content-length", "1"), false)
			p.f.WriteData(id, true, []byte("xyz"))
		}},
		{"head_too_large", func(p *peer, id uint32) { p.headers(id, post(p, "a", strings.Repeat("x", 3000)), true) }},
		{"priority_of_wrong_length", func(p *peer, id uint32) {
			p.headers(id, p.get(), false)
			p.f.WriteRawFrame(http2.FramePriority, 0, id, make([]byte, 4))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { serverAsksForCalm(t, tt.do) }) // nothing is forgiven meanwhile, as it is by and by
		})
	}
}

// serverAsksForCalm throws exchanges away beside one that behaves.
func serverAsksForCalm(t *testing.T, do func(p *peer, id uint32)) {
	release := make(chan struct{})
	ours, peers := bubble(t)
	p, _ := clientOver(t, peers, ours, Options{MaxHeaderList: 2000, Handler: func(s *ServerStream) {
		if s.id != 1 {
			<-release // an exchange that completes would count for the client
		}
		echo(s)
	}})
	defer close(release)
	p.headers(1, p.block(":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/"), false)
	var wg sync.WaitGroup
	wg.Go(func() {
		for id := uint32(3); id < 3+2*200; id += 2 {
			do(p, id)
		}
	})
	defer wg.Wait()
	var last uint32
	p.await("GOAWAY", func(f http2.Frame) bool {
		g, ok := f.(*http2.GoAwayFrame)
		if ok && g.ErrCode != http2.ErrCodeEnhanceYourCalm {
			t.Errorf("GOAWAY %v, want ENHANCE_YOUR_CALM", g.ErrCode)
		}
		if ok {
			last = g.LastStreamID
		}
		return ok
	})
	if last > 2*(cancelCapacity+20) {
		t.Errorf("GOAWAY names stream %d, want at most %d", last, 2*(cancelCapacity+20))
	}
	wg.Wait()
	p.f.WriteData(1, true, []byte("x"))
	p.await("the response of the stream that behaves", func(f http2.Frame) bool {
		return f.Header().StreamID == 1 && f.Header().Flags.Has(http2.FlagHeadersEndStream)
	})
}

// TestServerCutsOffFloods sends what costs the server something and carries nothing, without looking at what the server
// says.
func TestServerCutsOffFloods(t *testing.T) {
	small := []byte{0, 0, 0, 1}
	for _, tt := range []struct {
		name string
		do   func(p *peer) error
		want http2.ErrCode
	}{
		{"unknown_frames", func(p *peer) error { return p.f.WriteRawFrame(0xbb, 0, 0, nil) }, http2.ErrCodeEnhanceYourCalm},
		{"padding_alone", func(p *peer) error { return p.f.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{0}) }, http2.ErrCodeEnhanceYourCalm},
		{"ping_acknowledgements", func(p *peer) error { return p.f.WritePing(true, [8]byte{}) }, http2.ErrCodeEnhanceYourCalm},
		{"priority", func(p *peer) error { return p.f.WritePriority(3, http2.PriorityParam{}) }, http2.ErrCodeEnhanceYourCalm},
		{"small_window_updates", func(p *peer) error { return p.f.WriteRawFrame(http2.FrameWindowUpdate, 0, 0, small) }, http2.ErrCodeEnhanceYourCalm},
		{"small_window_updates_of_a_stream", func(p *peer) error { return p.f.WriteRawFrame(http2.FrameWindowUpdate, 0, 1, small) }, http2.ErrCodeEnhanceYourCalm},
		{"settings_of_many_parameters", func(p *peer) error {
			return p.f.WriteRawFrame(http2.FrameSettings, 0, 0, bytes.Repeat([]byte{0, 4, 0, 0, 0, 1}, maxSettings+1))
		}, http2.ErrCodeEnhanceYourCalm},
		{"many_table_sizes", func(p *peer) error {
			return p.f.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 3, append(bytes.Repeat([]byte{0x20}, 3), p.get()...))
		}, http2.ErrCodeCompression},
		{"header_bomb", func(p *peer) error {
			fields := []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/"}
			for range 1000 {
				fields = append(fields, "bomb", strings.Repeat("x", 3900))
			}
			p.headers(3, p.block(fields...), true)
			return io.EOF
		}, http2.ErrCodeEnhanceYourCalm},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := clientOf(t, Options{Handler: func(s *ServerStream) { io.Copy(io.Discard, struct{ io.Reader }{s}) }})
			p.headers(1, p.get(), false)
			var wg sync.WaitGroup
			wg.Go(func() {
				for tt.do(p) == nil {
				}
			})
			err := <-p.done
			if ce := new(ConnError); !errors.As(err, &ce) || ce.Code != Code(tt.want) {
				t.Errorf("Serve = %v, want %v", err, tt.want)
			}
			p.nc.Close()
			wg.Wait()
		})
	}
}

// TestResetInOneReadStartsNoHandler writes requests and their cancellation at once.
func TestResetInOneReadStartsNoHandler(t *testing.T) {
	var handled atomic.Int32
	p, sv := clientOf(t, Options{Handler: func(*ServerStream) { handled.Add(1) }})
	p.f.WritePing(false, [8]byte{1})
	p.await("PING", func(f http2.Frame) bool { return f.Header().Type == http2.FramePing })
	var batch bytes.Buffer
	f := http2.NewFramer(&batch, nil)
	for id := uint32(1); id < 2*20; id += 2 {
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.get(), EndHeaders: true, EndStream: true})
		f.WriteRSTStream(id, http2.ErrCodeCancel)
	}
	f.WritePing(false, [8]byte{2})
	if _, err := p.nc.Write(batch.Bytes()); err != nil {
		t.Fatal(err)
	}
	p.await("PING", func(f http2.Frame) bool { return f.Header().Type == http2.FramePing })
	p.f.WritePing(false, [8]byte{3}) // what comes in a further read is read when the batch has been seen to
	p.await("PING", func(f http2.Frame) bool { return f.Header().Type == http2.FramePing })
	if n := handled.Load(); n != 0 || sv.Active() != 0 {
		t.Errorf("%d handlers were started and %d are running, want none", n, sv.Active())
	}
}

// upload is a request whose body is of unknown length.
func upload() *httpx.Request {
	r := request("POST", "/")
	r.ContentLength = -1
	return r
}

// TestManyCancellationsAmongSuccesses is a client with deadlines: three calls of ten end by them, for ever.
func TestManyCancellationsAmongSuccesses(t *testing.T) {
	p := newPair(t, echo, setup{})
	for i := range 3000 {
		if i%10 >= 3 {
			if _, err := p.exchange(request("GET", "/"), "", nil); err != nil {
				t.Fatalf("exchange %d: %v", i, err)
			}
			continue
		}
		s, err := p.client.Open()
		if err != nil {
			t.Fatalf("exchange %d: %v", i, err)
		}
		if err := errors.Join(s.Send(upload()), s.Flush()); err != nil {
			t.Fatalf("exchange %d: %v", i, err)
		}
		s.Close()
	}
	if p.client.Closed() {
		t.Error("the connection takes no more streams")
	}
}

// TestMassCancellation is 500 clients of one sidecar that disconnect at the same moment. What the others do on the
// connection goes on to its end.
func TestMassCancellation(t *testing.T) {
	var running sync.WaitGroup
	running.Add(600)
	p := newPair(t, func(s *ServerStream) { running.Done(); echo(s) }, setup{})
	open := func() *Stream {
		s, err := p.client.Open()
		if err == nil {
			err = errors.Join(s.Send(upload()), s.Flush())
		}
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	var leaving, staying []*Stream
	for i := range 600 {
		s := open()
		if i%6 == 0 {
			staying = append(staying, s)
		} else {
			leaving = append(leaving, s)
		}
	}
	running.Wait()
	for _, s := range leaving {
		s.Close()
	}
	if _, err := p.client.Open(); !errors.Is(err, ErrGoAway) {
		t.Errorf("Open() after it = %v, want ErrGoAway: the next request belongs on another connection", err)
	}
	for i, s := range staying {
		if _, err := s.Write([]byte("x")); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
		if err := s.End(nil); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
		if got, err := receive(s); err != nil || got.Body != "x" {
			t.Fatalf("stream %d: %v, %v", i, got, err)
		}
		s.Close()
	}
}

// TestQuota shares one bound among two connections.
func TestQuota(t *testing.T) {
	quota, release := NewQuota(2), make(chan struct{})
	o := Options{Quota: quota, Handler: func(s *ServerStream) { <-release; echo(s) }}
	a, _ := clientOf(t, o)
	b, _ := clientOf(t, o)
	a.headers(1, a.get(), true)
	a.headers(3, a.get(), true)
	a.f.WritePing(false, [8]byte{})
	a.await("PING", func(f http2.Frame) bool { return f.Header().Type == http2.FramePing })
	b.headers(1, b.get(), true)
	b.awaitReset(1, http2.ErrCodeRefusedStream)
	close(release)
	answered := 0
	a.await("both responses", func(f http2.Frame) bool {
		if f.Header().Type == http2.FrameHeaders {
			answered++
		}
		return answered == 2
	})
	for quota.Running() > 0 { // a handler's last word comes before its end
		runtime.Gosched()
	}
	b.headers(3, b.get(), true)
	b.await("response", func(f http2.Frame) bool { return f.Header().StreamID == 3 && f.Header().Type == http2.FrameHeaders })
}
