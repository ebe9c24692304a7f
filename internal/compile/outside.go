package compile

import (
	"net/netip"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// A host is outside where no Service and no ServiceEntry defines it. A VirtualService may name one all the same: calls to
// addresses of no Service and no pod are then told by the host that they name, at the ports below.

// Where a rule names no port: as in Istio, which adds the virtual host of such a VirtualService to the routes of port 80
// alone, and the usual one of TLS, for which Istio has none.
const (
	outsideHTTPPort = 80
	outsideTLSPort  = 443
)

// outside gives the routes to a host that nothing defines, at a port.
func (v routing) outside(t plan.HostPort) appliedRoutes {
	a := v.routes(t)
	var out appliedRoutes
	for _, rs := range a.http {
		if slices.Contains(v.outsideHTTP(rs), t.Port) {
			out.http = append(out.http, rs)
		}
	}
	for _, rs := range a.tcp {
		if slices.Contains(outsideTLS(rs), t.Port) {
			named := *rs
			named.TCP = nil // nothing in a plain connection names a host
			out.tcp = append(out.tcp, &named)
		}
	}
	return out
}

// outsideHTTP lists the ports at which requests to a route set's hosts outside are found: those that its rules name; where one
// names none, as in Istio those of the services that it is for as well, or 80 where there are none.
func (v view) outsideHTTP(rs *model.RouteSet) []uint16 {
	if dialectOf(rs) != dialectIstio {
		return nil
	}
	var out []uint16
	everywhere := false
	for i := range rs.HTTP {
		everywhere = everywhere || len(rs.HTTP[i].Matches) == 0
		for j := range rs.HTTP[i].Matches {
			port := rs.HTTP[i].Matches[j].Port
			everywhere = everywhere || port == 0
			out = append(out, port)
		}
	}
	if everywhere {
		ports := v.httpPorts(rs)
		if len(ports) == 0 {
			ports = []uint16{outsideHTTPPort}
		}
		out = append(out, ports...)
	}
	return slices.DeleteFunc(out, func(p uint16) bool { return p == 0 })
}

// httpPorts lists the ports that may carry requests, of the services that a route set is for.
func (v view) httpPorts(rs *model.RouteSet) []uint16 {
	var out []uint16
	for _, h := range rs.Hosts {
		_, found := v.resolveHost(h, rs.Ref.Namespace)
		for _, s := range found {
			for i := range s.Ports {
				switch s.Ports[i].Protocol {
				case model.Undeclared, model.HTTP, model.HTTP2, model.GRPC, model.GRPCWeb:
					out = append(out, s.Ports[i].Port)
				case model.TCP, model.TLS, model.UDP:
				}
			}
		}
	}
	return out
}

// outsideTLS lists the ports at which TLS connections to a route set's hosts outside are found.
func outsideTLS(rs *model.RouteSet) []uint16 {
	if dialectOf(rs) != dialectIstio {
		return nil
	}
	var out []uint16
	for i := range rs.TLS {
		for _, m := range rs.TLS[i].Matches {
			if m.Port == 0 {
				m.Port = outsideTLSPort
			}
			out = append(out, m.Port)
		}
	}
	return out
}

// isOutside reports whether calls to a host of a route set are found although nothing defines it. A name of the cluster's own
// domain is a mistake.
func (v view) isOutside(h model.Hostname, rs *model.RouteSet) bool {
	if h == "*" || dialectOf(rs) != dialectIstio {
		return false
	}
	full, found := v.resolveHost(h, rs.Ref.Namespace)
	return len(found) == 0 && unnamed(full, rs) == "" && !strings.HasSuffix(string(full), ".svc."+v.g.ClusterDomain)
}

// unnamed says why no call names a host that nothing defines, "" where some do.
func unnamed(h model.Hostname, rs *model.RouteSet) string {
	if _, err := netip.ParseAddr(string(h)); err == nil {
		return "calls to an address name no host"
	}
	if len(rs.HTTP)+len(rs.TLS) == 0 {
		return "nothing in a plain connection names it"
	}
	return ""
}

// namedPorts lists the ports, ascending, at which hosts are called that can be told by their names alone.
func namedPorts(r *store.Reader, g Global) []uint16 {
	var out []uint16
	for _, s := range r.ServicesByNameAlone() {
		for i := range s.Ports {
			if s.Ports[i].Protocol != model.UDP {
				out = append(out, s.Ports[i].Port)
			}
		}
	}
	v := view{snapshot: snapshot{r, g}, all: true}
	for _, rs := range r.RouteSetsByNameAlone() {
		if slices.ContainsFunc(rs.Hosts, func(h model.Hostname) bool { return v.isOutside(h, rs) }) {
			out = append(append(out, v.outsideHTTP(rs)...), outsideTLS(rs)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
