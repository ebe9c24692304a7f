package call

import (
	"runtime"
	"testing"
	"time"
	"weak"
)

// TestGuardAtRest: once a connection is over, no timer of its guard holds what it had, and the guard is as good as new.
func TestGuardAtRest(t *testing.T) {
	g := &Guard{}
	exchange := func() {
		g.enter(nil, time.Now(), time.Hour)
		g.mayRest(2 * time.Hour)
		g.leave()
	}
	exchange()
	g.Rest()
	if g.ticking || g.ticker.Stop() {
		t.Error("the ticker still runs")
	}
	exchange()
	g.enter(nil, time.Now(), time.Hour)
	if !g.ticking || !g.ticker.Stop() {
		t.Error("the ticker of a guard that is used again does not run")
	}
	g.leave()
	g.Rest()
	gone := weak.Make(g)
	g = nil
	for range 3 {
		runtime.GC()
	}
	if gone.Value() != nil {
		t.Error("something holds the guard of a connection that is over")
	}
}
