package lb

import (
	"maps"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Place is where the caller runs. Empty parts are not known, and then near to nothing.
type Place struct {
	Node, Cluster, Network string
	// Locality is compared by its zone alone where a Proximity is asked for, for Kubernetes has the names of zones unique
	// across regions.
	Locality model.Locality
	// Labels are the workload's; failoverPriority compares them.
	Labels map[string]string
}

// Equal reports whether both are one place.
func (p Place) Equal(q Place) bool {
	return p.Node == q.Node && p.Cluster == q.Cluster && p.Network == q.Network && p.Locality == q.Locality && maps.Equal(p.Labels, q.Labels)
}

// onNode compares clusters as well where both are known: nodes of two clusters may share a name.
func (p Place) onNode(e *Host) bool {
	w := &e.Plan.Workload
	return p.Node != "" && w.Node == p.Node && (w.Cluster == p.Cluster || w.Cluster == "" || p.Cluster == "")
}

func (p Place) inZone(e *Host) bool {
	return p.Locality.Zone != "" && e.Plan.Locality.Zone == p.Locality.Zone
}

func (p Place) hinted(e *Host) bool { return slices.Contains(e.Plan.ForZones, p.Locality.Zone) }

// near reports whether an endpoint is for the callers of this zone: by the hints of EndpointSlices where each healthy
// endpoint has some and one is for this zone (KEP-2433), else by the zone itself.
func near[A any](p Place, healthy []*Endpoint[A]) (_ func(*Host) bool, byHints bool) {
	for _, e := range healthy {
		if len(e.Plan.ForZones) == 0 {
			return p.inZone, false
		}
		byHints = byHints || p.hinted(&e.Host)
	}
	if byHints && p.Locality.Zone != "" {
		return p.hinted, true
	}
	return p.inZone, false
}

// site is the place as a localityLbSetting sees it.
func (p Place) site() model.Site {
	topology := model.Topology{Locality: p.Locality, Cluster: p.Cluster, Node: p.Node}
	return model.Site{Locality: p.Locality, Label: func(name string) string {
		if v, ok := topology.Label(name); ok {
			return v
		}
		if v := p.Labels[name]; v != "" || name != model.LabelNetwork {
			return v
		}
		return p.Network
	}}
}

// siteOf is where an endpoint is, as a localityLbSetting sees it.
func siteOf(e *Host) model.Site {
	topology := model.Topology{Locality: e.Plan.Locality, Cluster: e.Plan.Workload.Cluster, Node: e.Plan.Workload.Node}
	return model.Site{Locality: e.Plan.Locality, Label: func(name string) string {
		if v, ok := topology.Label(name); ok {
			return v
		}
		for _, label := range e.Plan.Labels {
			if k, v, _ := strings.Cut(label, "="); k == name {
				return v
			}
		}
		return ""
	}}
}

// part is endpoints of a picker that are as good as each other.
type part[A any] struct {
	members, candidates []*Endpoint[A] // all of them, and the healthy ones
	// level counts parts from 0, the best, where calls prefer one to another.
	level int
	// known is how many endpoints there are, healthy or not; those that drain have been replaced already.
	known int
	// weight is the share of the part where calls are shared out by weight.
	weight float64
}

// partition groups endpoints, the best part first. Distance counts among healthy endpoints only: where there is none, the
// draining ones are called wherever they are, for a call to a pod that is about to go is better than no call, and where
// there is none of those either the ones that fail their checks, for what everybody fails is more likely to be the check.
func partition[A any](o *Options, all []*Endpoint[A]) []part[A] {
	var parts []part[A]
	if o.bySetting() {
		var ok bool
		if parts, ok = distributed(o, all); !ok {
			parts = ranked(o, all)
		}
		all = members(parts)
		parts = slices.DeleteFunc(parts, func(p part[A]) bool { return len(p.candidates) == 0 })
	} else {
		if o.Proximity == model.OnlySameNode {
			all = only(all, o.Here.onNode)
		}
		for i, level := range levels(o, withHealth(all, plan.Healthy)) {
			parts = append(parts, part[A]{candidates: level, level: i})
		}
	}
	for _, next := range []plan.Health{plan.Draining, plan.Failing} {
		if rest := withHealth(all, next); len(parts) == 0 && len(rest) > 0 {
			return []part[A]{{candidates: rest}}
		}
	}
	return parts
}

// levels groups healthy endpoints by the Service's preference, the best first; a level holds those before it, and none is
// empty.
func levels[A any](o *Options, healthy []*Endpoint[A]) [][]*Endpoint[A] {
	var out [][]*Endpoint[A]
	add := func(level []*Endpoint[A]) {
		if len(level) > 0 && (len(out) == 0 || len(level) > len(out[len(out)-1])) {
			out = append(out, level)
		}
	}
	near, byHints := near(o.Here, healthy)
	switch {
	case o.Proximity == model.OnlySameNode, o.Locality != nil:
	case o.Proximity == model.PreferSameNode:
		add(only(healthy, o.Here.onNode))
		add(only(healthy, func(e *Host) bool { return o.Here.onNode(e) || near(e) }))
	case o.Proximity == model.PreferSameZone, byHints:
		add(only(healthy, near))
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
