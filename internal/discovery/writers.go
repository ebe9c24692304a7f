package discovery

import (
	"runtime"
	"sync"
	"time"
)

// writers are the goroutines that write to streams which have something to send: as many as there are processors, and more where
// clients do not take what is written. A stream that has nothing to send has none, so an event wakes a few goroutines and not one for
// each client, and a client that is quiet costs no stack. It is safe for concurrent use.
type writers struct {
	begin func() // work, in a form that costs no memory to start

	mu         sync.Mutex
	head, tail *stream // the queue, linked by stream.next; guarded by mu, as everything below
	queued     int
	running    int         // goroutines
	watch      *time.Timer // looks whether the queue moves, where watching
	watching   bool
	taken      int // streams taken from the queue since the last look
	fresh      int // goroutines started since then: each takes one at once
}

// writerStuck is the time after which a queue that does not move gets more goroutines. Those that are there wait for clients then:
// each may do so for as long as ServerOptions.WriteTimeout.
const writerStuck = 2 * time.Millisecond

// add queues a stream, which is not there yet.
func (w *writers) add(st *stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.head == nil {
		w.head = st
	} else {
		w.tail.next = st
	}
	w.tail = st
	w.queued++
	if w.running < runtime.GOMAXPROCS(0) {
		w.start()
		return
	}
	if w.watching {
		return
	}
	w.watching, w.taken, w.fresh = true, 0, 0
	if w.watch == nil {
		w.watch = time.AfterFunc(writerStuck, w.look)
	} else {
		w.watch.Reset(writerStuck)
	}
}

// start starts a goroutine. mu is held.
func (w *writers) start() {
	if w.begin == nil {
		w.begin = w.work
	}
	w.running++
	w.fresh++
	go w.begin()
}

// look gives a queue that has not moved twice as many goroutines, so that however many clients are stuck, the others wait for a few
// times writerStuck.
func (w *writers) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watching = w.queued > 0; !w.watching {
		return
	}
	stuck := w.taken <= w.fresh
	w.taken, w.fresh = 0, 0
	for range min(w.running, w.queued) {
		if stuck {
			w.start()
		}
	}
	w.watch.Reset(writerStuck)
}

// next takes a stream from the queue; nil where there is none, and the goroutine ends.
func (w *writers) next() *stream {
	w.mu.Lock()
	defer w.mu.Unlock()
	st := w.head
	if st == nil {
		w.running--
		return nil
	}
	w.head, st.next = st.next, nil
	w.queued--
	w.taken++
	return st
}

// work writes to streams until none has anything to send. A stream that has more behind its turn queues again, behind the others.
func (w *writers) work() {
	for st := w.next(); st != nil; st = w.next() {
		if st.turn() {
			w.add(st)
		}
	}
}
