package upstream

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
)

func TestKeepAliveBound(t *testing.T) {
	now := time.Unix(1000, 0)
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	tests := []struct {
		name     string
		told     time.Duration
		observed []time.Duration
		later    time.Duration
		want     time.Duration
	}{
		{"nothing", 0, nil, 0, 0},
		{"told", 5 * time.Second, nil, 0, ms(4500)},
		{"told_a_second", time.Second, nil, 0, ms(500)},
		{"told_less", ms(100), nil, 0, ms(50)},
		{"seen_once", 0, []time.Duration{ms(2500)}, 0, 0},
		{"seen_twice", 0, []time.Duration{ms(2900), ms(2100)}, 0, ms(600)},
		{"seen_twice_of_a_patient_one", 0, []time.Duration{ms(65000), ms(65900)}, 0, ms(63500)},
		{"seen_twice_and_different", 0, []time.Duration{ms(5000), ms(2100)}, 0, 0},
		{"closed_at_once", 0, []time.Duration{ms(10), ms(20)}, 0, 0},
		{"closed_at_once_in_between", 0, []time.Duration{ms(2900), ms(20), ms(2100)}, 0, ms(600)},
		{"told_more_than_seen", time.Minute, []time.Duration{ms(2900), ms(2100)}, 0, ms(600)},
		{"told_less_than_seen", time.Second, []time.Duration{ms(2900), ms(2100)}, 0, ms(500)},
		{"long_ago", 0, []time.Duration{ms(2900), ms(2100)}, learntFor, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := keepAlive{told: tt.told}
			for i, d := range tt.observed {
				k.observe(d, now.Add(time.Duration(i-len(tt.observed)+1)*time.Minute))
			}
			if got := k.bound(now.Add(tt.later)); got != tt.want {
				t.Errorf("bound = %s, want %s", got, tt.want)
			}
		})
	}
}

// A server that ends closes all its connections, which are found one after the other: that is no habit.
func TestConnectionsThatEndTogetherAreSeenOnce(t *testing.T) {
	var k keepAlive
	now := time.Unix(1000, 0)
	for i, idle := range []time.Duration{2 * time.Second, 3 * time.Second, 2500 * time.Millisecond} {
		k.observe(idle, now.Add(time.Duration(i)*500*time.Millisecond))
	}
	if b := k.bound(now); b != 0 {
		t.Fatalf("bound = %s after a server has ended once, want none", b)
	}
	later := now.Add(alike)
	k.observe(3*time.Second, later)
	if b, want := k.bound(later), 1500*time.Millisecond; b != want {
		t.Errorf("bound = %s when it was seen again, want %s", b, want)
	}
}

// server answers one request per connection with a head of choice, and closes the connection when it is told so.
func server(t *testing.T, head string) (addr netip.AddrPort, closeAll func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan net.Conn, 16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.ReadAtLeast(c, make([]byte, 4096), 1)
			conns <- c // before the client can ask for its end
			io.WriteString(c, head)
		}
	}()
	closeAll = func() {
		for {
			select {
			case c := <-conns:
				c.Close()
			default:
				return
			}
		}
	}
	t.Cleanup(func() {
		l.Close()
		<-done
		closeAll()
	})
	return l.Addr().(*net.TCPAddr).AddrPort(), closeAll
}

// use has a pool carry a request, and gives the connection, which is idle now.
func use(t *testing.T, p *Pool) *Conn {
	t.Helper()
	c, err := p.Get(t.Context(), Pooled, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	x, err := c.Exchange()
	if err != nil {
		t.Fatal(err)
	}
	req := &httpx.Request{Method: []byte("GET"), Scheme: []byte("http"), Authority: []byte("a"), Path: []byte("/")}
	var resp httpx.Response
	for _, err := range []error{x.Send(req), x.End(nil), x.Receive(&resp)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := x.Read(make([]byte, 1)); !httpx.IsEnd(err) {
		t.Fatal(err)
	}
	x.Close()
	p.Put(c)
	return c
}

func newTestPool(t *testing.T, addr netip.AddrPort) *Pool {
	t.Helper()
	s := New(Options{
		Plain: func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr.String())
		},
		Run: func(func(context.Context)) {}, Buffers: new(h1.Buffers), Pool: new(h2.Pool),
	})
	w := s.Reach(Target{Addr: addr})
	t.Cleanup(s.close)
	return w.Pool
}

const noContent = "HTTP/1.1 204 No Content\r\n"

// A connection is not used when the server that has said how long it keeps it is about to close it.
func TestConnectionsAreNotUsedBeyondWhatTheServerSays(t *testing.T) {
	for _, tt := range []struct {
		name, field string
		idle        time.Duration
		reused      bool
	}{
		{"said_nothing", "", time.Hour, true},
		{"in_time", "Keep-Alive: timeout=5, max=100\r\n", 4 * time.Second, true},
		{"too_late", "Keep-Alive: timeout=5\r\n", 4600 * time.Millisecond, false},
		{"spelt_otherwise", "keep-alive: max=100,TIMEOUT = \"2\"\r\n", 1600 * time.Millisecond, false},
		{"nonsense", "Keep-Alive: timeout=-5, timeout, timeout=x, timeout=99999999999999999999\r\n", time.Hour, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr, _ := server(t, noContent+tt.field+"\r\n")
			p := newTestPool(t, addr)
			c := use(t, p)
			c.since = c.since.Add(-tt.idle)
			if got := p.reuse() == c; got != tt.reused {
				t.Errorf("reused = %t, want %t", got, tt.reused)
			}
		})
	}
}

// A server that says nothing, and has closed connections twice after two seconds, gets no request on one that is older.
func TestPatienceOfAServerIsLearnt(t *testing.T) {
	addr, closeAll := server(t, noContent+"\r\n")
	p := newTestPool(t, addr)
	for i := range 2 {
		c := use(t, p)
		c.since = c.since.Add(time.Duration(i) * time.Minute)
		closeAll()
		for deadline := time.Now().Add(10 * time.Second); !c.Stale(); {
			if time.Now().After(deadline) {
				t.Fatal("the end of the connection does not arrive")
			}
		}
		p.look(c.since.Add(2 * time.Second))
		if n := p.waiting(); n != 0 {
			t.Fatalf("%d connections are kept that the server has closed", n)
		}
	}
	c := use(t, p)
	c.since = c.since.Add(-600 * time.Millisecond)
	if p.reuse() != nil {
		t.Error("used although the server may close it")
	}
	c = use(t, p)
	p.closeIdle(c.since.Add(600*time.Millisecond), p.idleLimit(c.since, idleAfter))
	if p.waiting() != 0 {
		t.Error("kept although the server may close it")
	}
	c = use(t, p)
	c.since = c.since.Add(time.Minute) // however long this test is held up
	if p.reuse() != c {
		t.Error("not used although the server keeps it")
	}
}

// What a request finds closed that wants to use it counts as well: of a server that is called again and again the looks see nothing.
func TestWhatARequestFindsClosedIsLearnt(t *testing.T) {
	addr, closeAll := server(t, noContent+"\r\n")
	p := newTestPool(t, addr)
	for i := range 2 {
		c := use(t, p)
		closeAll()
		for deadline := time.Now().Add(10 * time.Second); !c.Stale(); {
			if time.Now().After(deadline) {
				t.Fatal("the end of the connection does not arrive")
			}
		}
		c.since = c.since.Add(-time.Hour)
		if p.reuse() != nil {
			t.Fatal("a connection is used that the server has closed")
		}
		if got, want := p.alive.learnt >= time.Hour, i == 1; got != want {
			t.Errorf("%d found: learnt %s", i+1, p.alive.learnt)
		}
		p.alive.seenAt = p.alive.seenAt.Add(-time.Minute)
	}
}
