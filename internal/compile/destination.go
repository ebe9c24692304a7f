package compile

import (
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// destinationName names a host and port of a namespace, as all namespaces see it or as one client namespace does.
func destinationName(namespace string, t plan.HostPort, client string) plan.Name {
	return plan.Name{Kind: plan.NameDestination, Namespace: namespace, At: t, Client: client}
}

// destinations are hosts and ports that can be called, as the viewing namespace sees them.
type destinations struct{ view }

// destination compiles a plan.NameDestination.
func (v destinations) destination(n plan.Name) *plan.Destination {
	v = destinations{v.as(n.Client)}
	s, p := v.findIn(n.Namespace, n.At)
	applied := routing(v).routes(n.At)
	if p == nil {
		if applied = routing(v).outside(n.At); !v.virtualHost(n.Namespace, n.At, applied) {
			return nil
		}
	}
	out := v.assemble(n.At, s, p, applied)
	out.Name = n.String()
	return out
}

// virtualHost reports whether a host that no service defines is one all the same, because a VirtualService of the
// namespace says where its calls go.
func (v destinations) virtualHost(namespace string, t plan.HostPort, a appliedRoutes) bool {
	if len(v.services(t.Host)) > 0 {
		return false
	}
	first := firstRouteSet(a)
	return first != nil && first.Ref.Namespace == namespace
}

// firstRouteSet gives the route set that a host without a service is named after, or nil.
func firstRouteSet(a appliedRoutes) *model.RouteSet {
	switch {
	case len(a.http) > 0:
		return a.http[0]
	case len(a.tcp) > 0:
		return a.tcp[0]
	}
	return nil
}

// assemble builds the destination of a service's port, or of a host that has routes only (s and p are nil).
func (v destinations) assemble(t plan.HostPort, s *model.Service, p *model.ServicePort, a appliedRoutes) *plan.Destination {
	out := &plan.Destination{Host: t.Host, Port: t.Port}
	b := newBackends(v.view, t.Port)
	b.parent = s
	for _, r := range routing(v).rules(a, t.Port) {
		out.Routes = append(out.Routes, b.route(r))
	}
	out.TCP = b.tcpRoutes(a, t.Port)
	if s != nil {
		out.Service, out.Protocol = s.Key, a.protocol(p.Protocol)
		out.Addresses = v.addresses(s)
		b.defaults(out, s, p, a)
	}
	out.Backends, out.Selected, out.Seal = b.list, b.selections(), sealOf(out)
	return out
}

// defaults adds the routes to the host itself: for requests where no route is written for them, for connections that no rule
// takes (a request that no rule takes is answered 404, and a connection that no TLSRoute takes is closed).
func (b *backends) defaults(out *plan.Destination, s *model.Service, p *model.ServicePort, a appliedRoutes) {
	if len(out.Routes) == 0 {
		out.Routes = []plan.Route{{
			Name: "default", Backends: []plan.WeightedBackend{{Backend: b.service(s, p, ""), Weight: 1}},
			Session: serviceSession(s, nil),
		}}
		reliability(&out.Routes[0], &model.HTTPRule{}, s)
	}
	if !a.gatewayTCP() && !decidesAll(out.TCP) {
		out.TCP = append(out.TCP, plan.TCPRoute{
			Backends: []plan.WeightedBackend{{Backend: b.service(s, p, ""), Weight: 1}},
		})
	}
}

// backendHosts lists the hosts that a route set sends calls to, in order.
func backendHosts(rs *model.RouteSet) []model.Hostname {
	var out []model.Hostname
	for _, w := range backendsOf(rs) {
		out = append(out, w.Host)
	}
	return out
}

// backendsOf lists every backend that a route set refers to.
func backendsOf(rs *model.RouteSet) []*model.WeightedBackend {
	var out []*model.WeightedBackend
	for i := range rs.HTTP {
		h := &rs.HTTP[i]
		for j := range h.Backends {
			out = append(out, &h.Backends[j])
		}
		for j := range h.Mirrors {
			out = append(out, &h.Mirrors[j].Backend)
		}
	}
	for _, rules := range [][]model.TCPRule{rs.TLS, rs.TCP} {
		for i := range rules {
			for j := range rules[i].Backends {
				out = append(out, &rules[i].Backends[j])
			}
		}
	}
	return out
}
