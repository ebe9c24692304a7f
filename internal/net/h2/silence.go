package h2

import (
	"sync/atomic"
	"time"
)

// silence is the early suspicion that the peer of a client does not answer, from the sending of a request until anything comes. It says that
// and no more: nothing is ended by it, which is liveness's affair. A peer whose app is slow to answer is asked by a PING, once for each request
// that is followed by nothing, so that a connection on which nothing is asked costs nothing, whatever is open.
type silence struct {
	c *conn // whose it is; fixed

	on atomic.Bool // suspected

	// Guarded by conn.mu.
	timer    *time.Timer
	due      time.Time // when it fires
	watching bool
	asked    bool   // by a PING, since mark
	mark     uint32 // liveness.received when watching began
	opened   uint32 // streams.nextID then
}

// expect begins to watch for what follows a request. mu is held.
func (q *silence) expect() {
	if q.c.opts.DoubtAfter > 0 && !q.watching && !q.on.Load() {
		q.begin()
	}
}

// begin watches for whatever comes from now on. mu is held.
func (q *silence) begin() {
	q.asked, q.mark, q.opened = false, q.c.life.received.Load(), q.c.streams.nextID
	q.wait(q.c.opts.DoubtAfter)
}

// wait has the connection looked at after d. mu is held.
func (q *silence) wait(d time.Duration) {
	q.watching, q.due = true, time.Now().Add(d)
	q.c.wg.Add(1)
	if q.timer == nil {
		q.timer = time.AfterFunc(d, q.look)
		return
	}
	q.timer.Reset(d)
}

// stop ends it. mu is held.
func (q *silence) stop() {
	if q.watching && q.timer.Stop() {
		q.watching = false
		q.c.wg.Done()
	}
}

// look is what comes of the wait.
func (q *silence) look() {
	c := q.c
	defer c.wg.Done()
	c.mu.Lock()
	begun := q.judge()
	c.mu.Unlock()
	if begun && c.opts.Doubt != nil {
		c.opts.Doubt()
	}
}

// judge takes the next step, and reports whether the peer is suspected from now on. mu is held.
func (q *silence) judge() (begun bool) {
	c := q.c
	q.watching = false
	if c.err != nil || c.out.dead {
		return false
	}
	switch heard := c.life.received.Load() != q.mark; {
	case heard && c.streams.nextID != q.opened && c.streams.n > 0: // what was sent since may be without an answer
		q.begin()
	case heard:
	case time.Since(q.due) > c.opts.DoubtAfter/2:
		// Nobody looked in time, and so perhaps nobody read: the fault is on this side.
		q.wait(c.opts.DoubtAfter)
	case !q.asked:
		q.asked = true
		c.life.appendPing()
		c.out.kick()
		q.wait(c.opts.DoubtTimeout)
	default:
		q.on.Store(true)
		// What was read before the line above was not seen to end anything.
		return c.life.received.Load() == q.mark || !q.on.CompareAndSwap(true, false)
	}
	return false
}

// heard ends the suspicion. The reading goroutine calls it after it has counted what came.
func (q *silence) heard() {
	if q.on.Load() && q.on.CompareAndSwap(true, false) && q.c.opts.Doubt != nil {
		q.c.opts.Doubt()
	}
}
