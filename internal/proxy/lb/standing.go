package lb

import (
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Standing is what a picker makes of one of its endpoints, for people.
type Standing struct {
	// Level counts from 0, the best; parts that calls are shared out among by weight are counted likewise. It is -1 for an
	// endpoint in no level.
	Level int
	// Load is the percentage of all calls that go to the level first, Panic whether its ejected endpoints are called too.
	Load  float64
	Panic bool
	// Unused says why no call goes to the endpoint, empty where calls do. Ejections are not among the reasons.
	Unused string
}

// Standings are those of all endpoints, by the order of All; nil where distance does not matter.
func (p *Picker[A]) Standings() []Standing {
	parts := partition(&p.o, p.all)
	if !p.o.bySetting() && p.o.Proximity != model.OnlySameNode && len(parts) < 2 {
		return nil
	}
	outside := "in no locality that distribute names for this caller"
	if p.o.Proximity == model.OnlySameNode {
		outside = "not on the caller's node"
	}
	out := make([]Standing, len(p.all))
	for i, e := range p.all {
		s := Standing{Level: -1}
		for j := range parts {
			if slices.Contains(parts[j].candidates, e) || slices.Contains(parts[j].members, e) {
				s.Level = j
				s.Load, s.Panic = p.load(j)
				break
			}
		}
		switch {
		case e.Plan.Health == plan.Unhealthy:
			s.Unused = "not ready"
		case e.Plan.Health == plan.Failing && (s.Level < 0 || !slices.Contains(parts[s.Level].candidates, e)):
			s.Unused = "fails its active checks, and others are there"
		case s.Level < 0 && e.Plan.Health == plan.Draining:
			s.Unused = "draining, and others are there"
		case s.Level < 0:
			s.Unused = outside
		case e.Plan.Health == plan.Draining && !slices.Contains(parts[s.Level].candidates, e):
			s.Unused = "draining, and others are there"
		case s.Load == 0:
			s.Unused = "nearer endpoints carry all calls"
		}
		out[i] = s
	}
	return out
}

// load gives the percentage of the calls that go to a tier first, and whether it is in panic.
func (p *Picker[A]) load(tier int) (percent float64, inPanic bool) {
	if p.weighing == nil {
		if tier == 0 {
			return 100, false
		}
		return 0, false
	}
	s := p.current()
	sum, before := s.upTo[len(s.upTo)-1], uint32(0)
	if tier > 0 {
		before = s.upTo[tier-1]
	}
	return 100 * float64(s.upTo[tier]-before) / float64(max(sum, 1)), s.panics[tier]
}
