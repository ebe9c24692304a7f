package probers

import (
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// tally is what the probers of an endpoint say: of the live ones, which are those that have said something of late or were
// told to check just now.
type tally struct{ live, failing, passing int }

// next says whether an endpoint is down, from whether it was. It takes more than half of the live probers to take it away.
// What takes it back is that no more say that it fails than say that it works, so that a prober that takes over from another,
// and has found nothing yet, does not bring back what hangs, and one that goes on to say that it fails cannot keep it.
func (t tally) next(down bool) bool {
	switch {
	case !down:
		return 2*t.failing > t.live
	case t.failing+t.passing == 0:
		return true
	}
	return t.failing > t.passing
}

// counts reports whether a prober is live for an endpoint.
func (s *sidecar) counts(e *endpoint, now time.Time) bool {
	return now.Sub(later(s.probes[e.Target], s.results[e.Target].checked)) <= max(patience, 3*e.How.Interval)
}

// judge finds out whether an endpoint is down, and reports whether that turns.
func (b *Book) judge(e *endpoint, now time.Time) (turned bool) {
	var t tally
	found := model.EndpointHealth{Target: e.Target}
	for _, s := range e.probers {
		if b.sidecars[s.Pod] != s || !s.counts(e, now) {
			continue
		}
		t.live++
		r, known := s.results[e.Target]
		switch {
		case !known:
		case !r.Failing:
			t.passing++
		default:
			t.failing++
			if found.Why == "" {
				found.Why = r.Why
			}
			found.Since = later(found.Since, r.Since)
		}
	}
	found.Failing = t.next(e.found.Failing)
	if e.found.Failing && t.failing+t.passing == 0 {
		if e.lost.IsZero() {
			e.lost = now
		}
		found.Failing = now.Sub(e.lost) < forgetAfter
	} else {
		e.lost = time.Time{}
	}
	if found.Failing == e.found.Failing {
		return false
	}
	if found.Since.After(now) {
		found.Since = now
	}
	if !found.Failing {
		found.Why, found.Since = "", now
	}
	e.found = found
	return true
}
