package lb

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Endpoints are expected to carry so much more than their even share before others have to help, in percent (Envoy's
// overprovisioning factor of 1.4).
const overprovisioning = 140

// headcount is how many endpoints of a tier there are: known ones, the healthy among them, and those of the healthy that
// can be called, for they are not ejected.
type headcount struct{ known, healthy, available int }

// health is how much of all calls a tier can carry, in percent.
func (c headcount) health() int {
	if c.known == 0 {
		return 0
	}
	return min(100, overprovisioning*c.available/c.known)
}

// panics reports whether fewer are left of the healthy ones than a threshold in percent says: the ejected ones are called
// as well then, rather than that all calls come down on those few.
func (c headcount) panics(threshold int) bool {
	return threshold > 0 && c.healthy > 0 && 100*c.available < threshold*c.healthy
}

// levelLoads gives the percentage of the calls for each level: those of the first as far as its health goes, of the next as
// far as is left, and so on. Where all together are short of 100, each gets its part in proportion. panics says which call
// their ejected endpoints too: none as long as there is health enough (Envoy, "Priority levels" and "Panic threshold").
func levelLoads(levels []headcount, threshold int) (loads []int, panics []bool) {
	loads, panics = make([]int, len(levels)), make([]bool, len(levels))
	total, hosts := 0, 0
	for _, c := range levels {
		total += c.health()
		hosts += c.healthy
	}
	all := total < 100
	for i, c := range levels {
		panics[i] = total < 100 && c.panics(threshold)
		all = all && panics[i]
	}
	left, first := 100, -1
	for i, c := range levels {
		switch {
		case all: // health says nothing any more
			loads[i] = 100 * c.healthy / hosts
		case total > 0:
			loads[i] = min(left, c.health()*100/min(total, 100))
		}
		left -= loads[i]
		if first < 0 && loads[i] > 0 {
			first = i
		}
	}
	loads[max(first, 0)] += left // what rounding has left over
	return loads, panics
}

// scale is what the loads of tiers that are weighed come to when nothing is wrong.
const scale = 1 << 20

// weightedLoads gives the parts of the calls for tiers that are weighed: a tier that is short of endpoints weighs as much
// less (Envoy, "Locality weighted load balancing"). Panic is one for all of them.
func weightedLoads(tiers []headcount, weights []float64, threshold int) (loads []int, panics []bool) {
	loads, panics = make([]int, len(tiers)), make([]bool, len(tiers))
	var all headcount
	sum := 0.0
	for i, c := range tiers {
		all.known += c.known
		all.healthy += c.healthy
		all.available += c.available
		sum += weights[i]
	}
	inPanic := all.health() < 100 && all.panics(threshold)
	for i, c := range tiers {
		part := scale / float64(len(tiers))
		if sum > 0 {
			part = weights[i] / sum * scale
		}
		if panics[i] = inPanic; !inPanic {
			part *= min(1, overprovisioning/100.0*float64(c.available)/float64(max(c.known, 1)))
		}
		loads[i] = int(part)
	}
	return loads, panics
}

// Changes counts how often an endpoint came to be left alone, or to be called again, by what calls to it met with. Pickers
// whose endpoints are the same ones have one in common.
type Changes struct{ n atomic.Uint64 }

// note counts a change.
func (c *Changes) note() {
	if c != nil {
		c.n.Add(1)
	}
}

// shares are how calls are shared out among the tiers of a picker, for as long as nothing changes.
type shares struct {
	// upTo are the running sums of the loads.
	upTo []uint32
	// panic says which tiers call their ejected endpoints.
	panics []bool

	seen  uint64 // changes until then
	from  int64  // when changes may be looked at again; in Unix nanoseconds, as until
	until int64  // when the first pause of an endpoint ends; 0 for none
}

// weighing keeps the shares of a picker up to date. It is the picks that do that, each where it finds them out of date and
// no other is at it.
type weighing struct {
	changes   *Changes
	threshold int // in percent, of panic
	byWeight  bool
	client    uint64 // hash of Options.Client
	busy      atomic.Bool
	now       atomic.Pointer[shares]
}

// beginWeighing has the picker share calls out.
func (p *Picker[A]) beginWeighing() {
	w := &weighing{changes: p.o.Changes, threshold: int(p.o.Panic), byWeight: len(p.o.Locality.Distribute) > 0}
	if w.changes == nil {
		w.changes = &Changes{}
	}
	if p.o.Client.IsValid() {
		w.client = HashOf(p.o.Client.AsSlice())
	}
	for i := range p.tiers {
		for _, e := range p.tiers[i].candidates {
			e.changes.Store(w.changes)
		}
	}
	if p.o.Group != nil {
		p.o.Group.outliers.changes.Store(w.changes)
	}
	p.weighing = w
	w.now.Store(p.weigh(time.Now()))
}

// ejections says what those of a tier's endpoints mean.
func (s *shares) ejections(tier int) ejections {
	switch {
	case s == nil:
		return groupDecides
	case s.panics[tier]:
		return ignored
	}
	return counting
}

// current gives the shares. It asks for the time where something is wrong, or has changed.
func (p *Picker[A]) current() *shares {
	s := p.weighing.now.Load()
	changed := p.weighing.changes.n.Load() != s.seen
	if !changed && s.until == 0 {
		return s
	}
	now := time.Now()
	at := now.UnixNano()
	if (changed && at >= s.from || s.until != 0 && at >= s.until) && p.weighing.busy.CompareAndSwap(false, true) {
		s = p.weigh(now)
		p.weighing.now.Store(s)
		p.weighing.busy.Store(false)
	}
	return s
}

// perEndpoint is how long changes are left unseen for each endpoint that is to be looked at: a hundredth of the time goes
// into it at the most.
const perEndpoint = time.Microsecond

// weigh counts who can be called.
func (p *Picker[A]) weigh(now time.Time) *shares {
	s := &shares{seen: p.weighing.changes.n.Load()}
	counts, weights, looked := make([]headcount, len(p.tiers)), make([]float64, len(p.tiers)), 0
	silent, anyHeard := make([]int, len(p.tiers)), false
	for i := range p.tiers {
		t := &p.tiers[i]
		c := headcount{known: t.known, healthy: len(t.candidates)}
		for _, e := range t.candidates {
			until := e.downUntil(now)
			switch {
			case until == 0 && e.Silent(): // the end of it is a change
				silent[i]++
			case until == 0:
				c.available++
				anyHeard = true
			case s.until == 0 || until < s.until:
				s.until = until
			}
		}
		counts[i], weights[i] = c, t.weight
		looked += c.healthy
	}
	for i := range counts {
		if !anyHeard { // all that are left are silent, and are called as if they were not
			counts[i].available = silent[i]
		}
	}
	var loads []int
	if p.weighing.byWeight {
		loads, s.panics = weightedLoads(counts, weights, p.weighing.threshold)
	} else {
		loads, s.panics = levelLoads(counts, p.weighing.threshold)
	}
	sum := uint32(0)
	for _, load := range loads {
		sum += uint32(load)
		s.upTo = append(s.upTo, sum)
	}
	s.from = now.Add(time.Duration(looked) * perEndpoint).UnixNano()
	return s
}

// draw chooses the tier that a call goes to: calls that are alike to the same one while nothing changes.
func (s *shares) draw(hash uint64) int {
	sum := s.upTo[len(s.upTo)-1]
	if s.upTo[0] == sum { // all to the first, or nothing to any
		return 0
	}
	var at uint32
	if hash == 0 {
		at = rand.Uint32N(sum) //nolint:gosec // spreading load needs no secrecy
	} else {
		at = uint32(mix(hash^tierSeed) % uint64(sum))
	}
	for i, upTo := range s.upTo {
		if at < upTo {
			return i
		}
	}
	return 0
}

// tierSeed makes the tier of a call independent of its place in the table of a tier.
const tierSeed = 0x9e3779b97f4a7c15
