package lb

import (
	"math"
	"sync/atomic"
	"time"
)

// bound keeps calls that are alike from filling one endpoint (consistent hashing with bounded loads, Mirrokni et al. 2018,
// by the arithmetic of Envoy's hash_balance_factor): an endpoint that has more in flight than the factor times its part of
// all that is in flight to the group is full, and its calls go on to the next place of theirs.
type bound struct {
	percent uint64 // the factor
	calls   *atomic.Int64
	hosts   []*Host
	parts   []float64 // of each host in the sum of all weights
}

// counted gives the endpoints such that calls to them are counted by the group as well.
func counted[A any](o *Options, all []*Endpoint[A]) []*Endpoint[A] {
	if o.BalanceFactor == 0 || o.Group == nil || !o.Kind.Hashes() {
		return all
	}
	out := make([]*Endpoint[A], len(all))
	for i, e := range all {
		own := *e
		own.together = &o.Group.inFlight
		out[i] = &own
	}
	return out
}

// boundOf gives nil where nothing is bounded.
func boundOf(o *Options, candidates []*Host) *bound {
	if o.BalanceFactor == 0 || o.Group == nil {
		return nil
	}
	b := &bound{percent: uint64(o.BalanceFactor), calls: &o.Group.inFlight, hosts: candidates}
	b.parts, _ = weights(candidates)
	sum := 0.0
	for _, w := range b.parts {
		sum += w
	}
	for i := range b.parts {
		b.parts[i] /= sum
	}
	return b
}

// slots is how much may be in flight to all hosts together, the call that is chosen for included.
func (b *bound) slots() float64 {
	return float64(((uint64(max(b.calls.Load(), 0))+1)*b.percent + 99) / 100)
}

// fill is above 1 where a host is full.
func (b *bound) fill(i int, slots float64) float64 {
	return float64(b.hosts[i].active.Load()) / max(math.Ceil(slots*b.parts[i]), 1)
}

// unfit reports whether a host cannot take calls of others.
func (b *bound) unfit(i int, now func() time.Time) bool {
	h := b.hosts[i]
	return b.parts[i] == 0 || h.Ejected(now) || h.blocked(groupDecides)
}

// placesTried is how many places of a hash are looked at before all hosts are: few of those that hosts have are full.
const placesTried = 8

// choose gives the first host that is not full: in the order of the hash's places, and then of hosts. Where all are full it
// is the one that is the least.
func (b *bound) choose(place func(n int) int) int {
	slots := b.slots()
	if i, ok := b.among(place, slots); ok {
		return i
	}
	left, fit := 1.0, 0 // the part of those that calls can go to: the others have left theirs to them
	for i := range b.hosts {
		if b.unfit(i, time.Now) {
			left -= b.parts[i]
		} else {
			fit++
		}
	}
	if fit == 0 {
		return place(0)
	}
	if left < 1 {
		slots /= left
		if i, ok := b.among(place, slots); ok {
			return i
		}
	}
	at := place(placesTried - 1)
	least, most := at, math.Inf(1)
	for i := range b.hosts {
		i = (at + i) % len(b.hosts)
		if b.unfit(i, time.Now) {
			continue
		}
		fill := b.fill(i, slots)
		if fill <= 1 {
			return i
		}
		if fill < most {
			least, most = i, fill
		}
	}
	return least
}

// among gives the first host at the places of a hash that is not full.
func (b *bound) among(place func(n int) int, slots float64) (int, bool) {
	for n := range placesTried {
		if i := place(n); b.fill(i, slots) <= 1 && !b.unfit(i, time.Now) {
			return i, true
		}
	}
	return 0, false
}
