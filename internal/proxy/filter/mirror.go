package filter

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
)

// Mirror sends copies of requests to where their route's mirrors say, for the share that they say, in the background.
// Only a request whose body is held can be copied: nothing is read, or kept, for a copy's sake.
type Mirror struct {
	run   func(func(context.Context))
	slots chan struct{}
	// skipped counts copies that were not made: the body was not at hand whole, or maxMirrors were under way.
	skipped atomic.Uint64
}

// maxMirrors bounds the copies under way.
const maxMirrors = 64

// NewMirror returns a filter that starts goroutines by run.
func NewMirror(run func(func(context.Context))) *Mirror {
	return &Mirror{run: run, slots: make(chan struct{}, maxMirrors)}
}

// Request implements Filter.
func (m *Mirror) Request(_ context.Context, c *Call) error {
	for i := range c.Route.Plan.Mirrors {
		if to := &c.Route.Plan.Mirrors[i]; chance(to.Percent) && !m.copy(c, int(to.Backend)) {
			m.skipped.Add(1)
		}
	}
	return nil
}

// WriteMetrics implements Counter.
func (m *Mirror) WriteMetrics(w io.Writer) error {
	const name = "fairlead_mirror_skipped_total"
	_, err := fmt.Fprintf(w, "# TYPE %s counter\n%s %d\n", name, name, m.skipped.Load())
	return err
}

// copy reports whether a copy is under way.
func (m *Mirror) copy(c *Call, backend int) bool {
	if !c.Whole {
		return false
	}
	select {
	case m.slots <- struct{}{}:
	default:
		return false
	}
	send := c.Copier.Copy(c, backend)
	if send == nil {
		<-m.slots
		return false
	}
	m.run(func(ctx context.Context) {
		defer func() { <-m.slots }()
		send(ctx)
	})
	return true
}
