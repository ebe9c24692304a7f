package lb

import (
	"cmp"
	"hash/fnv"
	"net/netip"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Place is where something runs. Empty parts are not known, and then near to nothing.
type Place struct {
	Node string
	// Zone alone is compared, without the region, for Kubernetes has the names of zones unique across regions.
	Zone string
}

// PlaceOf gives the place of an endpoint.
func PlaceOf(e *plan.Endpoint) Place { return Place{Node: e.Workload.Node, Zone: e.Locality.Zone} }

func (p Place) onNode(e *Endpoint) bool { return p.Node != "" && e.Plan.Workload.Node == p.Node }

func (p Place) inZone(e *Endpoint) bool { return p.Zone != "" && e.Plan.Locality.Zone == p.Zone }

// levels groups endpoints by preference, the best first; a level holds those before it, and none is empty. Distance
// counts among healthy endpoints only: where there is none, the draining ones are called wherever they are, for a call
// to a pod that is about to go is better than no call.
func levels(o Options, all []*Endpoint) [][]*Endpoint {
	if o.Proximity == model.OnlySameNode {
		all = only(all, o.Here.onNode)
	}
	healthy := withHealth(all, plan.Healthy)
	if len(healthy) == 0 {
		if draining := withHealth(all, plan.Draining); len(draining) > 0 {
			return [][]*Endpoint{draining}
		}
		return nil
	}
	var out [][]*Endpoint
	add := func(level []*Endpoint) {
		if len(level) > 0 && (len(out) == 0 || len(level) > len(out[len(out)-1])) {
			out = append(out, level)
		}
	}
	switch o.Proximity {
	case model.AnyDistance, model.OnlySameNode:
	case model.PreferSameNode:
		add(only(healthy, o.Here.onNode))
		add(only(healthy, func(e *Endpoint) bool { return o.Here.onNode(e) || o.Here.inZone(e) }))
	case model.PreferSameZone:
		add(only(healthy, o.Here.inZone))
	}
	add(healthy)
	return out
}

func withHealth(all []*Endpoint, want plan.Health) []*Endpoint {
	return only(all, func(e *Endpoint) bool { return e.Plan.Health == want })
}

func only(all []*Endpoint, wanted func(*Endpoint) bool) []*Endpoint {
	var out []*Endpoint
	for _, e := range all {
		if wanted(e) {
			out = append(out, e)
		}
	}
	return out
}

// rank orders endpoints by what a client prefers (rendezvous hashing, Thaler and Ravishankar 1998): every client has an
// order of its own, which does not depend on who else there is, nor on which proxy computes it. The one that the client
// has been using stays first as long as it is there: endpoints that come must not end sessions.
func rank(es []*Endpoint, client netip.Addr, used *Endpoint) {
	slices.SortFunc(es, func(a, b *Endpoint) int {
		if x, y := same(a, used), same(b, used); x != y {
			if x {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(score(client, b), score(client, a)), a.Plan.Addr.Compare(b.Plan.Addr))
	})
}

func same(e, used *Endpoint) bool { return used != nil && e.Plan.Addr == used.Plan.Addr }

// score leaves the endpoint's port out: the ports of one Service lead a client to the same pod.
func score(client netip.Addr, e *Endpoint) uint64 {
	h := fnv.New64a()
	for _, a := range []netip.Addr{client, e.Plan.Addr.Addr()} {
		raw := a.As16()
		h.Write(raw[:])
	}
	return mix(h.Sum64())
}

// mix spreads what FNV leaves in the low bits over all of them (the finalizer of MurmurHash3). Addresses differ in their
// last bits only, and scores are compared by their highest.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
