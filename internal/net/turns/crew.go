package turns

import (
	"runtime"
	"sync"
	"time"
)

// Taker is what a Crew gives turns to.
type Taker interface {
	// Turn does some of the work, and reports whether another turn is to follow.
	Turn() (again bool)
}

// Crew are the goroutines that give turns: as many as there are processors, and more where turns wait for clients. Who has no work has
// none, so an event wakes a few goroutines and not one for each client, and a client that is quiet costs no stack. It is safe for
// concurrent use. The zero value is ready.
type Crew struct {
	begin func() // work, in a form that costs no memory to start

	mu       sync.Mutex
	queue    []Taker // guarded by mu, as everything below; those before head are taken
	head     int
	running  int         // goroutines
	watch    *time.Timer // looks whether the queue moves, where watching
	watching bool
	taken    int // takers taken from the queue since the last look
	fresh    int // goroutines started since then: each takes one at once
}

// Stuck is the time after which a queue that does not move gets more goroutines. Those that are there wait for clients then: each for as
// long as its taker lets it.
const Stuck = 2 * time.Millisecond

// keepQueue is the length of a queue whose memory is kept for the next event.
const keepQueue = 4096

// Add queues a taker, which is not there yet.
func (c *Crew) Add(t Taker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.head > 0 && len(c.queue) == cap(c.queue) {
		c.queue = c.queue[:copy(c.queue, c.queue[c.head:])]
		c.head = 0
	}
	c.queue = append(c.queue, t)
	if c.running < runtime.GOMAXPROCS(0) {
		c.start()
		return
	}
	if c.watching {
		return
	}
	c.watching, c.taken, c.fresh = true, 0, 0
	if c.watch == nil {
		c.watch = time.AfterFunc(Stuck, c.look)
	} else {
		c.watch.Reset(Stuck)
	}
}

// queued is how many takers wait. mu is held.
func (c *Crew) queued() int { return len(c.queue) - c.head }

// start starts a goroutine. mu is held.
func (c *Crew) start() {
	if c.begin == nil {
		c.begin = c.work
	}
	c.running++
	c.fresh++
	go c.begin()
}

// look gives a queue that has not moved twice as many goroutines, so that however many clients are stuck, the others wait for a few
// times Stuck.
func (c *Crew) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watching = c.queued() > 0; !c.watching {
		return
	}
	stuck := c.taken <= c.fresh
	c.taken, c.fresh = 0, 0
	for range min(c.running, c.queued()) {
		if stuck {
			c.start()
		}
	}
	c.watch.Reset(Stuck)
}

// next takes a taker from the queue; nil where there is none, and the goroutine ends.
func (c *Crew) next() Taker {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.queued() == 0 {
		c.running--
		if c.queue, c.head = c.queue[:0], 0; cap(c.queue) > keepQueue {
			c.queue = nil
		}
		return nil
	}
	t := c.queue[c.head]
	c.queue[c.head] = nil
	c.head++
	c.taken++
	return t
}

// work gives turns until nobody waits for one. Who has more to do behind a turn queues again, behind the others.
func (c *Crew) work() {
	for t := c.next(); t != nil; t = c.next() {
		if t.Turn() {
			c.Add(t)
		}
	}
}
