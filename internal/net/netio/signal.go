package netio

import (
	"context"
	"sync"
)

// Signal is something that happens at most once and that many connections have to hear of. One that waits costs no goroutine.
// Everything may be called from any goroutine.
type Signal struct {
	happened context.Context //nolint:containedctx // it is the register of those who wait
	happen   context.CancelFunc
}

// NewSignal makes a signal that has not been given.
func NewSignal() *Signal {
	s := new(Signal)
	s.happened, s.happen = context.WithCancel(context.Background()) //nolint:forbidigo // nothing runs in it: it is a register
	return s
}

// Give gives the signal. Only the first call does anything.
func (s *Signal) Give() { s.happen() }

// Given is closed when the signal is given. It is nil for no signal.
func (s *Signal) Given() <-chan struct{} {
	if s == nil {
		return nil
	}
	return s.happened.Done()
}

// IsGiven reports whether the signal was given.
func (s *Signal) IsGiven() bool { return s != nil && s.happened.Err() != nil }

// Then calls do, in a goroutine of its own, once the signal is given. The returned function takes that back, or ends the context
// of do, which is one of ctx, and waits for it.
func (s *Signal) Then(ctx context.Context, do func(context.Context)) (stop func()) {
	if s == nil {
		return func() {}
	}
	h := &hearer{ctx: ctx, do: do}
	unregister := context.AfterFunc(s.happened, h.run)
	return func() {
		if !unregister() {
			h.stop()
		}
	}
}

// hearer is what follows a signal.
type hearer struct {
	ctx context.Context //nolint:containedctx // until do begins
	do  func(context.Context)

	mu      sync.Mutex
	stopped bool               // guarded by mu, as the next two
	cancel  context.CancelFunc // nil before do begins
	done    chan struct{}
}

func (h *hearer) run() {
	h.mu.Lock()
	if h.stopped {
		h.mu.Unlock()
		return
	}
	ctx, cancel := context.WithCancel(h.ctx)
	h.cancel, h.done = cancel, make(chan struct{})
	h.mu.Unlock()
	defer cancel()
	defer close(h.done)
	h.do(ctx)
}

func (h *hearer) stop() {
	h.mu.Lock()
	h.stopped = true
	cancel, done := h.cancel, h.done
	h.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
}
