package upstream

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
)

// dials is a set whose connections lead to nobody, counted.
func dials(t *testing.T, running *sync.WaitGroup) (*Set, *int) {
	t.Helper()
	n := 0
	dial := func(context.Context, netip.AddrPort) (net.Conn, error) {
		n++
		client, server := net.Pipe()
		running.Go(func() { // what is sent is read and never answered
			buf := make([]byte, 1<<10)
			for {
				if _, err := server.Read(buf); err != nil {
					server.Close()
					return
				}
			}
		})
		return client, nil
	}
	run := func(f func(context.Context)) { running.Go(func() { f(t.Context()) }) }
	return New(Options{Plain: dial, Run: run, Buffers: new(h1.Buffers), Pool: new(h2.Pool)}), &n
}

// A connection that is as old as maxConnectionDuration allows takes no more requests; what it carries goes on.
func TestMaxConnectionDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running sync.WaitGroup
		defer running.Wait()
		s, n := dials(t, &running)
		b := &plan.Backend{ConnectionPool: model.ConnectionPool{MaxConnectionDuration: time.Minute, HTTPIdleTimeout: time.Hour}}
		way := s.Reach(Target{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Policy: PolicyOf(b, nil)})
		get := func() *Conn {
			t.Helper()
			c, err := way.Pool.Get(t.Context(), Pooled, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		pass := func(d time.Duration) {
			time.Sleep(d)
			s.CloseIdle(time.Now())
		}
		first, second := get(), get()
		way.Pool.Put(first)
		pass(59 * time.Second)
		if got := s.Holdings().Idle; got != 1 {
			t.Errorf("%d idle connections before the time is up", got)
		}
		pass(time.Second)
		if got := s.Holdings().Idle; got != 0 {
			t.Errorf("%d idle connections when it is up", got)
		}
		if second.conn.SetDeadline(time.Time{}) != nil {
			t.Error("the connection that carries a request was closed")
		}
		way.Pool.Put(second)
		if got := s.Holdings().Idle; got != 0 || *n != 2 {
			t.Errorf("%d connections were kept, %d dialled", got, *n)
		}
		stream, err := way.Pool.OpenHTTP2(t.Context(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		for range 2 {
			other, err := way.Pool.OpenHTTP2(t.Context(), time.Second)
			if err != nil {
				t.Fatal(err)
			}
			other.Close()
		}
		if *n != 4 {
			t.Errorf("%d connections, want one more for the streams that came after the time", *n)
		}
		stream.Close()
		way.Release()
		s.close()
	})
}

// With few streams per connection there are many connections, not fewer requests.
func TestMaxConcurrentStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running sync.WaitGroup
		defer running.Wait()
		s, n := dials(t, &running)
		b := &plan.Backend{ConnectionPool: model.ConnectionPool{MaxConcurrentStreams: 2}}
		way := s.Reach(Target{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Policy: PolicyOf(b, nil)})
		var streams []httpx.ClientExchange
		for range 50 {
			stream, err := way.Pool.OpenHTTP2(t.Context(), time.Second)
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, stream)
		}
		if *n != 25 {
			t.Errorf("50 streams on %d connections, want 25", *n)
		}
		for _, stream := range streams {
			stream.Close()
		}
		way.Release()
		s.close()
	})
}

func TestTCPKeepAlive(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dial := func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
		c, err := netio.Dialer{}.DialTCP(ctx, addr)
		if err != nil {
			return nil, err
		}
		return netio.NewSocket(c)
	}
	s := New(Options{Plain: dial, Run: func(func(context.Context)) {}, Buffers: new(h1.Buffers), Pool: new(h2.Pool)})
	b := &plan.Backend{ConnectionPool: model.ConnectionPool{KeepAlive: model.TCPKeepAlive{Probes: 4, Time: 90 * time.Second}}}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	options := func(p Policy) (got [3]int) {
		way := s.ReachAlone(addr, p)
		defer way.Release()
		conn, err := way.Pool.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.(*netio.Socket).Unbuffered().Control(func(fd uintptr) {
			for i, option := range []int{unix.TCP_KEEPCNT, unix.TCP_KEEPIDLE, unix.TCP_KEEPINTVL} {
				if got[i], err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option); err != nil {
					t.Error(err)
				}
			}
		})
		return got
	}
	if got := options(PolicyOf(b, nil)); got[0] != 4 || got[1] != 90 || got[2] < 7 || got[2] > 13 {
		t.Errorf("probes, time, interval = %v, want 4, 90, and between 7 and 13 as ever", got)
	}
	if got := options(Policy{}); got[0] != 5 || got[1] < 45 || got[1] > 75 {
		t.Errorf("without the setting: %v", got)
	}
}
