package h2

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
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
