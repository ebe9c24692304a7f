package lb

import (
	"math/rand/v2"
	"sort"
	"sync/atomic"

	"fairlead.dev/fairlead/internal/model"
)

// roundRobin gives the candidates turns, as many as they weigh.
type roundRobin struct {
	anywhere
	// schedule is the order of one round as indices; nil where all weigh the same.
	schedule []uint16
	next     atomic.Uint64
	warm     *warmUp
}

func roundRobinOf(rule *model.WarmUp) func([]*Host) policy {
	return func(candidates []*Host) policy { return newRoundRobin(rule, candidates) }
}

func newRoundRobin(rule *model.WarmUp, candidates []*Host) *roundRobin {
	r := &roundRobin{anywhere: anywhere(len(candidates)), warm: newWarmUp(rule, candidates)}
	if !sameWeights(candidates) {
		r.schedule = schedule(candidates)
	}
	// Proxies that start together must not all begin with the same endpoint.
	r.next.Store(rand.Uint64N(1 << 32)) //nolint:gosec // spreading load needs no secrecy
	return r
}

// choose passes over the turns of candidates that are not warm, as many as it takes.
func (r *roundRobin) choose(info *Info, _ int) int {
	i := r.turn()
	if r.warm.goes(info) {
		for n := 1; n < drawsOf && !r.warm.takes(i, info.time()); n++ {
			i = r.turn()
		}
	}
	return i
}

func (r *roundRobin) turn() int {
	k := r.next.Add(1)
	if r.schedule != nil {
		return int(r.schedule[k%uint64(len(r.schedule))])
	}
	return int(k % uint64(r.anywhere))
}

// maxSchedule bounds the memory of weighted round robin; larger weights are scaled down to it.
const maxSchedule = 1024

// schedule spreads each endpoint's turns evenly over one round: turn k of an endpoint with w turns is due at
// (2k+1)/2w of the round.
func schedule(hosts []*Host) []uint16 {
	total := uint64(0)
	for _, h := range hosts {
		total += uint64(h.Plan.Weight)
	}
	type turn struct {
		at float64
		i  uint16
	}
	var turns []turn
	for i, h := range hosts {
		n := uint64(h.Plan.Weight)
		if total > maxSchedule {
			n = max(n*maxSchedule/total, min(n, 1))
		}
		for k := range n {
			turns = append(turns, turn{(2*float64(k) + 1) / (2 * float64(n)), uint16(i)})
		}
	}
	sort.SliceStable(turns, func(a, b int) bool { return turns[a].at < turns[b].at })
	out := make([]uint16, len(turns))
	for i, t := range turns {
		out[i] = t.i
	}
	return out
}
