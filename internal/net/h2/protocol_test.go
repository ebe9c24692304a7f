package h2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"fairlead.dev/fairlead/internal/net/httpx"
)

func TestServerEndsConnection(t *testing.T) {
	raw := func(typ http2.FrameType, flags http2.Flags, id uint32, payload string) func(*peer) {
		return func(p *peer) { p.f.WriteRawFrame(typ, flags, id, []byte(payload)) }
	}
	for _, tt := range []struct {
		name string
		do   func(*peer)
		want http2.ErrCode
	}{
		{"data_on_stream_0", raw(http2.FrameData, 0, 0, "x"), http2.ErrCodeProtocol},
		{"data_on_idle_stream", raw(http2.FrameData, 0, 5, "x"), http2.ErrCodeProtocol},
		{"headers_on_stream_0", raw(http2.FrameHeaders, 4, 0, "\x82"), http2.ErrCodeProtocol},
		{"headers_on_even_stream", raw(http2.FrameHeaders, 4, 2, "\x82"), http2.ErrCodeProtocol},
		{"headers_padding_too_long", raw(http2.FrameHeaders, 4|8, 1, "\x05\x82"), http2.ErrCodeProtocol},
		{"data_padding_too_long", func(p *peer) {
			p.headers(1, p.get(), false)
			p.f.WriteRawFrame(http2.FrameData, 8, 1, []byte("\x05abc"))
		}, http2.ErrCodeProtocol},
		{"bad_hpack", raw(http2.FrameHeaders, 4, 1, "\xff\xff\xff\xff\xff\xff"), http2.ErrCodeCompression},
		{"continuation_alone", raw(http2.FrameContinuation, 4, 1, "\x82"), http2.ErrCodeProtocol},
		{"header_block_interrupted", func(p *peer) {
			p.f.WriteRawFrame(http2.FrameHeaders, 0, 1, []byte("\x82"))
			p.f.WritePing(false, [8]byte{})
		}, http2.ErrCodeProtocol},
		{"continuation_flood", func(p *peer) {
			p.f.WriteRawFrame(http2.FrameHeaders, 0, 1, []byte("\x82"))
			for range maxContinuations + 1 {
				p.f.WriteRawFrame(http2.FrameContinuation, 0, 1, nil)
			}
		}, http2.ErrCodeEnhanceYourCalm},
		{"frame_too_large", raw(http2.FrameData, 0, 1, strings.Repeat("x", minMaxFrame+1)), http2.ErrCodeFrameSize},
		{"settings_on_stream", raw(http2.FrameSettings, 0, 1, ""), http2.ErrCodeProtocol},
		{"settings_length", raw(http2.FrameSettings, 0, 0, "12345"), http2.ErrCodeFrameSize},
		{"settings_ack_with_payload", raw(http2.FrameSettings, 1, 0, "123456"), http2.ErrCodeFrameSize},
		{"settings_initial_window", raw(http2.FrameSettings, 0, 0, "\x00\x04\xff\xff\xff\xff"), http2.ErrCodeFlowControl},
		{"settings_max_frame", raw(http2.FrameSettings, 0, 0, "\x00\x05\x00\x00\x00\x01"), http2.ErrCodeProtocol},
		{"push_promise", raw(http2.FramePushPromise, 4, 1, "\x00\x00\x00\x02"), http2.ErrCodeProtocol},
		{"ping_on_stream", raw(http2.FramePing, 0, 1, "12345678"), http2.ErrCodeProtocol},
		{"ping_length", raw(http2.FramePing, 0, 0, "1234567"), http2.ErrCodeFrameSize},
		{"goaway_length", raw(http2.FrameGoAway, 0, 0, "1234567"), http2.ErrCodeFrameSize},
		{"window_update_length", raw(http2.FrameWindowUpdate, 0, 0, "123"), http2.ErrCodeFrameSize},
		{"window_update_of_0", raw(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x00"), http2.ErrCodeProtocol},
		{"window_overflow", raw(http2.FrameWindowUpdate, 0, 0, "\x7f\xff\xff\xff"), http2.ErrCodeFlowControl},
		{"reset_of_idle_stream", raw(http2.FrameRSTStream, 0, 9, "\x00\x00\x00\x08"), http2.ErrCodeProtocol},
		{"skipped_stream", func(p *peer) {
			p.headers(5, p.get(), true)
			p.headers(3, p.get(), true)
		}, http2.ErrCodeProtocol},
		{"data_on_a_skipped_stream", func(p *peer) {
			p.headers(1, p.get(), true)
			p.headers(9, p.get(), true)
			p.f.WriteData(5, true, nil)
		}, http2.ErrCodeProtocol},
		{"reset_of_a_skipped_stream", func(p *peer) {
			p.headers(9, p.get(), true)
			p.f.WriteRSTStream(7, http2.ErrCodeCancel)
		}, http2.ErrCodeProtocol},
		{"reset_length", raw(http2.FrameRSTStream, 0, 1, "123"), http2.ErrCodeFrameSize},
		{"priority_on_stream_0", raw(http2.FramePriority, 0, 0, "12345"), http2.ErrCodeProtocol},
		{"ping_flood", func(p *peer) {
			for p.f.WritePing(false, [8]byte{}) == nil {
			}
		}, http2.ErrCodeEnhanceYourCalm},
		{"settings_flood", func(p *peer) {
			for p.f.WriteSettings() == nil {
			}
		}, http2.ErrCodeEnhanceYourCalm},
		{"empty_data_flood", func(p *peer) {
			p.headers(1, p.get(), false)
			for p.f.WriteData(1, false, nil) == nil {
			}
		}, http2.ErrCodeEnhanceYourCalm},
		{"rapid_reset", func(p *peer) {
			for id := uint32(1); ; id += 2 {
				p.headers(id, p.get(), true)
				if p.f.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
					return
				}
			}
		}, http2.ErrCodeEnhanceYourCalm},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := clientOf(t, Options{Handler: func(s *ServerStream) { io.Copy(io.Discard, struct{ io.Reader }{s}) }, MaxConcurrentStreams: 100})
			var wg sync.WaitGroup
			wg.Go(func() { tt.do(p) }) // may fail half-way: the other end is gone by then
			if err := <-p.done; err == nil {
				t.Error("Serve = nil, want the rule broken")
			} else if ce := new(ConnError); !errors.As(err, &ce) || ce.Code != Code(tt.want) {
				t.Errorf("Serve = %v, want %v", err, tt.want)
			}
			p.nc.Close()
			wg.Wait()
		})
	}
}

// What comes on a stream that was answered: after the client's own end it is the client's fault, after a reset of ours it may
// have been in flight.
func TestFramesOnAnsweredStreams(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ended bool // by the client
		late  func(*peer)
		want  string // "" where it is ignored
	}{
		{"data_after_the_end", true, func(p *peer) { p.f.WriteData(1, true, []byte("x")) }, "RST_STREAM STREAM_CLOSED"},
		{"request_after_the_end", true, func(p *peer) { p.headers(1, p.get(), true) }, "GOAWAY STREAM_CLOSED"},
		{"data_in_flight", false, func(p *peer) { p.f.WriteData(1, false, []byte("x")) }, ""},
		{"trailers_in_flight", false, func(p *peer) { p.headers(1, p.block("a", "b"), true) }, ""},
		{"priority", true, func(p *peer) { p.f.WritePriority(1, http2.PriorityParam{}) }, ""},
		{"window_update", true, func(p *peer) { p.f.WriteWindowUpdate(1, 9) }, ""},
		{"reset", true, func(p *peer) { p.f.WriteRSTStream(1, http2.ErrCodeCancel) }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := clientOf(t, Options{Handler: func(s *ServerStream) {
				s.Respond(&httpx.Response{Status: 204})
				s.End(nil)
			}})
			p.headers(1, p.get(), tt.ended)
			p.await("the response", func(f http2.Frame) bool {
				return f.Header().StreamID == 1 && f.Header().Flags.Has(http2.FlagHeadersEndStream)
			})
			if !tt.ended {
				p.awaitReset(1, http2.ErrCodeNo)
			}
			tt.late(p)
			p.f.WritePing(false, [8]byte{1})
			got := ""
			p.await("what it makes of it", func(f http2.Frame) bool {
				switch f := f.(type) {
				case *http2.RSTStreamFrame:
					got = "RST_STREAM " + f.ErrCode.String()
				case *http2.GoAwayFrame:
					got = "GOAWAY " + f.ErrCode.String()
					return true
				case *http2.PingFrame:
					return f.IsAck()
				}
				return false
			})
			if got != tt.want {
				t.Errorf("answered with %q, want %q", got, tt.want)
			}
			p.nc.Close()
		})
	}
}

func TestServerSaysGoodbye(t *testing.T) {
	p, _ := clientOf(t, Options{Handler: echo})
	p.f.WriteData(5, false, []byte("x"))
	p.awaitGoAway(http2.ErrCodeProtocol)
	if err := <-p.done; err == nil || err.Error() != "h2: connection error: PROTOCOL_ERROR: frame on an idle stream" {
		t.Errorf("Serve = %v", err)
	}
}

func TestServerResetsStream(t *testing.T) {
	post := func(p *peer, fields ...string) []byte {
		return p.block(append([]string{":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/"}, fields...)...)
	}
	for _, tt := range []struct {
		name string
		do   func(*peer)
		want http2.ErrCode
	}{
		{"malformed_head", func(p *peer) { p.headers(1, post(p, "Upper", "x"), true) }, http2.ErrCodeProtocol},
		{"body_shorter_than_declared", func(p *peer) {
			p.headers(1, post(p, "content-length", "5"), false)
			p.f.WriteData(1, true, []byte("1234"))
		}, http2.ErrCodeProtocol},
		{"body_longer_than_declared", func(p *peer) {
			p.headers(1, post(p, "content-length", "3"), false)
			p.f.WriteData(1, true, []byte("1234"))
		}, http2.ErrCodeProtocol},
		{"no_body_though_declared", func(p *peer) { p.headers(1, post(p, "content-length", "3"), true) }, http2.ErrCodeProtocol},
		{"data_after_end", func(p *peer) {
			p.headers(1, post(p), true)
			p.f.WriteData(1, true, []byte("1234"))
		}, http2.ErrCodeStreamClosed},
		{"request_after_end", func(p *peer) {
			p.headers(1, post(p), true)
			p.headers(1, post(p), true)
		}, http2.ErrCodeStreamClosed},
		{"data_after_reset", func(p *peer) {
			p.headers(1, post(p), false)
			p.f.WriteRSTStream(1, http2.ErrCodeCancel)
			p.f.WriteData(1, true, []byte("1234"))
		}, http2.ErrCodeStreamClosed},
		{"request_after_reset", func(p *peer) {
			p.headers(1, post(p), false)
			p.f.WriteRSTStream(1, http2.ErrCodeCancel)
			p.headers(1, post(p), true)
		}, http2.ErrCodeStreamClosed},
		{"priority_on_itself", func(p *peer) {
			p.headers(1, post(p), false)
			p.f.WriteRawFrame(http2.FramePriority, 0, 1, []byte{0, 0, 0, 1, 9})
		}, http2.ErrCodeProtocol},
		{"trailers_without_end", func(p *peer) {
			p.headers(1, post(p), false)
			p.headers(1, p.block("a", "b"), false)
		}, http2.ErrCodeProtocol},
		{"pseudo_in_trailers", func(p *peer) {
			p.headers(1, post(p), false)
			p.headers(1, p.block(":path", "/"), true)
		}, http2.ErrCodeProtocol},
		{"window_update_of_0", func(p *peer) {
			p.headers(1, post(p), false)
			p.f.WriteRawFrame(http2.FrameWindowUpdate, 0, 1, make([]byte, 4))
		}, http2.ErrCodeProtocol},
		{"window_overflow", func(p *peer) {
			p.headers(1, post(p), false)
			p.f.WriteRawFrame(http2.FrameWindowUpdate, 0, 1, []byte{0x7f, 0xff, 0xff, 0xff})
		}, http2.ErrCodeFlowControl},
		{"stream_window_overrun", func(p *peer) {
			p.headers(1, post(p), false)
			for range 9 {
				p.f.WriteData(1, false, make([]byte, minMaxFrame))
			}
		}, http2.ErrCodeFlowControl},
		{"too_many_streams", func(p *peer) {
			p.headers(3, post(p), false)
			p.headers(5, post(p), false)
			p.headers(7, post(p), false)
		}, http2.ErrCodeRefusedStream},
	} {
		t.Run(tt.name, func(t *testing.T) {
			release := make(chan struct{})
			p, _ := clientOf(t, Options{
				Handler:      func(*ServerStream) { <-release },
				StreamWindow: 100_000, MaxConcurrentStreams: 2,
			})
			defer close(release)
			tt.do(p)
			id := uint32(1)
			if tt.want == http2.ErrCodeRefusedStream {
				id = 7
			}
			p.awaitReset(id, tt.want)
			p.f.WritePing(false, [8]byte{1}) // the connection lives on
			p.await("PING", func(f http2.Frame) bool { return f.Header().Type == http2.FramePing })
		})
	}
}

func TestHeadTooLarge(t *testing.T) {
	p, _ := clientOf(t, Options{Handler: echo, MaxHeaderList: 2000})
	block := p.block(":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/", "x", strings.Repeat("v", 3000))
	p.headers(1, block, true)
	p.await("431", func(f http2.Frame) bool {
		m, ok := f.(*http2.MetaHeadersFrame)
		return ok && m.PseudoValue("status") == "431" && m.StreamEnded()
	})
	p.headers(3, p.get(), true) // HPACK state is intact
	p.await("200", func(f http2.Frame) bool {
		m, ok := f.(*http2.MetaHeadersFrame)
		return ok && m.StreamID == 3 && m.PseudoValue("status") == "200"
	})
	p.nc.Close()
}

func TestClientKeepsPeersHeaderLimit(t *testing.T) {
	p, c := serverOf(t, Options{}, http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: 1000})
	p.await("SETTINGS ack", func(f http2.Frame) bool { s, ok := f.(*http2.SettingsFrame); return ok && s.IsAck() })
	s, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want(t, s.Send(request("GET", "/", "x", strings.Repeat("v", 2000))), ErrHeadTooLarge)
}

func TestGoAwaySparesProcessedStreams(t *testing.T) {
	p, c := serverOf(t, Options{})
	var streams []*Stream
	for range 3 {
		s, err := c.Open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		s.Send(request("GET", "/"))
		s.End(nil)
		streams = append(streams, s)
	}
	unsent, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer unsent.Close()
	p.f.WriteGoAway(3, http2.ErrCodeNo, nil)
	var res httpx.Response
	err = streams[2].Receive(&res)
	want(t, err, ErrNotProcessed)
	want(t, err, ErrGoAway)
	want(t, unsent.Send(request("GET", "/")), ErrNotProcessed)
	_, err = c.Open()
	want(t, err, ErrGoAway)
	if !c.Closed() {
		t.Error("Closed() = false after GOAWAY")
	}
	p.headers(1, p.block(":status", "200"), true)
	p.f.WriteRSTStream(3, http2.ErrCodeRefusedStream)
	if err := streams[0].Receive(&res); err != nil || res.Status != 200 {
		t.Errorf("Receive = %d, %v, want 200", res.Status, err)
	}
	want(t, streams[1].Receive(&res), ErrNotProcessed)
}

func FuzzFrames(f *testing.F) {
	enc := newEncoder()
	block := enc.request(nil, typical())
	seed := appendFrameHeader(nil, frameHeader{typ: frameSettings})
	seed = appendFrameHeader(seed, frameHeader{length: len(block), typ: frameHeaders, flags: flagEndHeaders, id: 1})
	seed = append(seed, block...)
	seed = appendFrameHeader(seed, frameHeader{length: 4, typ: frameData, flags: flagPadded, id: 1})
	seed = append(seed, 1, 'a', 'b', 0)
	seed = appendWindowUpdate(appendReset(seed, 1, CodeCancel), 0, 5)
	f.Add(seed)
	f.Add(binary.BigEndian.AppendUint64(appendGoAway(seed, 1, CodeNo, "bye"), 1))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, server := range []bool{true, false} {
			nc := &script{in: bytes.NewReader(in)}
			if !server {
				c := NewClient(nc, Options{PingAfter: -1})
				s, err := c.Open()
				if err == nil {
					s.Send(typical())
				}
				c.Run(t.Context())
				s.Close()
				continue
			}
			nc.in = io.MultiReader(strings.NewReader(preface), nc.in)
			NewServer(nc, Options{PingAfter: -1, Handler: echo}).Serve(t.Context())
		}
	})
}

// script is a connection whose peer has said all it will say.
type script struct {
	net.Conn
	in io.Reader
}

func (s *script) Read(p []byte) (int, error)     { return s.in.Read(p) }
func (*script) Write(p []byte) (int, error)      { return len(p), nil }
func (*script) Close() error                     { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }
