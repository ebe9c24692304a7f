package lb

import (
	"math/rand/v2"

	"fairlead.dev/fairlead/internal/model"
)

// policy chooses among the candidates that it was built for, whatever their health. It is asked again where a candidate
// cannot be called.
type policy interface {
	// choose gives the index of a candidate. try counts from 0 how often it was asked for this call.
	choose(info *Info, try int) int
	// rest gives the index from which the candidates are walked where choose found none in a few tries.
	rest(info *Info) int
}

// slow is a policy that takes milliseconds to be ready.
type slow interface {
	// prepare makes it ready, once. What is asked of it before waits for that.
	prepare()
}

// design is how a policy is made.
type design struct {
	// build gets at least one candidate. It is quick: what takes longer is for prepare, see slow.
	build func(candidates []*Host) policy
	// order is that of the candidates, nil where it does not matter.
	order func(a, b *Host) int
}

// designOf is the list of policies.
func designOf(o *Options) design {
	if o.Client.IsValid() {
		return design{affinityOf(o), preferenceOf(o.Client, o.Stay.At)}
	}
	switch o.Kind {
	case model.RoundRobin:
		return design{roundRobinOf(o.WarmUp), nil}
	case model.Random:
		return design{newRandom, nil}
	case model.PeakEWMA:
		return design{newPeakEWMA, nil}
	case model.Utilization:
		return design{utilizationOf(o.Utilization), nil}
	case model.RingHash:
		return design{ringOf(o), byHashKey}
	case model.Maglev:
		return design{maglevOf(o), byHashKey}
	case model.LBUnset, model.LeastRequest, model.Passthrough:
	}
	return design{leastRequestOf(o.WarmUp), nil}
}

// anywhere is the rest of policies without an order: each walk begins somewhere else.
type anywhere int

func (n anywhere) rest(*Info) int { return rand.IntN(int(n)) } //nolint:gosec // spreading load needs no secrecy
