package compile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
)

// keptHome reports a DestinationRule whose tls keeps callers from the endpoints of other networks: a gateway takes nothing but
// mutual TLS of the mesh.
func keptHome(c *checker, p *model.DestinationPolicy) {
	if p.Host.Wildcard() {
		return
	}
	_, found := c.as(p.Ref.Namespace).resolveHost(p.Host, p.Ref.Namespace)
	if len(found) == 0 {
		return
	}
	var fields []string
	said := func(field string, t model.TrafficPolicy) {
		switch t.TLS.Mode {
		case model.TLSDisable, model.TLSSimple, model.TLSMutual:
			fields = append(fields, field+"="+t.TLS.Mode.String())
		case model.TLSUnset, model.TLSIstioMutual:
		}
	}
	said("spec.trafficPolicy.tls.mode", p.Default)
	for _, port := range slices.Sorted(maps.Keys(p.PerPort)) {
		said("spec.trafficPolicy.portLevelSettings.tls.mode", p.PerPort[port])
	}
	for i := range p.Subsets {
		s := &p.Subsets[i]
		said(s.Field+".trafficPolicy.tls.mode", s.Policy)
	}
	if len(fields) == 0 {
		return
	}
	separate := c.separateNetworks(found[0])
	if len(separate) == 0 {
		return
	}
	for _, f := range slices.Compact(fields) {
		field, mode, _ := strings.Cut(f, "=")
		c.warn(p.Ref, field, fmt.Sprintf("with %s callers of other networks do not reach the endpoints of %s in %s, for gateways between networks take mutual TLS alone",
			mode, found[0].Host, strings.Join(separate, ", ")), "leave tls out, or ISTIO_MUTUAL")
	}
}

// separateNetworks lists the networks with gateways in which a Service has endpoints.
func (c *checker) separateNetworks(s *model.Service) []string {
	networks, out := networks{c.snapshot}, map[string]bool{}
	add := func(network string) {
		if _, separate := networks.gateways(network); separate {
			out[network] = true
		}
	}
	for _, k := range c.slicesOf(s) {
		slice := c.r.Slice(k)
		if slice == nil || !isKubernetes(s) {
			continue
		}
		for i := range slice.Endpoints {
			if w := c.r.Workload(slice.Endpoints[i].Pod); w != nil {
				add(networks.of(w))
			} else if e := &slice.Endpoints[i]; len(e.Addresses) > 0 {
				add(networks.ofEndpoint(slice, e.Addresses[0]))
			}
		}
	}
	written := c.written(s)
	for i := range written {
		add(written[i].Network)
	}
	return slices.Sorted(maps.Keys(out))
}
