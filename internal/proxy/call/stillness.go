package call

import (
	"errors"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// stillness ends exchanges of which no byte moves, in either direction, until they have become tunnels. It is the part of a guard that has a timer for
// itself, which goes on as long as exchanges come, a few ticks per limit: a request costs none of its own.
type stillness struct {
	moved atomic.Uint32 // counts what moves

	// Guarded by guard.mu.
	down    httpx.ServerExchange // of the exchange at hand, nil for none
	every   time.Duration        // between two ticks, 0 for no limit
	ticker  *time.Timer
	ticking bool
	begun   uint32    // counts exchanges
	seen    [2]uint32 // begun and moved at the tick before
	ticks   int       // since something moved
}

// stillTicks are as many as there are in the limit.
const stillTicks = 4

// errStreamIdle is what an exchange ends with that stands still.
var errStreamIdle = &httpx.Error{Reason: httpx.StreamIdle}

// enter begins to watch the exchange with a client, whose request came at since, until leave is called; 0 is no limit of how long it
// may stand still.
func (g *Guard) enter(down httpx.ServerExchange, since time.Time, limit time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at, g.limits, g.relaxed = progress{begun: since}, timeouts{}, false
	g.down, g.every = down, limit/stillTicks
	g.begun++
	if g.every <= 0 || g.ticking {
		return
	}
	g.ticking = true
	if g.ticker == nil {
		g.ticker = time.AfterFunc(g.every, g.tick)
		return
	}
	g.ticker.Reset(g.every)
}

// mayRest changes how long the exchange at hand may stand still. It counts from now on.
func (g *Guard) mayRest(limit time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.down == nil {
		return
	}
	g.every, g.ticks, g.ticking = max(limit/stillTicks, 1), 0, true
	g.seen = [2]uint32{g.begun, g.moved.Load()}
	if g.ticker == nil {
		g.ticker = time.AfterFunc(g.every, g.tick)
		return
	}
	g.ticker.Reset(g.every)
}

func (g *Guard) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.down = nil
}

// tick looks whether anything has moved. What stands still for too long is ended from its upstream's side first, or, where it has
// none yet, by giving up the rest of the request, so that
// it can be answered if it was not, and a tick later, where that has moved nothing, from the client's.
func (g *Guard) tick() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.down == nil || g.every <= 0 || g.relaxed {
		g.ticking = false
		return
	}
	if now := [2]uint32{g.begun, g.moved.Load()}; now != g.seen {
		g.seen, g.ticks = now, 0
	}
	g.ticks++
	switch {
	case g.ticks <= stillTicks:
	case g.ticks == stillTicks+1 && g.target != nil:
		g.target.Abort(errStreamIdle)
	case g.ticks == stillTicks+1:
		stopReading(g.down) // the request is not even begun upstream
	default:
		g.down.Abort(errStreamIdle)
	}
	g.ticker.Reset(g.every)
}

// stopReading gives up what a client still owes of its request, so that it can be answered.
func stopReading(down httpx.ServerExchange) {
	if s, ok := down.(httpx.Stoppable); ok {
		s.StopReading(errStreamIdle)
		return
	}
	down.Abort(errStreamIdle)
}

// stoodStill gives the answer to a request that ended for this reason, Envoy's: whose turn it was decides. nil is for any
// other reason.
func (f *forwarder) stoodStill(err error) error {
	if !errors.Is(err, errStreamIdle) {
		return nil
	}
	e := *errStreamIdle
	if f.heldAll || f.upload.done != nil && !f.upload.running() {
		e.Status = 504
	}
	return &e
}
