package netio

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/certs/certstest"
)

// polled is a poller that runs until the test ends.
func polled(t *testing.T) *Poller {
	t.Helper()
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- p.Run() }()
	t.Cleanup(func() {
		p.Leave()
		if err := <-ran; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return p
}

// turned is what turns of a connection have read.
type turned struct {
	conn net.Conn
	size int // of a read
	most int // reads of a turn; 0 for as many as there are

	mu      sync.Mutex
	changed sync.Cond
	got     []byte // guarded by mu, as the next three
	turns   int
	reads   int
	err     error
}

func newTurned(conn net.Conn, size, most int) *turned {
	r := &turned{conn: conn, size: size, most: most}
	r.changed.L = &r.mu
	return r
}

func (r *turned) turn() (more, over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.changed.Broadcast()
	r.turns++
	for k := 0; r.most == 0 || k < r.most; k++ {
		b := make([]byte, r.size)
		n, err := r.conn.Read(b)
		r.got = append(r.got, b[:n]...)
		if errors.Is(err, ErrLater) {
			return false, false
		}
		r.reads++
		if r.err = err; err != nil {
			return false, true
		}
	}
	return true, false
}

// await returns when turns have read what is wanted.
func (r *turned) await(t *testing.T, what string, wanted func() bool) {
	t.Helper()
	late := time.AfterFunc(20*time.Second, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.reads = -1 << 40
		r.changed.Broadcast()
	})
	defer late.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for !wanted() {
		if r.reads < 0 {
			t.Fatalf("%s did not happen: %d bytes, %v", what, len(r.got), r.err)
		}
		r.changed.Wait()
	}
}

func write(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

// TestPolledReads: what comes is read in turns, a read shorter than its buffer being the last of its turn, and the end behind it is not lost.
func TestPolledReads(t *testing.T) {
	for _, tt := range []struct {
		name       string
		size, most int
	}{{"small_pieces", 3, 0}, {"large_buffer", 4096, 0}, {"few_in_a_turn", 2, 1}} {
		t.Run(tt.name, func(t *testing.T) {
			p := polled(t)
			client, server := tcpPair(t)
			c := p.Wrap(server)
			defer c.Close()
			r := newTurned(c, tt.size, tt.most)
			write(t, client, "before")
			if !c.Poll(r.turn) {
				t.Fatal("the kernel does not watch it")
			}
			r.await(t, "what came before", func() bool { return string(r.got) == "before" })
			write(t, client, ", then more")
			r.await(t, "what came after", func() bool { return string(r.got) == "before, then more" })
			write(t, client, ", the last")
			if err := client.Close(); err != nil {
				t.Fatal(err)
			}
			r.await(t, "the end", func() bool { return errors.Is(r.err, io.EOF) })
			if string(r.got) != "before, then more, the last" {
				t.Errorf("read %q", r.got)
			}
		})
	}
}

// TestPolledAsksOnce: a read that was shorter than its buffer is not followed by one that only says that there is nothing more.
func TestPolledAsksOnce(t *testing.T) {
	p := polled(t)
	client, server := tcpPair(t)
	c := p.Wrap(server)
	defer c.Close()
	asked := 0
	r := newTurned(c, 100, 0)
	if !c.Poll(func() (more, over bool) {
		if asked == 0 {
			ask := c.once
			c.once = func(fd uintptr) bool { asked++; return ask(fd) }
		}
		return r.turn()
	}) {
		t.Fatal("the kernel does not watch it")
	}
	for n := 1; n <= 50; n++ {
		write(t, client, "ack")
		r.await(t, "an acknowledgement", func() bool { return len(r.got) == 3*n })
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// The first turn, and one whose bytes were read by the turn before, find nothing.
	if spare := asked - r.reads; spare > 10 {
		t.Errorf("%d system calls for 50 messages, %d of which found something", asked, r.reads)
	}
}

// TestPolledIsClosed: who has turns hears of it when the connection is closed here, once, and has none afterwards.
func TestPolledIsClosed(t *testing.T) {
	p := polled(t)
	_, server := tcpPair(t)
	c := p.Wrap(server)
	r := newTurned(c, 100, 0)
	if !c.Poll(r.turn) {
		t.Fatal("the kernel does not watch it")
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { c.Close() })
	}
	all.Wait()
	r.await(t, "the end", func() bool { return errors.Is(r.err, net.ErrClosed) })
	if r.reads != 1 {
		t.Errorf("%d reads told of it, want one", r.reads)
	}
	if c.Poll(r.turn) {
		t.Error("a connection that is closed is watched")
	}
}

// TestPolledTLS: a record of which the parts come one after the other is read on, for crypto/tls takes ErrLater for what passes.
func TestPolledTLS(t *testing.T) {
	p := polled(t)
	client, server := tcpPair(t)
	c := p.Wrap(server)
	defer c.Close()
	authority := certstest.New(t, "root")
	pair := authority.Issue(t, "localhost")
	cert, err := tls.X509KeyPair([]byte(pair.Cert), []byte(pair.Key))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(authority.CA))
	slow := &pieces{Conn: client}
	ours := tls.Server(c, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}})
	theirs := tls.Client(slow, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: "localhost"})
	shaken := make(chan error, 1)
	go func() { shaken <- theirs.HandshakeContext(t.Context()) }()
	if err := errors.Join(ours.HandshakeContext(t.Context()), <-shaken); err != nil {
		t.Fatal(err)
	}
	r := newTurned(ours, 100, 0)
	if !c.Poll(r.turn) {
		t.Fatal("the kernel does not watch it")
	}
	slow.between = func(write func()) {
		r.mu.Lock()
		before := r.turns
		r.mu.Unlock()
		write()
		r.await(t, "a turn for a byte", func() bool { return r.turns > before })
	}
	write(t, theirs, "whole")
	r.await(t, "a record in parts", func() bool { return string(r.got) == "whole" })
}

// pieces writes byte by byte, once between is set.
type pieces struct {
	net.Conn

	between func(write func())
}

func (p *pieces) Write(b []byte) (n int, err error) {
	if p.between == nil {
		return p.Conn.Write(b)
	}
	for ; n < len(b) && err == nil; n++ {
		p.between(func() { _, err = p.Conn.Write(b[n : n+1]) })
	}
	return n, err
}
