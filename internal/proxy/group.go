package proxy

import (
	"context"
	"sync"
)

// group joins goroutines that run until a context ends.
type group struct {
	ctx  context.Context //nolint:containedctx // the lifetime of the goroutines, not of a call
	wg   sync.WaitGroup
	once sync.Once
	bad  chan struct{}

	mu  sync.Mutex
	err error
}

// run starts f.
func (g *group) run(f func(context.Context)) {
	g.wg.Go(func() { f(g.ctx) })
}

// check starts f, whose error ends the whole proxy.
func (g *group) check(f func(context.Context) error) {
	failed := g.failed()
	g.wg.Go(func() {
		err := f(g.ctx)
		if err == nil || g.ctx.Err() != nil {
			return
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.err == nil {
			g.err = err
			close(failed)
		}
	})
}

func (g *group) failed() chan struct{} {
	g.once.Do(func() { g.bad = make(chan struct{}) })
	return g.bad
}

func (g *group) wait() error {
	g.wg.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}
