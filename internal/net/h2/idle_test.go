package h2

import (
	"bytes"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// TestServerEndsIdleConnections is a client that stops at some point. What it is not sent is not waited for.
func TestServerEndsIdleConnections(t *testing.T) {
	for _, tt := range []struct {
		name string
		// say is what the client sends before it falls silent.
		say func(f *http2.Framer, w io.Writer)
		// from and to are when the connection must end.
		from, to time.Duration
	}{
		{"says_nothing", func(*http2.Framer, io.Writer) {}, time.Minute, 90 * time.Second},
		{"stops_in_the_preface", func(_ *http2.Framer, w io.Writer) { io.WriteString(w, "PRI * HT") }, time.Minute, 90 * time.Second},
		{"opens_no_stream", func(f *http2.Framer, w io.Writer) {
			io.WriteString(w, http2.ClientPreface)
			f.WriteSettings()
		}, time.Hour, time.Hour + time.Minute},
		{"goes_quiet_after_half_an_hour", func(f *http2.Framer, w io.Writer) {
			io.WriteString(w, http2.ClientPreface)
			f.WriteSettings()
			time.Sleep(30 * time.Minute)
			var block []byte
			enc := hpack.NewEncoder(writerFunc(func(p []byte) (int, error) { block = append(block, p...); return len(p), nil }))
			for _, kv := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/"}} {
				enc.WriteField(hpack.HeaderField{Name: kv[0], Value: kv[1]})
			}
			f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true, EndStream: true})
		}, 90 * time.Minute, 92 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				sv := NewServer(server, Options{Handler: echo, IdleTimeout: time.Hour})
				start, ended := time.Now(), make(chan time.Duration, 1)
				go func() {
					sv.Serve(t.Context())
					ended <- time.Since(start)
				}()
				f := http2.NewFramer(client, client)
				go func() { // acknowledges what has to be, as any client does
					for {
						frame, err := f.ReadFrame()
						if err != nil {
							client.Close()
							return
						}
						if ping, ok := frame.(*http2.PingFrame); ok && !ping.IsAck() {
							f.WritePing(true, ping.Data)
						}
					}
				}()
				tt.say(f, client)
				if d := <-ended; d < tt.from || d > tt.to {
					t.Errorf("the connection ended after %s, want %s to %s", d, tt.from, tt.to)
				}
			})
		})
	}
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }

// TestClientGivesUpBlackHole is a peer that vanishes under a request, and one that is merely slow to answer it.
func TestClientGivesUpBlackHole(t *testing.T) {
	for _, tt := range []struct {
		name  string
		alive bool // answers pings
		// rest is how long the connection carries nothing before the request, which does not come in the same moment as a look.
		rest     time.Duration
		from, to time.Duration
	}{
		{"vanished", false, 0, 3500 * time.Millisecond, 4500 * time.Millisecond}, // one look or two, and the timeout
		{"vanished_while_at_rest", false, time.Hour + 500*time.Millisecond, 2500 * time.Millisecond, 3500 * time.Millisecond},
		{"slow", true, 0, time.Hour, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				c := NewClient(ours, Options{ProbeAfter: time.Second, PingTimeout: 2500 * time.Millisecond})
				go c.Run(t.Context())
				said := make(chan []byte, 100) // a pipe has no buffer, and both sides write first
				go func() {
					for b := range said {
						theirs.Write(b)
					}
				}()
				go func() {
					defer close(said)
					f := http2.NewFramer(writerFunc(func(p []byte) (int, error) { said <- bytes.Clone(p); return len(p), nil }), theirs)
					io.ReadFull(theirs, make([]byte, len(http2.ClientPreface)))
					f.WriteSettings()
					asked := false
					for {
						frame, err := f.ReadFrame()
						if err != nil {
							return
						}
						_, headers := frame.(*http2.HeadersFrame)
						asked = asked || headers
						switch frame := frame.(type) {
						case *http2.SettingsFrame:
							if !frame.IsAck() {
								f.WriteSettingsAck()
							}
						case *http2.PingFrame:
							if tt.alive || !asked {
								f.WritePing(true, frame.Data)
							}
						}
					}
				}()
				time.Sleep(tt.rest)
				start := time.Now()
				x, err := c.Open()
				if err != nil {
					t.Fatal(err)
				}
				giveUp := time.AfterFunc(time.Hour, func() { x.Abort(io.EOF) })
				var req httpx.Request
				req.Method, req.Scheme, req.Authority, req.Path = []byte("GET"), []byte("http"), []byte("a"), []byte("/")
				if err := x.Send(&req); err != nil {
					t.Fatal(err)
				}
				x.End(nil)
				var resp httpx.Response
				err = x.Receive(&resp)
				if took := time.Since(start); err == nil || took < tt.from || took > tt.to {
					t.Errorf("ended after %s (%v), want %s to %s", took, err, tt.from, tt.to)
				}
				giveUp.Stop()
				x.Close()
				theirs.Close()
			})
		})
	}
}
