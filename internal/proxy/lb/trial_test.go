package lb

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// picks counts how often the first of two endpoints is picked.
func picks(p *testPicker, first *testEndpoint) (n int) {
	for range 100 {
		if pick(p) == first {
			n++
		}
	}
	return n
}

// An endpoint that cannot be reached is tried by one call at a time, after pauses that grow.
func TestPausesGrowAndTrialsAreSingle(t *testing.T) {
	for _, kind := range []model.LBKind{model.RoundRobin, model.Random, model.LeastRequest} {
		t.Run(kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				es := endpoints(1, 1)
				dead, p := es[0], NewPicker(Options{Kind: kind}, es)
				var pauses []time.Duration
				for range 7 {
					dead.refused(time.Now())
					dead.refused(time.Now()) // another call that was under way: nothing new
					begun := time.Now()
					for dead.Ejected(time.Now) {
						if n := picks(p, dead); n != 0 {
							t.Fatalf("picked %d times while it is left alone", n)
						}
						time.Sleep(100 * time.Millisecond)
					}
					pauses = append(pauses, time.Since(begun))
					if n := picks(p, dead); n != 1 || !dead.OnTrial(time.Now) {
						t.Fatalf("picked %d times after the pause, want one trial", n)
					}
					time.Sleep(TrialTimeout / 2)
				}
				want := []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, maxPause, maxPause, maxPause}
				if !slices.Equal(pauses, want) {
					t.Errorf("pauses = %v, want %v", pauses, want)
				}
				time.Sleep(TrialTimeout)
				if n := picks(p, dead); n != 1 {
					t.Errorf("picked %d times after a trial of which nothing was heard, want 1", n)
				}
				dead.Accepted()
				if n := picks(p, dead); n < 10 || dead.OnTrial(time.Now) {
					t.Errorf("picked %d times of 100 after a success", n)
				}
				dead.refused(time.Now())
				time.Sleep(firstPause)
				if dead.Ejected(time.Now) {
					t.Error("a success must make the next pause short again")
				}
			})
		})
	}
}
