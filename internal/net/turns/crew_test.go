package turns

import (
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// taker is what a function does.
type taker func() (again bool)

func (t *taker) Turn() bool { return (*t)() }

func take(f taker) *taker { return new(f) }

// TestCrewOfTheStuck: however many turns wait for clients that do not go on, others have theirs soon.
func TestCrewOfTheStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Crew
		release := make(chan struct{})
		for range 500 {
			c.Add(take(func() bool { <-release; return false }))
		}
		began, done := time.Now(), make(chan time.Time, 1)
		c.Add(take(func() bool { done <- time.Now(); return false }))
		if took := (<-done).Sub(began); took > 12*Stuck {
			t.Errorf("it had its turn after %s, want at most %s", took, 12*Stuck)
		}
		close(release)
		synctest.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.running != 0 || c.queued() != 0 {
			t.Errorf("%d goroutines are left, %d wait", c.running, c.queued())
		}
	})
}

// TestCrewTakesTurns: who has more to do comes behind the others.
func TestCrewTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Crew
		const n = 50
		goroutines := runtime.GOMAXPROCS(0)
		begin := make(chan struct{})
		for range goroutines {
			c.Add(take(func() bool { <-begin; return false }))
		}
		var others, before atomic.Int64
		turns := 0
		c.Add(take(func() bool {
			turns++
			if turns == 2 {
				before.Store(others.Load())
			}
			return turns < 5
		}))
		for range n {
			c.Add(take(func() bool { others.Add(1); return false }))
		}
		close(begin)
		synctest.Wait()
		// Other goroutines may have taken one each, and not begun.
		if others.Load() != n || before.Load() < int64(n-goroutines) || turns != 5 {
			t.Errorf("%d of %d others had a turn, %d of them before the second one of who had five: %d", others.Load(), n, before.Load(), turns)
		}
	})
}
