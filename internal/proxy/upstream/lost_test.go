package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// An app is not pinged, however long it has nothing to send: servers of gRPC end a connection with the fourth ping that
// comes then.
func TestQuietStreamOfAnAppIsNotPinged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		run := func(f func(context.Context)) { running.Go(func() { f(ctx) }) }
		client, server := net.Pipe()
		a, b := &spooled{Conn: client, out: make(chan []byte, 16)}, &spooled{Conn: server, out: make(chan []byte, 16)}
		run(a.write)
		run(b.write)
		pings := 0
		run(func(context.Context) {
			io.ReadFull(b, make([]byte, len(http2.ClientPreface)))
			f := http2.NewFramer(b, b)
			f.WriteSettings()
			for {
				frame, err := f.ReadFrame()
				if err != nil {
					return
				}
				switch frame := frame.(type) {
				case *http2.PingFrame:
					pings++
					f.WritePing(true, frame.Data)
				case *http2.SettingsFrame:
					if !frame.IsAck() {
						f.WriteSettingsAck()
					}
				case *http2.HeadersFrame: // the answer to the request, in an hour
					running.Go(func() {
						time.Sleep(time.Hour)
						var head blockOf
						hpack.NewEncoder(&head).WriteField(hpack.HeaderField{Name: ":status", Value: "204"})
						f.WriteHeaders(http2.HeadersFrameParam{StreamID: frame.StreamID, BlockFragment: head, EndHeaders: true, EndStream: true})
					})
				}
			}
		})
		s := New(Options{
			Plain: func(context.Context, netip.AddrPort) (net.Conn, error) { return a, nil },
			Run:   run, Buffers: new(h1.Buffers), Pool: new(h2.Pool),
		})
		w := s.Reach(Target{Addr: netip.MustParseAddrPort("10.0.0.1:80")})
		x, err := w.Pool.OpenHTTP2(ctx, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var req httpx.Request
		req.Method, req.Scheme, req.Authority, req.Path = []byte("GET"), []byte("http"), []byte("a"), []byte("/")
		var resp httpx.Response
		if err := errors.Join(x.Send(&req), x.End(nil), x.Receive(&resp)); err != nil {
			t.Fatal(err)
		}
		x.Close()
		w.Release()
		client.Close()
		server.Close()
		if pings > 0 {
			t.Errorf("pinged %d times in an hour", pings)
		}
	})
}

type blockOf []byte

func (b *blockOf) Write(p []byte) (int, error) { *b = append(*b, p...); return len(p), nil }

// The pool knows which of its connections carry something, in whatever order they come back.
func TestBusyConnections(t *testing.T) {
	s := New(Options{
		Plain: func(context.Context, netip.AddrPort) (net.Conn, error) {
			near, far := net.Pipe()
			t.Cleanup(func() { near.Close(); far.Close() })
			return near, nil
		},
		Run: func(func(context.Context)) {}, Buffers: new(h1.Buffers), Pool: new(h2.Pool),
	})
	p := s.Reach(Target{Addr: netip.MustParseAddrPort("10.0.0.1:80")}).Pool
	var conns [4]*Conn
	for i := range conns {
		c, err := p.Get(t.Context(), Fresh, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c
	}
	for left, i := range []int{1, 0, 3, 2} {
		p.Put(conns[i])
		if want := 3 - left; len(p.busy) != want || p.waiting() != 4-want {
			t.Errorf("%d connections are busy and %d wait, want %d and %d", len(p.busy), p.waiting(), want, 4-want)
		}
	}
	c := p.reuse()
	if c == nil || len(p.busy) != 1 {
		t.Fatalf("%d connections are busy after one was taken again", len(p.busy))
	}
	c.lost.Store(true)
	p.Put(c)
	if len(p.busy) != 0 || p.waiting() != 3 {
		t.Error("a connection to a host that is out of reach was kept")
	}
}
