package envoy

import (
	"net/netip"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// place keeps of a class what makes a difference for endpoints where networks are separate.
func (l look) place(c *Class) {
	if compile.HasGateways(l.r, l.g) {
		c.Kind, c.Capture, c.Network = l.c.Kind, l.c.Capture, l.c.Network
	}
}

// acrossNetworks puts gateways in the place of the endpoints of other networks, as Istio does: an Envoy asks them for the host by
// the server name of its cluster, and they choose. What it does not call by mutual TLS, it does not call there.
func (l assignments) acrossNetworks(b *plan.Backend, all []plan.Endpoint) []plan.Endpoint {
	type gateway struct {
		at       netip.AddrPort
		locality model.Locality
	}
	out := make([]plan.Endpoint, 0, len(all))
	places := map[gateway]int{}
	for i := range all {
		e := &all[i]
		if e.Network == "" || e.Network == l.c.Network {
			out = append(out, *e)
			continue
		}
		if e.Health != plan.Healthy || !l.c.Capture || b.TLS.Mode != model.TLSUnset && b.TLS.Mode != model.TLSIstioMutual {
			continue
		}
		for _, g := range e.Gateways {
			if g.Host != "" && g.Host != b.Host {
				continue // the server name of the cluster is that of the mirror, of which its gateway knows nothing
			}
			key := gateway{netip.AddrPortFrom(g.Addr, g.Port), e.Locality}
			at, known := places[key]
			if !known {
				at, places[key] = len(out), len(out)
				out = append(out, plan.Endpoint{Addr: key.at, Health: plan.Healthy, Locality: e.Locality, Meshed: true})
			}
			out[at].Weight += max(1, e.Weight) * max(1, g.Weight)
		}
	}
	return out
}
