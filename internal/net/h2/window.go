package h2

import (
	"sync/atomic"
	"time"
)

const (
	// startWindow is what a connection or a stream may send at first: HTTP/2's own default, so that a connection that
	// never sends bodies costs no frame.
	startWindow = defaultWindow
	// growWithin is how soon half a window must have come for the window to double: a window then holds what comes in
	// a tenth of a second, more than most round trips take.
	growWithin = 50 * time.Millisecond
	// shedQueue is how much a stream must hold, and shedAfter for how long without a read, to be reset where memory is
	// short.
	shedQueue = 32 << 10
	shedAfter = 100 * time.Millisecond
)

// Budget bounds what connections hold of bodies that nobody has read yet, together. Without it each connection may
// hold its whole window, and a peer opens as many connections as it likes.
//
// While less than half is used, connections may send on as they please, and their windows grow. Beyond that they get
// back what readers take, and half of the smallest window at least, for streams that are read share them with streams
// that are not. Where that, and what was promised before, exceeds the budget, streams whose readers have stopped are
// reset.
type Budget struct {
	limit int64
	stall time.Duration // shedAfter
	held  atomic.Int64  // bytes received and not read
	grown atomic.Int64  // bytes that the windows of connections have grown by
}

// NewBudget allows that many bytes.
func NewBudget(bytes int) *Budget { return &Budget{limit: int64(bytes), stall: shedAfter} }

// Held is how many bytes are held now.
func (b *Budget) Held() int64 { return b.held.Load() }

func (b *Budget) hold(n int) {
	if b != nil {
		b.held.Add(int64(n))
	}
}

func (b *Budget) plenty() bool { return b == nil || b.held.Load() < b.limit/2 }
func (b *Budget) short() bool  { return b != nil && b.held.Load() > b.limit }

// grow asks for a window that is n bytes larger.
func (b *Budget) grow(n int64) bool {
	if b == nil {
		return true
	}
	if b.grown.Add(n) <= b.limit/2 && b.plenty() {
		return true
	}
	b.grown.Add(-n)
	return false
}

func (b *Budget) shrink(n int64) {
	if b != nil {
		b.grown.Add(-n)
	}
}

// window is the size of a receive window, which grows while its reader is fast.
type window struct {
	size    int64
	updated time.Time
}

// quicken doubles the window, up to limit, where half of it came soon after the half before.
func (w *window) quicken(b *Budget, limit int64) {
	now := time.Now()
	fast := now.Sub(w.updated) < growWithin
	w.updated = now
	if more := min(w.size, limit-w.size); fast && more > 0 && b.grow(more) {
		w.size += more
	}
}

// reset gives back what the window has grown by.
func (w *window) reset(b *Budget, start int64) {
	if w.size > start {
		b.shrink(w.size - start)
		w.size = start
	}
}

// stuck tells whether the reader has not kept up for some time. mu is held.
func (s *stream) stuck() bool {
	return s.queue.n >= shedQueue && time.Since(s.behind) >= s.c.pool.Budget.stall
}

// read accounts for n bytes that a reader took, or that nobody wants any more. mu is held.
func (c *conn) read(n int) {
	c.unread -= int64(n)
	c.pool.Budget.hold(-n)
	c.credit()
}

// credit lets the peer send on, in steps of half a window. What was received counts as soon as it is here, and not when
// it is read: readers that do not keep up are held back by the windows of their streams, and must not hold back the
// other streams of the connection. mu is held.
func (c *conn) credit() {
	size := c.window.size
	target := size
	if c.unread > int64(c.opts.ConnWindow)-size || !c.pool.Budget.plenty() {
		target = max(size-c.unread, startWindow/2)
	}
	n := target - c.recvWindow
	if n < target/2 || c.dead {
		return
	}
	if c.unread < size {
		c.window.quicken(c.pool.Budget, int64(c.opts.ConnWindow))
		if target == size {
			n += c.window.size - size
		}
	}
	out := c.control()
	out.b = appendWindowUpdate(out.b, 0, uint32(n))
	c.recvWindow += n
}

// giveBack returns n bytes of the stream's receive window, in steps of half of it. mu is held.
func (s *stream) giveBack(n int) {
	s.recvCredit += int64(n)
	size := s.window.size
	if s.recvCredit < size/2 || s.recvEnd || s.closed {
		return
	}
	c := s.c
	s.window.quicken(nil, int64(c.opts.StreamWindow)) // that of the connection bounds it
	n64 := s.recvCredit + s.window.size - size
	out := c.control()
	out.b = appendWindowUpdate(out.b, s.id, uint32(n64))
	s.recvWindow += n64
	s.recvCredit = 0
}
