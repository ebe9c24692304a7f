package xds

import (
	"sync"

	"fairlead.dev/fairlead/internal/net/turns"
)

// turn is who works on a stream: the goroutine that reads, with a request, or one of the server's writers, because something has changed.
// It is safe for concurrent use.
type turn struct {
	writers *turns.Crew  // fixed, as the next two
	work    func() error // what a writer does
	failed  func(error)  // is told that it could not, once

	mu      sync.Mutex
	taken   bool // somebody has it, or it is queued for the writers; guarded by mu, as everything below
	wanted  bool // the reading goroutine waits for it, and is next
	stirred bool // there is something that no turn has looked at
	ended   bool // nothing more is to be sent
	failure error
	free    sync.Cond // it was given back
}

func (t *turn) init(w *turns.Crew, work func() error, failed func(error)) {
	t.writers, t.work, t.failed, t.free.L = w, work, failed, &t.mu
}

// poke has a writer take a turn. It never blocks.
func (t *turn) poke() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stirred = true
	if !t.taken && !t.wanted && !t.ended {
		t.taken = true
		t.writers.Add(t)
	}
}

// enter takes the turn for the goroutine that reads.
func (t *turn) enter() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wanted = true
	for t.taken {
		t.free.Wait()
	}
	t.wanted, t.taken, t.stirred = false, true, false
}

// leave gives it back: to a writer, where there is something that was not looked at.
func (t *turn) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stirred && !t.ended {
		t.writers.Add(t)
		return
	}
	t.taken = false
	t.free.Broadcast()
}

// Turn implements turns.Taker. Where the client does not take what it is sent there is no other one. A request comes before another
// turn of a writer, so that a client is heard however often something changes.
func (t *turn) Turn() (again bool) {
	err := t.begin()
	if err != nil {
		t.failed(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.ended, t.failure = true, err
	}
	if t.stirred && !t.ended && !t.wanted {
		return true
	}
	t.taken = false
	t.free.Broadcast()
	return false
}

func (t *turn) begin() error {
	t.mu.Lock()
	ended := t.ended
	t.stirred = false
	t.mu.Unlock()
	if ended {
		return nil
	}
	return t.work()
}

// end has nothing more sent, but for what is being sent.
func (t *turn) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
}

// join returns when nobody has the turn any more: with the reason, where sending has failed. end comes before.
func (t *turn) join() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.taken {
		t.free.Wait()
	}
	return t.failure
}
