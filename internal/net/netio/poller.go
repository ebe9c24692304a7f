package netio

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/internal/net/turns"
)

// Poller is how many connections are read, by a few goroutines, when something has come: one that is quiet has none. It has an epoll of its
// own, whose events are of the edge, so that a read that was shorter than its buffer needs no second one to say that there is nothing more.
// NewPoller makes it. Everything may be called from any goroutine.
type Poller struct {
	file *os.File // of the epoll; fixed, as the next
	raw  syscall.RawConn
	crew turns.Crew

	mu    sync.Mutex
	epoll int                // guarded by mu, as all below; -1 when closed
	last  uint64             // number given
	conns map[uint64]*Polled // by number; those that the kernel watches
	users int
}

// NewPoller gives a poller that has one user, who has Run called.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch connections: %w", err)
	}
	// Where reads do not block the runtime's poller waits for this one, so that no thread does.
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("watch connections: %w", err), unix.Close(fd))
	}
	p := &Poller{file: os.NewFile(uintptr(fd), "epoll"), epoll: fd, conns: make(map[uint64]*Polled), users: 1}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("watch connections: %w", err), p.file.Close())
	}
	return p, nil
}

// Use says that there is another user of a poller that has one.
func (p *Poller) Use() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users++
}

// Leave says that a user is none any more. With the last one Run ends.
func (p *Poller) Leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users--
	if p.users == 0 {
		p.epoll = -1 // nobody uses the descriptor's number from here on
		p.file.Close()
	}
}

// pollEvents is how many events are taken at a time.
const pollEvents = 128

// Run gives connections their turns until the last user has left.
func (p *Poller) Run() error {
	events := make([]unix.EpollEvent, pollEvents)
	ready := make([]*Polled, 0, pollEvents)
	for {
		n := 0
		var failed error
		err := p.raw.Read(func(fd uintptr) bool {
			n, failed = unix.EpollWait(int(fd), events, 0)
			return n > 0 || failed != nil
		})
		switch {
		case err != nil && p.over():
			return nil
		case err != nil:
			return fmt.Errorf("watch connections: %w", err)
		case failed != nil && !errors.Is(failed, unix.EINTR):
			return fmt.Errorf("watch connections: %w", failed)
		}
		ready = p.find(events[:max(n, 0)], ready[:0])
		for i, c := range ready {
			ready[i] = nil
			c.wake()
		}
	}
}

// over reports whether the last user has left.
func (p *Poller) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epoll < 0
}

// find appends the connections that events are about.
func (p *Poller) find(events []unix.EpollEvent, ready []*Polled) []*Polled {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range events {
		e := &events[i]
		c := p.conns[uint64(uint32(e.Fd))|uint64(uint32(e.Pad))<<32]
		if c == nil { // it was closed meanwhile
			continue
		}
		if e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			c.ending.Store(true)
		}
		ready = append(ready, c)
	}
	return ready
}

// add has the kernel watch a connection. It reports false where that is closed, too.
func (p *Poller) add(c *Polled) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.epoll < 0 {
		return false
	}
	p.last++
	c.number = p.last
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff, Fd: int32(c.number), Pad: int32(c.number >> 32)}
	var refused error
	err := c.raw.Control(func(fd uintptr) { refused = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, int(fd), &event) })
	if err != nil || refused != nil {
		return false
	}
	p.conns[c.number] = c
	c.polled.Store(true)
	return true
}

// forget is for a connection that has been closed, which the kernel forgets by itself. It reports whether it was watched.
func (p *Poller) forget(c *Polled) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns[c.number] != c {
		return false
	}
	delete(p.conns, c.number)
	if len(p.conns) == 0 {
		p.conns = make(map[uint64]*Polled) // a map keeps the size that it once had
	}
	return true
}

// ErrLater is what a read of a connection that is polled returns where nothing has come. crypto/tls takes it for an error that passes, so
// that a record of which a part has come is read on.
var ErrLater error = later{}

type later struct{}

func (later) Error() string   { return "nothing has come" }
func (later) Timeout() bool   { return true }
func (later) Temporary() bool { return true }

// Polled is a connection whose reads wait like those of any other until Poll is called, and then do not.
type Polled struct {
	net.Conn

	poller *Poller // fixed, as the next
	raw    syscall.RawConn

	turn   func() (more, over bool) // fixed by Poll
	number uint64                   // guarded by poller.mu; 0 before Poll
	polled atomic.Bool

	ending atomic.Bool   // the other side has ended its direction, or the connection: the event of that comes once
	state  atomic.Uint32 // of the wait

	// Of who has the turn.
	spent bool // what had come is read
	once  func(fd uintptr) bool
	buf   []byte // what once reads into, and what came of it
	n     int
	err   error
}

// The states of a wait.
const (
	waits uint32 = iota
	takes        // it has a turn, or is queued for one
	woken        // also, something has come that the turn may not have seen
)

// Wrap gives a connection that can be polled; nil for what is no socket.
func (p *Poller) Wrap(nc net.Conn) *Polled {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return &Polled{Conn: nc, poller: p, raw: raw}
}

// Poll has turn called when something has come, or the connection is closed here, and once now; never twice at a time. It reads until it
// gets ErrLater, or reports that there is more, and gets its turn again when others have had theirs. When over, it is not called any more.
// Nobody else reads from now on. Where the kernel watches no more sockets, Poll reports false: reads wait as before.
func (c *Polled) Poll(turn func() (more, over bool)) bool {
	c.turn, c.once = turn, c.read
	if !c.poller.add(c) {
		return false
	}
	c.wake()
	return true
}

// wake has the connection get a turn.
func (c *Polled) wake() {
	for {
		switch c.state.Load() {
		case waits:
			if c.state.CompareAndSwap(waits, takes) {
				c.poller.crew.Add(c)
				return
			}
		case takes:
			if c.state.CompareAndSwap(takes, woken) {
				return
			}
		case woken:
			return
		}
	}
}

// Turn implements turns.Taker.
func (c *Polled) Turn() (again bool) {
	c.state.Store(takes) // what has come by now is seen below
	c.spent = false
	more, over := c.turn()
	if over {
		return false // and as it does not wait, nobody wakes it
	}
	return more || !c.state.CompareAndSwap(takes, waits)
}

// Read implements net.Conn.
func (c *Polled) Read(p []byte) (int, error) {
	if !c.polled.Load() {
		return c.Conn.Read(p)
	}
	if c.spent {
		return 0, ErrLater
	}
	c.buf = p
	err := c.raw.Read(c.once)
	c.buf = nil
	switch {
	case err != nil:
		return 0, err
	case errors.Is(c.err, unix.EAGAIN):
		c.spent = true
		return 0, ErrLater
	case c.err != nil:
		return 0, &net.OpError{Op: "read", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError("read", c.err)}
	case c.n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	// Behind the last bytes an end may have come with the same event, so who has heard of one reads on until there is nothing more.
	c.spent = c.n < len(p) && !c.ending.Load()
	return c.n, nil
}

// read reads once, and has nobody wait.
func (c *Polled) read(fd uintptr) bool {
	for {
		c.n, c.err = syscall.Read(int(fd), c.buf)
		if !errors.Is(c.err, unix.EINTR) {
			return true
		}
	}
}

// Close implements net.Conn.
func (c *Polled) Close() error {
	err := c.Conn.Close()
	if c.poller.forget(c) {
		c.wake()
	}
	return err
}
