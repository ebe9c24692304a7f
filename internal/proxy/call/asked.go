package call

import (
	"net/netip"

	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/route"
)

// What calls decide, for who asks about one that is not made.

// RouteOf gives the route that a request of the workload's app to a port of the destination would take, nil for none. The path gets the
// spelling that rules match; ok is false for one that is refused.
func (o *Outgoing) RouteOf(d *directory.Destination, req *httpx.Request, port uint16) (r *route.Route, ok bool) {
	path, ok := route.NormalizePath(nil, req.Path, o.Self.PathMode())
	if !ok {
		return nil, false
	}
	req.Path = path
	return d.Routes.Match(req, o.Self.Caller(), port), true
}

// RuleOf gives the rule that an opaque connection of the app would be carried by, nil for none. Nothing is known of a TLS name.
func (o *Outgoing) RuleOf(d *directory.Destination, to netip.AddrPort, from netip.Addr) *route.TCPRoute {
	return d.TCPRoutes.Match(route.Connection{To: to, From: from}, o.Self.Caller())
}
