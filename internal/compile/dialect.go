package compile

import (
	"slices"

	"fairlead.dev/fairlead/internal/model"
)

// dialect is the API in which a route set was written. The order is that of precedence on one host
// (docs/adr/0007-route-precedence.md).
type dialect uint8

const (
	dialectIstio dialect = iota + 1
	dialectSMI
	dialectGateway
)

// The kinds whose objects differ in their rules.
const (
	kindService        = "Service"
	kindVirtualService = "VirtualService"
	kindTrafficSplit   = "TrafficSplit"
	kindHTTPRouteGroup = "HTTPRouteGroup"
	kindGRPCRoute      = "GRPCRoute"
	kindHTTPRoute      = "HTTPRoute"
	kindTLSRoute       = "TLSRoute"
	kindTCPRoute       = "TCPRoute"
)

func dialectOf(rs *model.RouteSet) dialect {
	switch rs.Ref.Kind {
	case kindVirtualService:
		return dialectIstio
	case kindTrafficSplit:
		return dialectSMI
	}
	return dialectGateway
}

func isGateway(rs *model.RouteSet) bool { return dialectOf(rs) == dialectGateway }

// rank is the precedence of a route set on one host: those of lower rank are not in force beside it.
type rank struct {
	dialect dialect
	// narrow is 1 for a set that is for the callers of some namespaces only.
	narrow uint8
	// kind tells the kinds of Gateway API's routes apart: GRPCRoute, HTTPRoute, TLSRoute, TCPRoute, "first one wins" (GEP-1426).
	kind uint8
}

func rankOf(rs *model.RouteSet, h model.Hostname) rank {
	r := rank{dialect: dialectOf(rs)}
	if narrow(rs, h) {
		r.narrow = 1
	}
	switch rs.Ref.Kind {
	case kindGRPCRoute:
		r.kind = 4
	case kindHTTPRoute:
		r.kind = 3
	case kindTLSRoute:
		r.kind = 2
	case kindTCPRoute:
		r.kind = 1
	}
	return r
}

// routesConnections reports whether the set is a Gateway API route for connections rather than requests.
func routesConnections(rs *model.RouteSet) bool {
	return rs.Ref.Kind == kindTLSRoute || rs.Ref.Kind == kindTCPRoute
}

// oneKind leaves of Gateway API's routes for one host and port those of the highest rank: one kind of route decides there, and
// "the rejected routes should be ignored" (GEP-1426, "Route types"). Other dialects have rules for requests and for
// connections in one object, and are compared for each of the two.
func oneKind(found []*model.RouteSet, h model.Hostname) []*model.RouteSet {
	var highest rank
	for _, rs := range found {
		if r := rankOf(rs, h); isGateway(rs) && highest.below(r) {
			highest = r
		}
	}
	return slices.DeleteFunc(found, func(rs *model.RouteSet) bool { return isGateway(rs) && rankOf(rs, h).below(highest) })
}

func (r rank) below(o rank) bool {
	switch {
	case r.dialect != o.dialect:
		return r.dialect < o.dialect
	case r.narrow != o.narrow:
		return r.narrow < o.narrow
	}
	return r.kind < o.kind
}

// narrow reports whether the set is for the callers of some namespaces only, where host h is called.
func narrow(rs *model.RouteSet, h model.Hostname) bool {
	switch dialectOf(rs) {
	case dialectIstio:
		return len(rs.ExportTo) > 0 && !slices.Contains(rs.ExportTo, "*")
	case dialectGateway:
		return slices.ContainsFunc(rs.Parents, func(p model.RouteParent) bool { return p.Host == h && foreign(rs, p) })
	case dialectSMI:
	}
	return false
}

// foreign reports whether the parent is a Service of another namespace: the route is one of its consumers'.
func foreign(rs *model.RouteSet, p model.RouteParent) bool {
	return p.Service.Namespace != rs.Ref.Namespace
}

// forAll reports whether the set is for all callers on one of its hosts.
func forAll(rs *model.RouteSet) bool {
	return slices.ContainsFunc(rs.Hosts, func(h model.Hostname) bool { return !narrow(rs, h) })
}

// audience lists the namespaces whose callers a narrow set is for.
func audience(rs *model.RouteSet) []string {
	if isGateway(rs) {
		return []string{rs.Ref.Namespace}
	}
	out := make([]string, 0, len(rs.ExportTo))
	for _, ns := range rs.ExportTo {
		if ns == "." {
			ns = rs.Ref.Namespace
		}
		if ns != "~" {
			out = append(out, ns)
		}
	}
	return out
}
