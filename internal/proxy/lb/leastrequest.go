package lb

import (
	"math/rand/v2"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// leastRequest is the power of two choices (Mitzenmacher): of two distinct candidates, the one with fewer requests in
// flight. Where they differ by weight, or by how warm they are, a candidate is drawn in proportion to weight/(requests in
// flight + 1), which is what Envoy schedules by: exactly among a few candidates, and else of two drawn by weight.
type leastRequest struct {
	random
	loads []load
	warm  *warmUp
}

// load is what is compared of a candidate, close together: of many endpoints, those drawn are in no cache.
type load struct {
	*seen
	weight float64
}

// exactly is up to how many candidates are all looked at.
const exactly = 16

func leastRequestOf(rule *model.WarmUp) func([]*Host) policy {
	return func(candidates []*Host) policy {
		l := &leastRequest{random: drawOf(candidates), warm: newWarmUp(rule, candidates), loads: make([]load, len(candidates))}
		each, _ := weights(candidates)
		for i, h := range candidates {
			l.loads[i] = load{h.seen, each[i]}
		}
		return l
	}
}

func (l *leastRequest) choose(info *Info, try int) int {
	warming := l.warm.goes(info)
	switch {
	case len(l.loads) == 1:
		return 0
	case l.cumulative == nil && !warming:
		i, j := l.two(info, try)
		if l.loads[j].active.Load() < l.loads[i].active.Load() {
			return j
		}
		return i
	}
	warm := l.warm
	if !warming {
		warm = nil
	}
	if len(l.loads) <= exactly {
		return l.among(warm, info.time())
	}
	i, j := l.draw(warm, info), l.draw(warm, info)
	a, b := l.loads[i].active.Load()+1, l.loads[j].active.Load()+1
	if a+b > 0 && rand.Int64N(a+b) < a { //nolint:gosec // spreading load needs no secrecy
		return j
	}
	return i
}

// among draws one of a few candidates by what Envoy schedules by. warm is nil where all are.
func (l *leastRequest) among(warm *warmUp, now time.Time) int {
	var sums [exactly]float64
	sum := 0.0
	for i := range l.loads {
		e := l.loads[i].weight / float64(max(l.loads[i].active.Load(), 0)+1)
		if warm != nil {
			e *= warm.share(i, now)
		}
		sum += e
		sums[i] = sum
	}
	at := rand.Float64() * sum //nolint:gosec // as above
	for i := range l.loads {
		if at < sums[i] {
			return i
		}
	}
	return len(l.loads) - 1
}

// draw draws by weight and warmth.
func (l *leastRequest) draw(warm *warmUp, info *Info) (i int) {
	for range drawsOf {
		if i = l.random.choose(info, 0); warm == nil || warm.takes(i, info.time()) {
			break
		}
	}
	return i
}
