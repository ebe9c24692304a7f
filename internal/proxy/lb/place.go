package lb

import (
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Place is where something runs. Empty parts are not known, and then near to nothing.
type Place struct {
	Node string
	// Zone alone is compared, without the region, for Kubernetes has the names of zones unique across regions.
	Zone string
}

func (p Place) onNode(e *Host) bool { return p.Node != "" && e.Plan.Workload.Node == p.Node }

func (p Place) inZone(e *Host) bool { return p.Zone != "" && e.Plan.Locality.Zone == p.Zone }

// levels groups endpoints by preference, the best first; a level holds those before it, and none is empty. Distance
// counts among healthy endpoints only: where there is none, the draining ones are called wherever they are, for a call
// to a pod that is about to go is better than no call.
func levels[A any](o *Options, all []*Endpoint[A]) [][]*Endpoint[A] {
	if o.Proximity == model.OnlySameNode {
		all = only(all, o.Here.onNode)
	}
	healthy := withHealth(all, plan.Healthy)
	if len(healthy) == 0 {
		if draining := withHealth(all, plan.Draining); len(draining) > 0 {
			return [][]*Endpoint[A]{draining}
		}
		return nil
	}
	var out [][]*Endpoint[A]
	add := func(level []*Endpoint[A]) {
		if len(level) > 0 && (len(out) == 0 || len(level) > len(out[len(out)-1])) {
			out = append(out, level)
		}
	}
	switch o.Proximity {
	case model.AnyDistance, model.OnlySameNode:
	case model.PreferSameNode:
		add(only(healthy, o.Here.onNode))
		add(only(healthy, func(e *Host) bool { return o.Here.onNode(e) || o.Here.inZone(e) }))
	case model.PreferSameZone:
		add(only(healthy, o.Here.inZone))
	}
	add(healthy)
	return out
}

func withHealth[A any](all []*Endpoint[A], want plan.Health) []*Endpoint[A] {
	return only(all, func(e *Host) bool { return e.Plan.Health == want })
}

func only[A any](all []*Endpoint[A], wanted func(*Host) bool) []*Endpoint[A] {
	var out []*Endpoint[A]
	for _, e := range all {
		if wanted(&e.Host) {
			out = append(out, e)
		}
	}
	return out
}
