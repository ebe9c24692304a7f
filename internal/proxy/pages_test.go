package proxy

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"
)

// pageCrowd is a server of pages with room for few, and who asks for them.
type pageCrowd struct {
	t       *testing.T
	addr    string
	room    *pageRoom
	refused chan net.Conn
	// asked gets the path of each request that is being answered, and answers once it can send to leave.
	asked chan string
	leave chan struct{}
}

func newPageCrowd(t *testing.T, most int) *pageCrowd {
	t.Helper()
	p := &pageCrowd{t: t, refused: make(chan net.Conn, 100), asked: make(chan string), leave: make(chan struct{})}
	p.room = newPageRoom(most, func(_ context.Context, c net.Conn) { p.refused <- c })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().String()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/now" {
			p.asked <- r.URL.Path
			<-p.leave
		}
		fmt.Fprint(w, "ok")
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.room.serve(l, h)(ctx) }()
	t.Cleanup(func() {
		cancel()
		close(p.leave)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

// from opens a connection from an address of this machine and waits until it is in.
func (p *pageCrowd) from(ip string) net.Conn {
	p.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	c, err := d.DialContext(p.t.Context(), "tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	at := c.LocalAddr().(*net.TCPAddr).AddrPort()
	eventually(p.t, "the connection to be in", func() bool {
		p.room.mu.Lock()
		defer p.room.mu.Unlock()
		for o := range p.room.open {
			if o.RemoteAddr().(*net.TCPAddr).AddrPort() == at {
				return true
			}
		}
		return false
	})
	return c
}

func (p *pageCrowd) ask(c net.Conn, path string) {
	p.t.Helper()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	if path == "/now" {
		return
	}
	if got := <-p.asked; got != path {
		p.t.Fatalf("%s is being answered, want %s", got, path)
	}
}

func (p *pageCrowd) answered(c net.Conn) {
	p.t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 200 {
		p.t.Errorf("= %+v, %v, want an answer", resp, err)
	}
}

func (p *pageCrowd) wentAway(c net.Conn) {
	p.t.Helper()
	if _, err := c.Read(make([]byte, 1)); !isReset(err) {
		p.t.Errorf("read = %v, want a reset", err)
	}
	<-p.refused // once for each
}

// TestPagesKeepRoomForTheKubelet: a client that fills the ports of the pages loses its own connections, first those that ask
// for nothing, and a probe is answered.
func TestPagesKeepRoomForTheKubelet(t *testing.T) {
	const kubelet, crowd, scraper = "127.0.0.1", "127.0.0.2", "127.0.0.3"
	t.Run("silent_connections_go_oldest_first", func(t *testing.T) {
		p := newPageCrowd(t, 3)
		first, second := p.from(crowd), p.from(crowd)
		p.from(crowd)
		probe := p.from(kubelet)
		p.wentAway(first)
		p.ask(probe, "/now")
		p.answered(probe)
		p.from(crowd)
		p.wentAway(second)
	})
	t.Run("readers_of_pages_of_one_address", func(t *testing.T) {
		p := newPageCrowd(t, 4)
		own := p.from(scraper)
		p.ask(own, "/metrics")
		var readers []net.Conn
		for range 3 {
			c := p.from(crowd)
			p.ask(c, "/metrics")
			readers = append(readers, c)
		}
		probe := p.from(kubelet) // asks for nothing yet, and is newer than all
		p.wentAway(readers[0])
		p.from(crowd)
		p.wentAway(readers[1])
		p.ask(probe, "/now")
		p.answered(probe)
		for range 3 { // the handlers of those that are gone, too
			p.leave <- struct{}{}
		}
		p.leave <- struct{}{}
		p.answered(own)
		p.answered(readers[2])
	})
	t.Run("of_one_address_a_probe_is_the_last_to_go", func(t *testing.T) {
		p := newPageCrowd(t, 3)
		probe, reader := p.from(kubelet), p.from(kubelet)
		p.ask(probe, "/app-health/app/readyz")
		p.ask(reader, "/metrics")
		silent := p.from(kubelet)
		next := p.from(kubelet)
		p.wentAway(silent)
		p.ask(next, "/metrics")
		last := p.from(kubelet)
		p.wentAway(reader)
		p.ask(last, "/healthz/ready")
		for range 4 {
			p.leave <- struct{}{}
		}
		p.answered(probe)
		p.answered(next)
		p.answered(last)
	})
	t.Run("an_answer_that_is_over_does_not_count", func(t *testing.T) {
		p := newPageCrowd(t, 2)
		kept := p.from(kubelet)
		p.ask(kept, "/now")
		p.answered(kept)
		c := p.from(kubelet)
		p.ask(c, "/metrics")
		p.from(kubelet)
		p.wentAway(kept)
		p.leave <- struct{}{}
		p.answered(c)
	})
	t.Run("who_leaves_makes_room", func(t *testing.T) {
		p := newPageCrowd(t, 2)
		p.from(crowd)
		p.from(crowd).Close()
		eventually(t, "room", func() bool {
			p.room.mu.Lock()
			defer p.room.mu.Unlock()
			return len(p.room.open) == 1
		})
		p.from(crowd)
		if n := len(p.refused); n > 0 {
			t.Errorf("%d connections went", n)
		}
	})
}

// BenchmarkPageRoom is what it costs to come to pages that have no room.
func BenchmarkPageRoom(b *testing.B) {
	r := newPageRoom(pageConnections, func(context.Context, net.Conn) {})
	at := func(i int) net.Conn { return &fakeRemote{net.IPv4(10, 0, 0, byte(i))} }
	for i := range pageConnections {
		r.enter(b.Context(), at(i))
	}
	for i := 0; b.Loop(); i++ {
		r.enter(b.Context(), at(i))
	}
}

// fakeRemote is a connection that only says where it comes from.
type fakeRemote struct{ ip net.IP }

func (*fakeRemote) Read([]byte) (int, error)         { return 0, net.ErrClosed }
func (*fakeRemote) Write([]byte) (int, error)        { return 0, net.ErrClosed }
func (*fakeRemote) Close() error                     { return nil }
func (*fakeRemote) LocalAddr() net.Addr              { return nil }
func (c *fakeRemote) RemoteAddr() net.Addr           { return &net.TCPAddr{IP: c.ip} }
func (*fakeRemote) SetDeadline(time.Time) error      { return nil }
func (*fakeRemote) SetReadDeadline(time.Time) error  { return nil }
func (*fakeRemote) SetWriteDeadline(time.Time) error { return nil }
