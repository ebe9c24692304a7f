package h2

import "time"

const (
	// startWindow is what a connection or a stream may send at first: HTTP/2's own default, so that a connection that
	// never sends bodies costs no frame.
	startWindow = defaultWindow
	// growWithin is how soon half a window must have come for the window to double: a window then holds what comes in
	// a tenth of a second, more than most round trips take.
	growWithin = 50 * time.Millisecond
)

// window is the size of a receive window, which grows while its reader is fast.
type window struct {
	size    int64
	updated time.Time
}

// quicken doubles the window, up to limit, where n bytes of it came as soon after those before as growWithin says of half of it.
func (w *window) quicken(n int64, b *Budget, limit int64) {
	now := time.Now()
	fast := now.Sub(w.updated) < growWithin*time.Duration(n)/time.Duration(w.size/2)
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

// inflow is what the peer may send of bodies on the connection, and how much of that waits for its readers. What is not
// fixed is guarded by conn.mu.
type inflow struct {
	budget *Budget // fixed, as the next two
	out    *output
	most   int64 // that the window grows to

	left   int64 // what the peer may still send
	window window
	unread int64 // bytes of bodies received and not read
}

func newInflow(budget *Budget, out *output, most int) inflow {
	return inflow{budget: budget, out: out, most: int64(most), left: startWindow, window: window{size: startWindow}}
}

// reset gives back what the window has grown by. mu is held.
func (f *inflow) reset() { f.window.reset(f.budget, startWindow) }

// take accounts for n bytes that come, and reports whether the peer may send them. mu is held.
func (f *inflow) take(n int) bool {
	f.left -= int64(n)
	return f.left >= 0
}

// hold accounts for n bytes that wait for their reader. mu is held.
func (f *inflow) hold(n int) {
	f.unread += int64(n)
	f.budget.hold(n)
}

// read accounts for n bytes that a reader took, or that no reader wants any more. mu is held.
func (f *inflow) read(n int) {
	f.unread -= int64(n)
	f.budget.hold(-n)
	f.credit(alone)
}

// alone and along say which part of a window must have come for the peer to hear that it may send on: half of it where the update is
// all that leaves, a quarter where it goes along with other frames.
const (
	alone = 2
	along = 4
)

// credit lets the peer send on where so much of the window has come. What was received counts as soon as it is here, and not when
// it is read: readers that do not keep up are held back by the windows of their streams, and must not hold back the
// other streams of the connection. mu is held.
func (f *inflow) credit(part int64) {
	size := f.window.size
	target := size
	if f.unread > f.most-size || !f.budget.plenty() {
		least := int64(startWindow / 2)
		if f.budget.short() {
			least = 0 // until Run has made room
		}
		target = max(size-f.unread, least)
	}
	n := target - f.left
	if n <= 0 || n < target/part || f.out.dead {
		return
	}
	if f.unread < size {
		f.window.quicken(n, f.budget, f.most)
		if target == size {
			n += f.window.size - size
		}
	}
	out := f.out.control()
	out.b = appendWindowUpdate(out.b, 0, uint32(n))
	f.left += n
}

// forStream bounds the windows of streams: one alone does not run into the window of its connection, of which at least half is
// always the peer's. Where it did, and again and again, a Tomcat would now and then take that for a client that is gone: a thread
// of its own that is woken for a window that it has used up already ends the connection. mu is held.
func (f *inflow) forStream() int64 { return max(f.window.size/2, startWindow) }

// giveBack returns n bytes of the stream's receive window. mu is held.
func (s *stream) giveBack(n int) {
	s.recvCredit += int64(n)
	s.credit(alone)
}

// credit is inflow.credit for the window of the stream. mu is held.
func (s *stream) credit(part int64) {
	size := s.window.size
	if s.recvCredit < size/part || s.recvEnd || s.closed {
		return
	}
	c := s.c
	s.window.quicken(s.recvCredit, nil, min(int64(c.opts.StreamWindow), c.inflow.forStream()))
	n64 := s.recvCredit + s.window.size - size
	out := c.out.control()
	out.b = appendWindowUpdate(out.b, s.id, uint32(n64))
	s.recvWindow += n64
	s.recvCredit = 0
}
