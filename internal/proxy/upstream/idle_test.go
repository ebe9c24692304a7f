package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// TestMeshConnectionInSlowUseStays makes a request every two minutes, for longer than idle connections are kept.
func TestMeshConnectionInSlowUseStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		run := func(f func(context.Context)) { running.Go(func() { f(ctx) }) }
		dials := 0
		l := &link{run: run, dial: func(context.Context) (*meshConn, error) {
			dials++
			client, server := net.Pipe()
			answer := func(s *h2.ServerStream) {
				var resp httpx.Response
				resp.Status = 204
				s.Respond(&resp)
				s.End(nil)
			}
			a, b := &spooled{Conn: client, out: make(chan []byte, 16)}, &spooled{Conn: server, out: make(chan []byte, 16)}
			run(a.write)
			run(b.write)
			run(func(ctx context.Context) { h2.NewServer(b, h2.Options{Handler: answer}).Serve(ctx) })
			return &meshConn{Client: h2.NewClient(a, h2.Options{}), conn: a}, nil
		}}
		call := func() {
			t.Helper()
			s, err := l.open(ctx, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var req httpx.Request
			req.Method, req.Scheme, req.Authority, req.Path = []byte("GET"), []byte("http"), []byte("a"), []byte("/")
			var resp httpx.Response
			if err := errors.Join(s.Send(&req), s.End(nil), s.Receive(&resp)); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		}
		sweeping := func(d time.Duration) {
			for range d / sweepEvery {
				time.Sleep(sweepEvery)
				l.closeIdle(time.Now(), meshIdle)
			}
		}
		for range 10 {
			call()
			sweeping(2 * time.Minute)
		}
		if dials != 1 {
			t.Errorf("%d connections for a request every two minutes, want 1", dials)
		}
		sweeping(meshIdle + time.Minute)
		synctest.Wait()
		if n := len(*l.conns.Load()); n != 0 {
			t.Errorf("%d connections are kept without use", n)
		}
		call()
		if dials != 2 {
			t.Errorf("%d connections, want a second one after the first was closed", dials)
		}
	})
}

// spooled is an end of a pipe whose writes do not wait for a reader, as those of a socket do not.
type spooled struct {
	net.Conn

	out chan []byte
}

func (s *spooled) Write(p []byte) (int, error) {
	s.out <- bytes.Clone(p)
	return len(p), nil
}

// write hands on what was written until ctx ends.
func (s *spooled) write(ctx context.Context) {
	for {
		select {
		case p := <-s.out:
			s.Conn.Write(p) // the reader may be gone
		case <-ctx.Done():
			return
		}
	}
}

// Who lets go of a way looks for idle connections while the sweep does.
func TestIdleConnectionsAreLookedForByTwo(t *testing.T) {
	conn, peer := net.Pipe()
	defer conn.Close()
	defer peer.Close()
	c := &meshConn{Client: h2.NewClient(conn, h2.Options{}), conn: conn}
	var l link
	l.conns.Store(&[]*meshConn{c})
	now := time.Now()
	l.used.Store(now.UnixNano())
	var lookers sync.WaitGroup
	for range 2 {
		lookers.Go(func() { l.closeIdle(now, time.Hour) })
	}
	lookers.Wait()
	if c.Closed() {
		t.Error("a connection that was used just now takes no more streams")
	}
}
