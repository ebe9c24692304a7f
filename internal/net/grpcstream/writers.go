package grpcstream

import (
	"runtime"
	"sync"
	"time"
)

// Stream is what Writers write to.
type Stream interface {
	// Turn sends something, and reports whether the stream is to be queued again.
	Turn() (again bool)
}

// Writers are the goroutines that write to streams which have something to send: as many as there are processors, and more where
// clients do not take what is written. A stream that has nothing to send has none, so an event wakes a few goroutines and not one for
// each client, and a client that is quiet costs no stack. They are safe for concurrent use. The zero value is ready.
type Writers struct {
	begin func() // work, in a form that costs no memory to start

	mu       sync.Mutex
	queue    []Stream // guarded by mu, as everything below; those before head are taken
	head     int
	running  int         // goroutines
	watch    *time.Timer // looks whether the queue moves, where watching
	watching bool
	taken    int // streams taken from the queue since the last look
	fresh    int // goroutines started since then: each takes one at once
}

// Stuck is the time after which a queue that does not move gets more goroutines. Those that are there wait for clients then:
// each may do so for as long as its Patience.
const Stuck = 2 * time.Millisecond

// keepQueue is the length of a queue whose memory is kept for the next event.
const keepQueue = 4096

// Add queues a stream, which is not there yet.
func (w *Writers) Add(st Stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.head > 0 && len(w.queue) == cap(w.queue) {
		w.queue = w.queue[:copy(w.queue, w.queue[w.head:])]
		w.head = 0
	}
	w.queue = append(w.queue, st)
	if w.running < runtime.GOMAXPROCS(0) {
		w.start()
		return
	}
	if w.watching {
		return
	}
	w.watching, w.taken, w.fresh = true, 0, 0
	if w.watch == nil {
		w.watch = time.AfterFunc(Stuck, w.look)
	} else {
		w.watch.Reset(Stuck)
	}
}

// queued is how many streams wait. mu is held.
func (w *Writers) queued() int { return len(w.queue) - w.head }

// start starts a goroutine. mu is held.
func (w *Writers) start() {
	if w.begin == nil {
		w.begin = w.work
	}
	w.running++
	w.fresh++
	go w.begin()
}

// look gives a queue that has not moved twice as many goroutines, so that however many clients are stuck, the others wait for a few
// times Stuck.
func (w *Writers) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watching = w.queued() > 0; !w.watching {
		return
	}
	stuck := w.taken <= w.fresh
	w.taken, w.fresh = 0, 0
	for range min(w.running, w.queued()) {
		if stuck {
			w.start()
		}
	}
	w.watch.Reset(Stuck)
}

// next takes a stream from the queue; nil where there is none, and the goroutine ends.
func (w *Writers) next() Stream {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.queued() == 0 {
		w.running--
		if w.queue, w.head = w.queue[:0], 0; cap(w.queue) > keepQueue {
			w.queue = nil
		}
		return nil
	}
	st := w.queue[w.head]
	w.queue[w.head] = nil
	w.head++
	w.taken++
	return st
}

// work writes to streams until none has anything to send. A stream that has more behind its turn queues again, behind the others.
func (w *Writers) work() {
	for st := w.next(); st != nil; st = w.next() {
		if st.Turn() {
			w.Add(st)
		}
	}
}
