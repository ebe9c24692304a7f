package lb

import (
	"math/rand/v2"
	"net/netip"
	"sort"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// Options says how a picker chooses.
type Options struct {
	// Kind is the algorithm; LBUnset means LeastRequest. It says nothing where Client is valid.
	Kind model.LBKind
	// Proximity limits the endpoints to those near Here, or prefers them.
	Proximity model.Proximity
	Here      Place
	// Client is the caller's address where all its calls belong to one endpoint. Where it is valid, Before is the picker
	// that is replaced, or nil: what the client has been using it goes on using.
	Client netip.Addr
	Before *Picker
}

// Picker chooses among a fixed set of endpoints with one algorithm.
type Picker struct {
	kind   model.LBKind
	sticky bool
	here   Place
	tiers  []*tier
	all    []*Endpoint
}

// tier is a set of endpoints that are as good as each other. Endpoints of the next tier are picked where none of this
// one can be; they include these.
type tier struct {
	candidates []*Endpoint
	// cumulative holds running weights; nil where all weigh the same.
	cumulative []uint64
	// schedule is the weighted round-robin order as indices into candidates; nil where all weigh the same.
	schedule []uint16
	next     atomic.Uint64
}

// NewPicker builds a picker. The slice must not be changed afterwards.
func NewPicker(o Options, all []*Endpoint) *Picker {
	p := &Picker{kind: o.Kind, sticky: o.Client.IsValid(), here: o.Here, all: all}
	for _, candidates := range levels(o, all) {
		if p.sticky {
			rank(candidates, o.Client, o.Before.first())
		}
		p.tiers = append(p.tiers, newTier(candidates))
	}
	return p
}

func newTier(candidates []*Endpoint) *tier {
	t := &tier{candidates: candidates}
	if !sameWeights(candidates) {
		t.cumulative = cumulate(candidates)
		t.schedule = schedule(candidates)
	}
	// Proxies that start together must not all begin with the same endpoint.
	t.next.Store(rand.Uint64N(1 << 32)) //nolint:gosec // spreading load needs no secrecy
	return t
}

// first gives the endpoint that a client's calls belong to, nil where there is none.
func (p *Picker) first() *Endpoint {
	if p == nil || !p.sticky || len(p.tiers) == 0 {
		return nil
	}
	return p.tiers[0].candidates[0]
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

// Here is where the caller was said to be.
func (p *Picker) Here() Place { return p.here }

// tries bounds the search for an endpoint that is neither excluded nor ejected, before the rest are walked.
const tries = 3

// Pick chooses an endpoint, avoiding those in tried and those ejected while there is another: first a farther one, then
// one that is ejected. It returns nil only where there is no candidate at all.
func (p *Picker) Pick(tried []*Endpoint) *Endpoint {
	for _, t := range p.tiers {
		if e := p.pickFrom(t, tried); e != nil {
			return e
		}
	}
	for _, t := range p.tiers {
		if e := p.untried(t, tried); e != nil {
			return e
		}
	}
	if len(p.tiers) == 0 {
		return nil
	}
	return p.tiers[0].candidates[p.start(p.tiers[0])]
}

// pickFrom gives an endpoint that can be called, nil where all are ejected or tried.
func (p *Picker) pickFrom(t *tier, tried []*Endpoint) *Endpoint {
	n := len(t.candidates)
	if !p.sticky && n > 1 {
		for range tries {
			if e := p.choose(t); usable(e, tried) {
				return e
			}
		}
	}
	start := p.start(t)
	for i := range n {
		if e := t.candidates[(start+i)%n]; usable(e, tried) {
			return e
		}
	}
	return nil
}

// start is where a walk over all candidates begins: a client that belongs to an endpoint takes them in its own order.
func (p *Picker) start(t *tier) int {
	if p.sticky {
		return 0
	}
	return rand.IntN(len(t.candidates)) //nolint:gosec // spreading load needs no secrecy
}

// untried gives an endpoint that is ejected, but was not tried.
func (p *Picker) untried(t *tier, tried []*Endpoint) *Endpoint {
	n, start := len(t.candidates), p.start(t)
	for i := range n {
		if e := t.candidates[(start+i)%n]; !e.Among(tried) {
			return e
		}
	}
	return nil
}

// usable reports whether e can be picked, and takes its trial where it is due: an endpoint found usable must be used.
func usable(e *Endpoint, tried []*Endpoint) bool {
	return !e.Among(tried) && e.take(time.Now)
}

// choose applies the algorithm alone.
func (p *Picker) choose(t *tier) *Endpoint {
	switch p.kind {
	case model.RoundRobin:
		return t.roundRobin()
	case model.Random:
		return t.random()
	case model.LBUnset, model.LeastRequest, model.Passthrough:
		return t.leastRequest()
	}
	return t.leastRequest()
}

func (t *tier) roundRobin() *Endpoint {
	k := t.next.Add(1)
	if t.schedule != nil {
		return t.candidates[t.schedule[k%uint64(len(t.schedule))]]
	}
	return t.candidates[k%uint64(len(t.candidates))]
}

func (t *tier) random() *Endpoint {
	if t.cumulative == nil {
		return t.candidates[rand.IntN(len(t.candidates))] //nolint:gosec // as above
	}
	total := t.cumulative[len(t.cumulative)-1]
	if total == 0 {
		return t.candidates[0]
	}
	r := rand.Uint64N(total) //nolint:gosec // as above
	return t.candidates[sort.Search(len(t.cumulative), func(i int) bool { return t.cumulative[i] > r })]
}

// leastRequest is the power of two choices (Mitzenmacher): of two distinct endpoints, the one with fewer requests
// in flight per unit of weight.
func (t *tier) leastRequest() *Endpoint {
	n := len(t.candidates)
	if n == 1 {
		return t.candidates[0]
	}
	if t.cumulative != nil {
		return lighter(t.random(), t.random())
	}
	i := rand.IntN(n)     //nolint:gosec // as above
	j := rand.IntN(n - 1) //nolint:gosec // as above
	if j >= i {
		j++
	}
	return lighter(t.candidates[i], t.candidates[j])
}

// lighter compares active/weight without dividing. Weights already skew the draw; the comparison counts one more
// request, the one about to be made, so that idle endpoints differ by weight too.
func lighter(a, b *Endpoint) *Endpoint {
	if (a.Active()+1)*int64(b.Plan.Weight) <= (b.Active()+1)*int64(a.Plan.Weight) {
		return a
	}
	return b
}
