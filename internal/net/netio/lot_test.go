package netio

import (
	"context"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// parking is a lot that runs, and pairs of sockets to park in it.
type parking struct {
	*Lot

	t    *testing.T
	stop func()
}

func newParking(t *testing.T) *parking {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &parking{Lot: new(Lot), t: t}
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	p.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
		done <- nil
	}
	t.Cleanup(p.stop)
	for opened := false; !opened; {
		p.mu.Lock()
		opened = p.opened
		p.mu.Unlock()
	}
	return p
}

// pair gives both ends of a connection.
func (p *parking) pair() (client net.Conn, server *Socket) {
	p.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		p.t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		p.t.Fatal(err)
	}
	if server, err = NewSocket(c.(*net.TCPConn)); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	return client, server
}

// wait parks a socket; what it gives is closed when it is to go on.
func (p *parking) wait(raw syscall.RawConn, until time.Time) (*Spot, chan struct{}) {
	p.t.Helper()
	resumed := make(chan struct{})
	s := p.Park(raw, until, func() { close(resumed) }) // a second time panics
	if s == nil {
		p.t.Fatal("the lot takes no socket")
	}
	return s, resumed
}

func TestParkedConnectionGoesOn(t *testing.T) {
	p := newParking(t)
	ends := map[string]func(*Spot, net.Conn, *Socket){
		"by_a_byte":         func(_ *Spot, c net.Conn, _ *Socket) { c.Write([]byte("x")) },
		"by_the_end":        func(_ *Spot, c net.Conn, _ *Socket) { c.(*net.TCPConn).CloseWrite() },
		"by_a_reset":        func(_ *Spot, c net.Conn, _ *Socket) { Reset(c) },
		"when_it_is_woken":  func(s *Spot, _ net.Conn, _ *Socket) { s.Wake() },
		"closed_then_woken": func(s *Spot, _ net.Conn, c *Socket) { c.Close(); s.Wake() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			client, server := p.pair()
			spot, resumed := p.wait(server.Unbuffered(), time.Time{})
			select {
			case <-resumed:
				t.Fatal("it goes on without a reason")
			default:
			}
			end(spot, client, server)
			<-resumed
			spot.Wake() // once is enough
			if n := p.Waiting(); n != 0 {
				t.Errorf("%d wait", n)
			}
		})
	}
	t.Run("by_what_came_before", func(t *testing.T) {
		client, server := p.pair()
		client.Write([]byte("x"))
		if err := AwaitReadable(server); err != nil {
			t.Fatal(err)
		}
		_, resumed := p.wait(server.Unbuffered(), time.Time{})
		<-resumed
		_, resumed = p.wait(server.Unbuffered(), time.Time{}) // nothing was read
		<-resumed
	})
	t.Run("when_its_time_is_up", func(*testing.T) {
		_, server := p.pair()
		_, resumed := p.wait(server.Unbuffered(), time.Now().Add(time.Millisecond))
		<-resumed
	})
	t.Run("more_at_once_than_are_told_at_once", func(*testing.T) {
		var left atomic.Int64
		all := make(chan struct{})
		clients := make([]net.Conn, 200)
		left.Store(int64(len(clients)))
		for i := range clients {
			var server *Socket
			clients[i], server = p.pair()
			p.Park(server.Unbuffered(), time.Time{}, func() {
				if left.Add(-1) == 0 {
					close(all)
				}
			})
		}
		for _, c := range clients {
			c.Write([]byte("x"))
		}
		<-all
	})
	t.Run("when_the_lot_closes", func(t *testing.T) {
		_, server := p.pair()
		_, resumed := p.wait(server.Unbuffered(), time.Time{})
		p.stop()
		<-resumed
		if p.Park(server.Unbuffered(), time.Time{}, nil) != nil {
			t.Error("a lot that is closed takes a socket")
		}
	})
}

func TestClosedSocketIsNotParked(t *testing.T) {
	p := newParking(t)
	_, server := p.pair()
	server.Close()
	if p.Park(server.Unbuffered(), time.Time{}, nil) != nil || p.Waiting() != 0 {
		t.Error("a closed socket waits")
	}
}

// TestCrowdIsTold: of as many connections as make a crowd, and again of as many that have come or gone since, not of fewer.
func TestCrowdIsTold(t *testing.T) {
	p := newParking(t)
	crowded := make(chan struct{}, 1)
	p.Crowded = crowded
	spots := map[*Spot]chan struct{}{}
	park := func(n int) {
		t.Helper()
		for range n {
			_, server := p.pair()
			s, resumed := p.wait(server.Unbuffered(), time.Time{})
			spots[s] = resumed
		}
	}
	wake := func(n int) {
		for s, resumed := range spots {
			if n == 0 {
				return
			}
			n--
			s.Wake()
			<-resumed
			delete(spots, s)
		}
	}
	for i, step := range []struct {
		wake, park int
		told       bool
	}{{0, crowd - 1, false}, {0, 1, true}, {3, 3, false}, {0, crowd - 1, false}, {0, 1, true}, {crowd - 1, 0, false}, {1, 0, true}, {crowd - 1, 0, false}, {0, 1, false}, {2, 0, true}} {
		wake(step.wake)
		park(step.park)
		if told := len(crowded) == 1; told != step.told {
			t.Errorf("step %d: told is %t, with %d that wait", i, told, p.Waiting())
		}
		if step.told && len(crowded) == 1 {
			<-crowded
		}
	}
}
