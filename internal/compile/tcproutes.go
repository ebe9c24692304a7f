package compile

import (
	"cmp"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// tcpRoutes puts the rules for connections in order: those on SNI first, for they need more than those on ports.
func (b *backends) tcpRoutes(a appliedRoutes, port uint16) []plan.TCPRoute {
	var out []plan.TCPRoute
	if a.gatewayTCP() {
		return b.gatewayTCPRoutes(a.tcp)
	}
	for _, rs := range a.tcp {
		for i := range rs.TLS {
			out = b.appendTCP(out, rs, &rs.TLS[i], port)
		}
	}
	for _, rs := range a.tcp {
		for i := range rs.TCP {
			out = b.appendTCP(out, rs, &rs.TCP[i], port)
		}
	}
	return out
}

func (b *backends) appendTCP(out []plan.TCPRoute, rs *model.RouteSet, r *model.TCPRule, port uint16) []plan.TCPRoute {
	var matches []model.TCPMatch
	for _, m := range r.Matches {
		if m.Port == 0 || m.Port == port {
			m.Port = 0
			matches = append(matches, m)
		}
	}
	if len(r.Matches) > 0 && len(matches) == 0 {
		return out
	}
	return append(out, plan.TCPRoute{
		Origin: origin(rs, r.Field), Matches: matches, Backends: b.weighted(rs, r.Backends),
	})
}

// decidesAll reports whether a connection can find no route.
func decidesAll(routes []plan.TCPRoute) bool {
	return slices.ContainsFunc(routes, func(r plan.TCPRoute) bool {
		return len(r.Matches) == 0 || slices.ContainsFunc(r.Matches, func(m model.TCPMatch) bool {
			return len(m.DestinationSubnets)+len(m.SNI)+len(m.SourceLabels) == 0 && m.SourceNamespace == "" && m.SourceSubnet == ""
		})
	})
}

// gatewayTCP reports whether Gateway API's routes decide where connections go. Then nothing is asked of what they carry, and a
// connection that no rule takes goes nowhere: "you are replacing that implicit logic - not adding to it" (GEP-1426, "Route
// presence").
func (a appliedRoutes) gatewayTCP() bool { return len(a.tcp) > 0 && isGateway(a.tcp[0]) }

// protocol gives how connections to a port are read: as opaque ones where TLSRoutes or TCPRoutes decide.
func (a appliedRoutes) protocol(declared model.Protocol) model.Protocol {
	if declared != model.Undeclared || !a.gatewayTCP() {
		return declared
	}
	if a.tcp[0].Ref.Kind == kindTLSRoute {
		return model.TLS
	}
	return model.TCP
}

// gatewayTCPRoutes puts the rules of TLSRoutes or of TCPRoutes in order. Of each route the first rule is in force. A server name
// goes before wildcards, a longer one of these before a shorter one, and what several routes say of one name is for the oldest
// to say, as it is for the host names of HTTPRoutes (HTTPRouteSpec.hostnames of the Gateway API reference).
func (b *backends) gatewayTCPRoutes(sets []*model.RouteSet) []plan.TCPRoute {
	type entry struct {
		route    int
		name     string
		wildcard int // length of a wildcard, 0 for a name
	}
	out := make([]plan.TCPRoute, 0, len(sets))
	var entries []entry
	for _, rs := range sets {
		rule := firstConnectionRule(rs)
		if rule == nil {
			continue
		}
		whole := plan.TCPRoute{Origin: origin(rs, rule.Field), Backends: b.weighted(rs, rule.Backends)}
		for _, m := range rule.Matches {
			for _, name := range m.SNI {
				e := entry{route: len(out), name: name}
				if model.Hostname(name).Wildcard() {
					e.wildcard = len(name)
				}
				entries = append(entries, e)
			}
		}
		if len(rule.Matches) == 0 {
			entries = append(entries, entry{route: len(out), wildcard: 1})
		}
		out = append(out, whole)
	}
	slices.SortStableFunc(entries, func(x, y entry) int {
		if (x.wildcard == 0) != (y.wildcard == 0) {
			return cmp.Compare(x.wildcard, y.wildcard)
		}
		return cmp.Compare(y.wildcard, x.wildcard)
	})
	var routes []plan.TCPRoute
	last, seen := -1, make(map[string]bool, len(entries))
	for _, e := range entries {
		switch {
		case seen[e.name]: // an older route has it
			continue
		case e.name == "": // whatever a connection asks for
			return append(routes, out[e.route])
		case e.route != last:
			r := out[e.route]
			r.Matches = []model.TCPMatch{{}}
			routes, last = append(routes, r), e.route
		}
		seen[e.name] = true
		names := &routes[len(routes)-1].Matches[0].SNI
		*names = append(*names, e.name)
	}
	return routes
}

// firstConnectionRule gives the rule of a TLSRoute or a TCPRoute that is in force.
func firstConnectionRule(rs *model.RouteSet) *model.TCPRule {
	for _, rules := range [][]model.TCPRule{rs.TLS, rs.TCP} {
		if len(rules) > 0 {
			return &rules[0]
		}
	}
	return nil
}
