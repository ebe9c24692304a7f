package compile

import (
	"cmp"
	"net/netip"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// What follows is for clients that hold the whole mesh as they see it, and know groups of endpoints by name, as Envoy does.
// Fairlead's own sidecars ask for what their apps call.

// Callee is what can be called by name, at one port.
type Callee struct {
	plan.HostPort

	Protocol model.Protocol
	// Addresses are those by which it is called, none for headless Services and for hosts that have routes only.
	Addresses []netip.Addr
}

// Callable lists what the callers of a namespace can call by name, in order: the TCP ports of the services that they see, and
// the hosts that have routes only.
func Callable(r *store.Reader, g Global, namespace string) []Callee {
	v := view{snapshot: snapshot{r, g}, ns: namespace}
	found := map[plan.HostPort]bool{}
	var out []Callee
	add := func(c Callee) {
		if found[c.HostPort] {
			return
		}
		found[c.HostPort] = true
		if _, ok := (resolver{v}).resolveTarget(c.HostPort); ok {
			out = append(out, c)
		}
	}
	for _, s := range v.sees(store.List[model.Service](r)) {
		for i := range s.Ports {
			if p := &s.Ports[i]; p.Protocol != model.UDP {
				add(Callee{plan.HostPort{Host: s.Host, Port: p.Port}, p.Protocol, v.addresses(s)})
			}
		}
	}
	for _, rs := range r.RouteSetsByNameAlone() {
		for _, h := range rs.Hosts {
			if !v.isOutside(h, rs) {
				continue
			}
			for _, port := range v.outsideHTTP(rs) {
				add(Callee{HostPort: plan.HostPort{Host: h, Port: port}})
			}
			for _, port := range outsideTLS(rs) {
				add(Callee{HostPort: plan.HostPort{Host: h, Port: port}, Protocol: model.TLS})
			}
		}
	}
	slices.SortFunc(out, func(a, b Callee) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port)) })
	return out
}

// Group gives the endpoints of a service's port, all of them or those of a subset, with the policy by which the callers of a
// namespace call them: what Destination.Backends has where a route refers to it. The protocol is the port's. nil means that
// there is no such thing.
func Group(r *store.Reader, g Global, namespace string, at plan.HostPort, subset string) (*plan.Backend, model.Protocol) {
	v := view{snapshot: snapshot{r, g}, ns: namespace}
	s, p := withPort(v.servicesAt(at.Host), at.Port)
	if p == nil {
		return nil, model.Undeclared
	}
	e := destinationRules{v}.policy(s)
	if subset != "" && e.subset(subset) == nil {
		return nil, model.Undeclared
	}
	out := newBackends(v, at.Port).build(s, p, subset)
	return &out, p.Protocol
}

// Subsets lists the names of the subsets into which the callers of a namespace see a host divided, in order.
func Subsets(r *store.Reader, g Global, namespace string, host model.Hostname) []string {
	v := view{snapshot: snapshot{r, g}, ns: namespace}
	found := v.servicesAt(host)
	if len(found) == 0 {
		return nil
	}
	e := destinationRules{v}.policy(found[0])
	out := make([]string, 0, len(e.subsets))
	for i := range e.subsets {
		out = append(out, e.subsets[i].Name)
	}
	slices.Sort(out)
	return out
}

// GroupVariant gives the namespace as whose view a group of endpoints is compiled: the caller's where its configuration
// differs from that of others, else none.
func GroupVariant(r *store.Reader, g Global, namespace string, at plan.HostPort) string {
	v := resolver{view{snapshot: snapshot{r, g}, ns: namespace}}
	s, p := withPort(v.servicesAt(at.Host), at.Port)
	if p == nil || namespace == "" {
		return namespace
	}
	common := v.as("")
	theirs, port := withPort(common.servicesAt(at.Host), at.Port)
	if port == nil || theirs != s {
		return namespace
	}
	same := func(a, b *model.DestinationPolicy) bool { return a.Ref == b.Ref }
	if slices.EqualFunc(destinationRules(v).policies(s), destinationRules{common}.policies(s), same) {
		return ""
	}
	return namespace
}
