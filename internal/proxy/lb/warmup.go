package lb

import (
	"math"
	"math/rand/v2"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// warmUp holds candidates back that have become ready of late (Envoy's "slow start"). It is nil where nothing asks for it.
type warmUp struct {
	rule   model.WarmUp
	since  []int64 // when each candidate became ready, in Unix nanoseconds
	oldest int64
	over   int64 // when the last one is warm
}

func newWarmUp(rule *model.WarmUp, candidates []*Host) *warmUp {
	if rule == nil || rule.Duration <= 0 {
		return nil
	}
	w := &warmUp{rule: *rule, since: make([]int64, len(candidates)), oldest: math.MaxInt64}
	for i, h := range candidates {
		w.since[i] = h.ready.Load()
		w.oldest = min(w.oldest, w.since[i])
		w.over = max(w.over, w.since[i]+int64(rule.Duration))
	}
	return w
}

// goes reports whether a candidate is still to be held back.
func (w *warmUp) goes(info *Info) bool { return w != nil && info.time().UnixNano() < w.over }

// share is the part of its weight that a candidate has, of 1 for the one that is ready the longest: where all are new, none
// is held back.
func (w *warmUp) share(i int, now time.Time) float64 {
	at := now.UnixNano()
	return warmth(&w.rule, time.Duration(at-w.since[i])) / warmth(&w.rule, time.Duration(at-w.oldest))
}

// takes reports whether a candidate that was drawn by its weight is to be taken, so often that it has its share.
func (w *warmUp) takes(i int, now time.Time) bool {
	share := w.share(i, now)
	return share >= 1 || rand.Float64() < share //nolint:gosec // spreading load needs no secrecy
}

// drawsOf is how often a draw is repeated at most for a candidate that is to be taken.
const drawsOf = 64

// warmth is the part of its weight that an endpoint has which is ready for a while: Envoy's formula.
func warmth(rule *model.WarmUp, age time.Duration) float64 {
	if age >= rule.Duration {
		return 1
	}
	part := float64(max(age, time.Millisecond)) / float64(rule.Duration)
	if rule.Aggression > 0 && rule.Aggression != 1 {
		part = math.Pow(part, 1/rule.Aggression)
	}
	return min(max(part, rule.MinimumPercent/100), 1)
}

// becameReady notes when the endpoint began to be called healthy by discovery. It begins anew where it was not in between.
func (h *Host) becameReady(now time.Time) { h.ready.Store(now.UnixNano()) }

// Warmth is the percentage of its weight that the endpoint has under a rule.
func (h *Host) Warmth(rule *model.WarmUp, now time.Time) float64 {
	if rule == nil || rule.Duration <= 0 {
		return 100
	}
	return 100 * warmth(rule, time.Duration(now.UnixNano()-h.ready.Load()))
}
