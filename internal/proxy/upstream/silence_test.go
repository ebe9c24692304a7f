package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// freezing is the connection of a process that can be stopped: its kernel takes what is sent, and it reads nothing until it goes on.
type freezing struct {
	net.Conn

	mu      sync.Mutex
	goesOn  *sync.Cond
	stopped bool
}

func newFreezing(c net.Conn) *freezing {
	f := &freezing{Conn: c}
	f.goesOn = sync.NewCond(&f.mu)
	return f
}

func (f *freezing) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.stopped {
		f.goesOn.Wait()
	}
	return n, err
}

func (f *freezing) stop(stopped bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = stopped
	f.goesOn.Broadcast()
}

// frozenPeer is a set and a peer of it, over the real transport.
type frozenPeer struct {
	set     *Set
	way     *Way
	far     *freezing
	running sync.WaitGroup

	mu       sync.Mutex
	silences int
	told     []bool
}

func newFrozenPeer(t *testing.T, ctx context.Context) *frozenPeer {
	t.Helper()
	p := new(frozenPeer)
	run := func(f func(context.Context)) { p.running.Go(func() { f(ctx) }) }
	client, server := net.Pipe()
	near, far := &spooled{Conn: client, out: make(chan []byte, 64)}, &spooled{Conn: server, out: make(chan []byte, 64)}
	run(near.write)
	run(far.write)
	p.far = newFreezing(far)
	run(func(ctx context.Context) {
		conn := tls.Server(p.far, &tls.Config{Certificates: []tls.Certificate{shortLived(t, time.Hour)}, NextProtos: []string{"h2"}})
		h2.NewServer(conn, h2.Options{Handler: func(s *h2.ServerStream) {
			s.Respond(&httpx.Response{Status: 204})
			s.End(nil)
		}}).Serve(ctx)
	})
	p.set = New(Options{
		Plain: func(context.Context, netip.AddrPort) (net.Conn, error) { return near, nil }, Run: run,
		Credentials: func(string) *tls.Config {
			return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}
		},
		Silenced: func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.silences++
		},
		Grace: 10 * time.Second, Buffers: new(h1.Buffers), Pool: new(h2.Pool),
	})
	p.way = p.reach()
	p.way.Heed(func(silent bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.told = append(p.told, silent)
	})
	return p
}

func (p *frozenPeer) reach() *Way {
	return p.set.Reach(Target{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Meshed: true, Identity: "spiffe://a"})
}

// call makes a request and gives what became of it.
func (p *frozenPeer) call(ctx context.Context) error {
	s, err := p.way.Peer.OpenRequest(ctx, time.Minute)
	if err != nil {
		return err
	}
	defer s.Close()
	var req httpx.Request
	req.Method, req.Scheme, req.Authority, req.Path = []byte("POST"), []byte("http"), []byte("a"), []byte("/")
	var resp httpx.Response
	return errors.Join(s.Send(&req), s.End(nil), s.Receive(&resp))
}

func (p *frozenPeer) expect(t *testing.T, what string, told ...bool) {
	t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Equal(p.told, told) || p.silences != (len(told)+1)/2 {
		t.Errorf("%s: told %v, silent %d times; want %v", what, p.told, p.silences, told)
	}
}

func frozenStory(t *testing.T, story func(t *testing.T, ctx context.Context, p *frozenPeer)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := newFrozenPeer(t, ctx)
		story(t, ctx, p)
		p.far.stop(false)
		p.set.close()
		p.far.Close()
		cancel()
		p.running.Wait()
	})
}

// TestPeerIsSilentWhileNothingComes is a peer that is stopped while it is called, and goes on: what was sent is carried out once.
func TestPeerIsSilentWhileNothingComes(t *testing.T) {
	frozenStory(t, func(t *testing.T, ctx context.Context, p *frozenPeer) {
		if err := p.call(ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		p.expect(t, "after an answer")
		p.far.stop(true)
		var ended error
		p.running.Go(func() { ended = p.call(ctx) })
		time.Sleep(doubtAfter + doubtTimeout - 1)
		p.expect(t, "a moment before")
		time.Sleep(time.Nanosecond)
		p.expect(t, "when its time is over", true)
		late := p.reach()
		var toldLate []bool
		late.Heed(func(silent bool) { toldLate = append(toldLate, silent) })
		gone := p.reach()
		gone.Heed(func(silent bool) {
			if !silent {
				t.Error("told after it was released")
			}
		})
		gone.Release()
		p.far.stop(false)
		p.expect(t, "with the first byte", true, false)
		if !slices.Equal(toldLate, []bool{true, false}) {
			t.Errorf("who came later was told %v", toldLate)
		}
		if ended != nil {
			t.Errorf("the call ended with %v", ended)
		}
	})
}

// TestPeerIsNotSilentForever: the mark of a peer that does not come back ends with its connection: who calls then finds out anew.
func TestPeerIsNotSilentForever(t *testing.T) {
	frozenStory(t, func(t *testing.T, ctx context.Context, p *frozenPeer) {
		if err := p.call(ctx); err != nil {
			t.Fatal(err)
		}
		p.far.stop(true)
		began := time.Now()
		if err := p.call(ctx); !errors.Is(err, h2.ErrPeerSilent) {
			t.Errorf("a call ended with %v", err)
		}
		if took := time.Since(began); took < probeTimeout {
			t.Errorf("a call was cut after %s", took)
		}
		p.expect(t, "with the end of the connection", true, false)
	})
}

// TestPeerIsSilentWhileItIsDialled: its kernel takes the connection, and nobody shakes hands.
func TestPeerIsSilentWhileItIsDialled(t *testing.T) {
	frozenStory(t, func(t *testing.T, ctx context.Context, p *frozenPeer) {
		p.far.stop(true)
		var ended error
		p.running.Go(func() { ended = p.call(ctx) })
		time.Sleep(doubtDial - 1)
		p.expect(t, "a moment before")
		time.Sleep(time.Nanosecond)
		p.expect(t, "when its time is over", true)
		p.far.stop(false)
		p.expect(t, "with the connection", true, false)
		if ended != nil {
			t.Errorf("the call ended with %v", ended)
		}
	})
}
