package lb

import (
	"math/rand/v2"
	"slices"
	"sort"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Picker chooses among a fixed set of endpoints with one algorithm.
type Picker struct {
	kind model.LBKind
	// candidates are the healthy endpoints, or, where there is none, the draining ones: a call to a pod that is
	// about to go is better than no call.
	candidates []*Endpoint
	all        []*Endpoint
	// cumulative holds running weights; nil where all weigh the same.
	cumulative []uint64
	// schedule is the weighted round-robin order as indices into candidates; nil where all weigh the same.
	schedule []uint16
	next     atomic.Uint64
}

// NewPicker builds a picker. LBUnset means LeastRequest. The slice must not be changed afterwards.
func NewPicker(kind model.LBKind, all []*Endpoint) *Picker {
	p := &Picker{kind: kind, all: all}
	p.candidates = withHealth(all, plan.Healthy)
	if len(p.candidates) == 0 {
		p.candidates = withHealth(all, plan.Draining)
	}
	if !sameWeights(p.candidates) {
		p.cumulative = cumulate(p.candidates)
		p.schedule = schedule(p.candidates)
	}
	// Proxies that start together must not all begin with the same endpoint.
	p.next.Store(rand.Uint64N(1 << 32)) //nolint:gosec // spreading load needs no secrecy
	return p
}

func withHealth(all []*Endpoint, want plan.Health) []*Endpoint {
	var out []*Endpoint
	for _, e := range all {
		if e.Plan.Health == want {
			out = append(out, e)
		}
	}
	return out
}

func sameWeights(es []*Endpoint) bool {
	for _, e := range es {
		if e.Plan.Weight != es[0].Plan.Weight {
			return false
		}
	}
	return true
}

func cumulate(es []*Endpoint) []uint64 {
	sums, sum := make([]uint64, len(es)), uint64(0)
	for i, e := range es {
		sum += uint64(e.Plan.Weight)
		sums[i] = sum
	}
	return sums
}

// maxSchedule bounds the memory of weighted round robin; larger weights are scaled down to it.
const maxSchedule = 1024

// schedule spreads each endpoint's turns evenly over one round: turn k of an endpoint with w turns is due at
// (2k+1)/2w of the round.
func schedule(es []*Endpoint) []uint16 {
	total := uint64(0)
	for _, e := range es {
		total += uint64(e.Plan.Weight)
	}
	type turn struct {
		at float64
		i  uint16
	}
	var turns []turn
	for i, e := range es {
		n := uint64(e.Plan.Weight)
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

// All gives every endpoint, whatever its health.
func (p *Picker) All() []*Endpoint { return p.all }

// Candidates is the number of endpoints that can be picked.
func (p *Picker) Candidates() int { return len(p.candidates) }

// tries bounds the search for an endpoint that is neither excluded nor ejected, before the rest are walked.
const tries = 3

// Pick chooses an endpoint, avoiding those in tried and those ejected while there is another. It returns nil
// only where there is no candidate at all.
func (p *Picker) Pick(tried []*Endpoint) *Endpoint {
	n := len(p.candidates)
	switch n {
	case 0:
		return nil
	case 1:
		return p.candidates[0]
	}
	for range tries {
		if e := p.choose(); usable(e, tried) {
			return e
		}
	}
	start := rand.IntN(n) //nolint:gosec // spreading load needs no secrecy
	for i := range n {
		if e := p.candidates[(start+i)%n]; usable(e, tried) {
			return e
		}
	}
	// All are ejected or tried: prefer one that was not tried, then any.
	for i := range n {
		if e := p.candidates[(start+i)%n]; !slices.Contains(tried, e) {
			return e
		}
	}
	return p.candidates[start]
}

func usable(e *Endpoint, tried []*Endpoint) bool {
	return !slices.Contains(tried, e) && !e.Ejected(time.Now)
}

// choose applies the algorithm alone.
func (p *Picker) choose() *Endpoint {
	switch p.kind {
	case model.RoundRobin:
		return p.roundRobin()
	case model.Random:
		return p.random()
	case model.LBUnset, model.LeastRequest, model.Passthrough:
		return p.leastRequest()
	}
	return p.leastRequest()
}

func (p *Picker) roundRobin() *Endpoint {
	k := p.next.Add(1)
	if p.schedule != nil {
		return p.candidates[p.schedule[k%uint64(len(p.schedule))]]
	}
	return p.candidates[k%uint64(len(p.candidates))]
}

func (p *Picker) random() *Endpoint {
	if p.cumulative == nil {
		return p.candidates[rand.IntN(len(p.candidates))] //nolint:gosec // as above
	}
	total := p.cumulative[len(p.cumulative)-1]
	if total == 0 {
		return p.candidates[0]
	}
	r := rand.Uint64N(total) //nolint:gosec // as above
	return p.candidates[sort.Search(len(p.cumulative), func(i int) bool { return p.cumulative[i] > r })]
}

// leastRequest is the power of two choices (Mitzenmacher): of two distinct endpoints, the one with fewer requests
// in flight per unit of weight.
func (p *Picker) leastRequest() *Endpoint {
	n := len(p.candidates)
	if n == 1 {
		return p.candidates[0]
	}
	if p.cumulative != nil {
		return lighter(p.random(), p.random())
	}
	i := rand.IntN(n)     //nolint:gosec // as above
	j := rand.IntN(n - 1) //nolint:gosec // as above
	if j >= i {
		j++
	}
	return lighter(p.candidates[i], p.candidates[j])
}

// lighter compares active/weight without dividing. Weights already skew the draw; the comparison counts one more
// request, the one about to be made, so that idle endpoints differ by weight too.
func lighter(a, b *Endpoint) *Endpoint {
	if (a.Active()+1)*int64(b.Plan.Weight) <= (b.Active()+1)*int64(a.Plan.Weight) {
		return a
	}
	return b
}
