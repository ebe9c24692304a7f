package directory

import (
	"net/netip"

	"fairlead.dev/fairlead/internal/plan"
)

// distinct gives the endpoints of shards. An endpoint may stand in several EndpointSlices at a time, while it moves from one
// to another for example, and whoever reads them counts it once (Kubernetes documentation, "EndpointSlices", "Duplicate
// endpoints").
func (m shards) distinct(names []string) []*plan.Endpoint {
	var all []*plan.Endpoint
	var place map[netip.AddrPort]int // in all, of what stands in the shards before
	for _, name := range names {
		s := m[name]
		if s == nil || s.plan == nil {
			continue
		}
		before := len(all)
		for i := range s.plan.Endpoints {
			e := &s.plan.Endpoints[i]
			if at, ok := place[e.Addr]; !ok {
				all = append(all, e)
			} else if precedence(e) < precedence(all[at]) {
				all[at] = e
			}
		}
		if len(names) == 1 {
			return all
		}
		if place == nil {
			place = make(map[netip.AddrPort]int, len(names)*len(s.plan.Endpoints))
		}
		for i := before; i < len(all); i++ {
			place[all[i].Addr] = i
		}
	}
	return all
}

// precedence decides between two slices' words about one address, the lower one counts: as in kube-proxy, a pod that runs
// before one that terminates and whose address was handed on. Of two that run the one that is ready counts; kube-proxy
// takes either, for the next update of a slice makes them agree.
func precedence(e *plan.Endpoint) int {
	switch e.Health {
	case plan.Healthy, plan.Failing:
		return 0
	case plan.Unhealthy:
		return 1
	case plan.Draining:
		return 2
	}
	return 3
}
