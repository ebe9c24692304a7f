package upstream

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
)

// stuck is a connection whose close takes until it is let go.
type stuck struct {
	net.Conn

	closing, free chan struct{}
}

func (c *stuck) Close() error {
	close(c.closing)
	<-c.free
	return c.Conn.Close()
}

// A connection that does not close keeps no other call from its endpoint.
func TestNothingIsClosedUnderALock(t *testing.T) {
	ends := map[string]func(*Set, *Way){
		"release": func(_ *Set, w *Way) { w.Release() },
		"idle":    func(s *Set, _ *Way) { s.CloseIdle(farFuture()) },
		"the end": func(s *Set, _ *Way) { s.close() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			defer far.Close()
			c := &stuck{Conn: near, closing: make(chan struct{}), free: make(chan struct{})}
			s := New(Options{
				Plain:   func(context.Context, netip.AddrPort) (net.Conn, error) { return c, nil },
				Run:     func(func(context.Context)) {},
				Buffers: new(h1.Buffers), Pool: new(h2.Pool),
			})
			target := Target{Addr: netip.MustParseAddrPort("10.0.0.1:80")}
			w := s.Reach(target)
			conn, err := w.Pool.Get(t.Context(), Pooled, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			w.Pool.Put(conn)
			if w.Pool.waiting() != 1 {
				t.Fatal("the connection was not kept")
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				end(s, w)
			}()
			<-c.closing
			other := s.Reach(target)
			if other.Pool.reuse() != nil {
				t.Error("a connection that is being closed is given out")
			}
			other.Release()
			close(c.free)
			<-done
			if name == "release" && s.Holdings() != (Holdings{}) {
				t.Errorf("holds %+v after the last way was released", s.Holdings())
			}
		})
	}
}

func TestWaysShareAndCount(t *testing.T) {
	s := New(Options{Run: func(func(context.Context)) {}, Buffers: new(h1.Buffers), Pool: new(h2.Pool)})
	addr := netip.MustParseAddrPort("10.0.0.1:80")
	a, b := s.Reach(Target{Addr: addr}), s.Reach(Target{Addr: addr})
	tls := s.Reach(Target{Addr: addr, Policy: Policy{tls: originTLS{enabled: true}}})
	mesh := s.Reach(Target{Addr: addr, Meshed: true, Identity: "spiffe://a"})
	app := s.ReachApp(addr, Policy{})
	alone := s.ReachAlone(addr, Policy{})
	if a.Pool != b.Pool || a.Pool == tls.Pool || a.Pool == app.Pool || a.Pool == alone.Pool || mesh.Pool != nil || mesh.Peer == nil {
		t.Error("what is shared is not what is made in the same way")
	}
	if got, want := s.Holdings(), (Holdings{Peers: 1, Pools: 3, Users: 4}); got != want {
		t.Errorf("holds %+v, want %+v", got, want)
	}
	for _, w := range []*Way{a, b, tls, mesh, app, alone} {
		w.Release()
	}
	if got, want := s.Holdings(), (Holdings{Pools: 1}); got != want {
		t.Errorf("holds %+v after the release, want %+v: the app's pool waits for the next caller", got, want)
	}
	s.CloseIdle(farFuture())
	if got := s.Holdings(); got != (Holdings{}) {
		t.Errorf("holds %+v after a sweep", got)
	}
}

func farFuture() time.Time { return time.Now().Add(24 * time.Hour) }
