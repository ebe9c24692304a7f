package netio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Lot is where connections wait for their next byte without a goroutine each, whose stack would be most of what an idle
// connection takes. One goroutine, that of Run, watches all of them. Everything may be called from any goroutine.
type Lot struct {
	// After is how long a connection should have waited with a goroutine before it is parked. Fixed.
	After time.Duration
	// Crowded, which has room for one, is told when a crowd more or fewer wait than when it was last told: what served those that came
	// is garbage now, and soon what those that go on outgrow, or leave when they end. Fixed; nil for nobody.
	Crowded chan<- struct{}

	mu     sync.Mutex
	epoll  int  // guarded by mu, as all below
	opened bool // Run watches
	last   uint64
	spots  map[uint64]*Spot // by number
	told   int              // how many waited when Crowded was told
}

// crowd is how many connections are worth a word: their goroutines had half a megabyte.
const crowd = 64

// Spot is the place of one connection.
type Spot struct {
	lot    *Lot
	number uint64 // of this wait alone
	raw    syscall.RawConn
	timer  *time.Timer // nil for a wait without an end
	resume func()
}

// Park has resume called once, in a goroutine of its own: when a read of the socket would not wait, when the moment until has
// come (the zero moment never does), when the spot is woken, or when Run ends. That may be before Park has returned. A socket that
// is closed here must be woken, for the kernel forgets it. Park gives nil, and does nothing, where Run does not watch or the
// kernel watches no more sockets: then the caller waits as it would without a lot.
func (l *Lot) Park(raw syscall.RawConn, until time.Time, resume func()) *Spot {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.opened {
		return nil
	}
	l.last++
	s := &Spot{lot: l, number: l.last, raw: raw, resume: resume}
	var refused error
	// What has come already is told as well: the events are of the level, not of the edge.
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: int32(s.number), Pad: int32(s.number >> 32)}
	err := raw.Control(func(fd uintptr) { refused = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, int(fd), &event) })
	if err != nil || refused != nil {
		return nil
	}
	if l.spots == nil {
		l.spots = make(map[uint64]*Spot)
	}
	l.spots[s.number] = s
	l.tell()
	if !until.IsZero() {
		s.timer = time.AfterFunc(time.Until(until), s.Wake)
	}
	return s
}

// tell tells of a crowd; mu is held.
func (l *Lot) tell() {
	n := len(l.spots)
	if l.Crowded == nil || l.told-crowd < n && n < l.told+crowd {
		return
	}
	l.told = n
	select {
	case l.Crowded <- struct{}{}:
	default: // it has not heard the last word yet
	}
}

// Wake ends the wait, if it has not ended.
func (s *Spot) Wake() { s.lot.leave(s.number) }

// leave ends the wait of a number; one that is over has none.
func (l *Lot) leave(number uint64) {
	l.mu.Lock()
	s := l.spots[number]
	if s == nil {
		l.mu.Unlock()
		return
	}
	delete(l.spots, number)
	l.tell()
	if len(l.spots) == 0 {
		l.spots = nil // a map keeps the size that it once had
	}
	if l.opened {
		s.raw.Control(func(fd uintptr) { unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, int(fd), nil) }) //nolint:errcheck // the kernel forgets a closed socket by itself
	}
	l.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
	go s.resume()
}

// Waiting is how many connections wait.
func (l *Lot) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.spots)
}

// Run watches until ctx ends, and then wakes those that still wait. It runs once.
func (l *Lot) Run(ctx context.Context) error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("watch idle connections: %w", err)
	}
	// Where reads do not block the runtime's poller waits for this one, so that no thread does.
	if err := unix.SetNonblock(fd, true); err != nil {
		return errors.Join(fmt.Errorf("watch idle connections: %w", err), unix.Close(fd))
	}
	file := os.NewFile(uintptr(fd), "epoll")
	l.mu.Lock()
	l.epoll, l.opened = fd, true
	l.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { l.shut(file) })
	defer stop()
	err = l.watch(file)
	l.shut(file)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// shut ends the watch.
func (l *Lot) shut(file *os.File) {
	l.mu.Lock()
	l.opened = false // nobody uses the descriptor's number from here on
	numbers := make([]uint64, 0, len(l.spots))
	for number := range l.spots {
		numbers = append(numbers, number)
	}
	l.mu.Unlock()
	file.Close()
	for _, number := range numbers {
		l.leave(number)
	}
}

// watch wakes connections until the file is closed.
func (l *Lot) watch(file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	events := make([]unix.EpollEvent, 64)
	for {
		n := 0
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			n, failed = unix.EpollWait(int(fd), events, 0)
			return n > 0 || failed != nil
		})
		switch {
		case err != nil:
			return err
		case failed != nil && !errors.Is(failed, unix.EINTR):
			return fmt.Errorf("watch idle connections: %w", failed)
		}
		for _, e := range events[:max(n, 0)] {
			l.leave(uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32)
		}
	}
}
