package compile

import (
	"cmp"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// networks says which network workloads are in, and how it is called from others (docs/adr/0028-networks.md).
type networks struct{ snapshot }

// own is the network of the control plane, empty where nothing names it.
func (m networks) own() string {
	if m.g.Network != "" {
		return m.g.Network
	}
	if n := m.r.Namespace(m.rootNamespace()); n != nil {
		return n.Labels[model.LabelNetwork]
	}
	return ""
}

// of gives the network that a workload is in: what its own label says, what the source that it was read from says, its
// namespace, its node, and the control plane's own.
func (m networks) of(w *model.Workload) string {
	if n := cmp.Or(w.Labels[model.LabelNetwork], w.Network); n != "" {
		return n
	}
	if ns := m.r.Namespace(w.Key.Namespace); ns != nil && w.Key.Cluster == "" && ns.Labels[model.LabelNetwork] != "" {
		return ns.Labels[model.LabelNetwork]
	}
	if node := m.r.Node(w.Key.Cluster, w.Node); w.Node != "" && node != nil && node.Network != "" {
		return node.Network
	}
	return m.own()
}

// gateways gives where a network is called from others. It is separate where anything says that it has a gateway, be there
// one that can be called or not; addresses of any other mean the same to all callers, as in Istio. Where none is ready, those
// are called that are about to end and still serve: a gateway takes connections for a while after it was told to.
func (m networks) gateways(network string) (_ []plan.Gateway, separate bool) {
	if network == "" {
		return nil, false
	}
	var out, ending []plan.Gateway
	for i := range m.g.Gateways {
		if g := &m.g.Gateways[i]; g.Network == network {
			out, separate = addGateway(out, g), true
		}
	}
	for _, s := range store.Gateways(m.r) {
		if s.Gateway.Network != network {
			continue
		}
		separate = true
		switch m.servedBy(s) {
		case plan.Healthy:
			out = addGateway(out, s.Gateway)
		case plan.Draining:
			ending = addGateway(ending, s.Gateway)
		case plan.Unhealthy, plan.Failing:
		}
	}
	if len(out) == 0 {
		out = ending
	}
	slices.SortFunc(out, func(a, b plan.Gateway) int { return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Port, b.Port)) })
	return slices.Compact(out), separate
}

func addGateway(out []plan.Gateway, g *model.NetworkGateway) []plan.Gateway {
	for _, a := range g.Addresses {
		out = append(out, plan.Gateway{Addr: a, Port: g.Port, Weight: 1})
	}
	return out
}

// servedBy says what is behind a gateway's addresses: a pod that is ready, or nothing that is known, which is so where the
// Service selects no pods; a pod that still serves; or none.
func (m networks) servedBy(s *model.Service) plan.Health {
	if len(s.Selector) == 0 {
		return plan.Healthy
	}
	best := plan.Unhealthy
	for _, k := range m.r.SlicesOfService(s.Key) {
		slice := m.r.Slice(k)
		if slice == nil {
			continue
		}
		for i := range slice.Endpoints {
			switch e := &slice.Endpoints[i]; {
			case e.Ready:
				return plan.Healthy
			case e.Serving:
				best = plan.Draining
			}
		}
	}
	return best
}

// place says in which network an endpoint is, where that matters, and how callers of others reach it. What they cannot call by
// mutual TLS they do not reach: a gateway goes by the name in the client's greeting, and proves nothing to either side.
func (m networks) place(e *plan.Endpoint, network string) {
	gateways, separate := m.gateways(network)
	if !separate {
		return
	}
	if e.Network = network; (e.Meshed || e.Mutual) && e.Identity != "" {
		e.Gateways = gateways
	}
}

// passage compiles a plan.NamePassage: what is exported to all namespaces, with the endpoints of all networks, of which a
// gateway lets in those of its own. Routes do not count: the caller's sidecar has obeyed them.
func (m networks) passage(n plan.Name) *plan.Destination {
	b, protocol := Group(m.r, m.g, "", n.At, "")
	if b == nil {
		return nil
	}
	return &plan.Destination{
		Name: n.String(), Host: n.At.Host, Port: n.At.Port, Service: b.Service, Protocol: protocol,
		Backends: []plan.Backend{{Name: b.Name, Host: b.Host, Port: b.Port, Service: b.Service, Resolution: b.Resolution, LB: b.LB, Shards: b.Shards}},
	}
}

// HasGateways reports whether any network is one that others call by gateways.
func HasGateways(r *store.Reader, g Global) bool {
	return len(g.Gateways) > 0 || len(store.Gateways(r)) > 0
}
