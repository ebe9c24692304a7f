package h2

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer is a hand-driven end of a connection.
type peer struct {
	t    *testing.T
	nc   net.Conn
	f    *http2.Framer
	buf  bytes.Buffer
	henc *hpack.Encoder
	done chan error // the result of the end under test
}

func newPeer(t *testing.T, nc net.Conn) *peer {
	t.Helper()
	p := &peer{t: t, nc: nc, f: http2.NewFramer(nc, nc), done: make(chan error, 1)}
	p.f.AllowIllegalWrites = true
	p.f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.henc = hpack.NewEncoder(&p.buf)
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return p
}

// bubble gives the two ends of a connection for a test in a synctest bubble, where time passes only while everybody waits. The peer's
// writes do not wait for a reader: like a socket, and unlike a pipe.
func bubble(t *testing.T) (ours, peers net.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	said := make(chan []byte, 1<<10)
	go func() {
		for b := range said {
			theirs.Write(b) // fails once the other end is gone
		}
	}()
	t.Cleanup(func() { theirs.Close(); close(said) })
	return ours, eager{theirs, said}
}

type eager struct {
	net.Conn
	said chan []byte
}

func (e eager) Write(p []byte) (int, error) {
	e.said <- bytes.Clone(p)
	return len(p), nil
}

// clientOf drives a server of ours, past the greeting.
func clientOf(t *testing.T, o Options) (*peer, *Server) {
	t.Helper()
	cc, sc := loopback(t)
	return clientOver(t, cc, sc, o)
}

// clientOver is clientOf over a connection that is there already.
func clientOver(t *testing.T, cc, sc net.Conn, o Options) (*peer, *Server) {
	t.Helper()
	p := newPeer(t, cc)
	sv := NewServer(sc, o)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { p.done <- sv.Serve(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	io.WriteString(cc, http2.ClientPreface)
	p.f.WriteSettings()
	return p, sv
}

// serverOf drives a client of ours, past the greeting.
func serverOf(t *testing.T, o Options, settings ...http2.Setting) (*peer, *Client) {
	t.Helper()
	cc, sc := loopback(t)
	return serverOver(t, cc, sc, o, settings...)
}

// serverOver is serverOf over a connection that is there already.
func serverOver(t *testing.T, cc, sc net.Conn, o Options, settings ...http2.Setting) (*peer, *Client) {
	t.Helper()
	p := newPeer(t, sc)
	c := NewClient(cc, o)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { p.done <- c.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	if _, err := io.ReadFull(sc, make([]byte, len(preface))); err != nil {
		t.Fatal(err)
	}
	p.f.WriteSettings(settings...)
	return p, c
}

func (p *peer) block(fields ...string) []byte {
	p.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		p.henc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(p.buf.Bytes())
}

func (p *peer) get() []byte {
	return p.block(":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/")
}

func (p *peer) headers(id uint32, block []byte, end bool) {
	p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: end})
}

// await reads frames until match takes one.
func (p *peer) await(what string, match func(http2.Frame) bool) {
	p.t.Helper()
	for {
		f, err := p.f.ReadFrame()
		if err != nil {
			p.t.Fatalf("no %s: %v", what, err)
		}
		if match(f) {
			return
		}
	}
}

func (p *peer) awaitReset(id uint32, code http2.ErrCode) {
	p.t.Helper()
	p.await("RST_STREAM "+code.String(), func(f http2.Frame) bool {
		r, ok := f.(*http2.RSTStreamFrame)
		if ok && r.StreamID == id && r.ErrCode != code {
			p.t.Fatalf("RST_STREAM = %v, want %v", r.ErrCode, code)
		}
		return ok && r.StreamID == id
	})
}

func (p *peer) awaitGoAway(code http2.ErrCode) {
	p.t.Helper()
	p.await("GOAWAY "+code.String(), func(f http2.Frame) bool {
		g, ok := f.(*http2.GoAwayFrame)
		if ok && g.ErrCode != code {
			p.t.Fatalf("GOAWAY = %v (%s), want %v", g.ErrCode, g.DebugData(), code)
		}
		return ok
	})
}
