package compile

import (
	"fmt"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// A ServiceEntry gives its endpoints by names, which sidecars ask of DNS. The names of some hosts of the mesh no DNS server knows, or with an
// address at which nothing answers: those of Services that only other clusters have, of mirrors, and of what clusters have exported. Such
// a name is called as the host is: its pods, by mutual TLS, through the gateways of their network.

// onlySidecarsAnswer reports whether a Service is such a host. What has been exported has an address that kube-proxy serves where imports are written.
func onlySidecarsAnswer(s *model.Service) bool {
	return s.Resolution == model.ResolveSlices && (s.Origin.Cluster != "" || s.Imported() && len(s.VIPs) == 0 || s.Mirror != nil)
}

// inMesh gives a backend of a ServiceEntry the endpoints of hosts that its DNS names, in place of the names. What the entry says of
// such an endpoint beside its name counts for DNS only; where it says who has to answer (subjectAltNames), or is for a subset, nobody would see
// to that, and the name stays what it is.
func (b *backends) inMesh(out *plan.Backend, s *model.Service) {
	if isKubernetes(s) || out.Subset != "" || len(s.SubjectAltNames) > 0 || len(out.DNS) == 0 {
		return
	}
	var shards []string
	out.DNS = slices.DeleteFunc(out.DNS, func(d plan.DNSEndpoint) bool {
		known, at := b.behind(d)
		// Gateways are asked for the host at the port that was called.
		if known == nil || known.Key == s.Key || at.Port != out.Port {
			return false
		}
		shards = append(shards, b.shards(known, at, destinationRules{b.view}.policy(known))...)
		return true
	})
	out.Shards = append(out.Shards, shards...)
	if len(out.DNS) == 0 && len(shards) > 0 {
		out.Resolution = model.ResolveStatic
	}
}

// behind finds the Service that only sidecars answer for, and its port, that a name and a port lead to.
func (b *backends) behind(d plan.DNSEndpoint) (*model.Service, *model.ServicePort) {
	found := b.servicesAt(d.Host)
	if len(found) == 0 || !onlySidecarsAnswer(found[0]) {
		return nil, nil
	}
	for i := range found[0].Ports {
		if p := &found[0].Ports[i]; p.Port == d.Port {
			return found[0], p
		}
	}
	return nil, nil
}

// namedInVain reports endpoints by names of such hosts that DNS is asked for all the same, which has no addresses that answer.
func namedInVain(c *checker, services []*model.Service) {
	for _, s := range services {
		if isKubernetes(s) || s.Resolution != model.ResolveDNS && s.Resolution != model.ResolveDNSRoundRobin {
			continue
		}
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			if e.DNS == "" || e.DNS == s.Host {
				continue
			}
			if found := c.as(s.Key.Namespace).servicesAt(e.DNS); len(found) > 0 && onlySidecarsAnswer(found[0]) {
				endpointInVain(c, s, i, found[0])
			}
		}
	}
}

// endpointInVain reports an endpoint that names a known host, and is not called as that.
func endpointInVain(c *checker, s *model.Service, i int, known *model.Service) {
	e := &s.Endpoints[i]
	if len(s.SubjectAltNames) > 0 {
		c.warn(s.Origin, "spec.subjectAltNames", fmt.Sprintf("only sidecars answer for the endpoint %s, and with subjectAltNames DNS is asked for it, which has no addresses: calls fail", e.DNS),
			"leave them out: its pods have to prove to be those of the Service")
		return
	}
	for j := range s.Ports {
		p := &s.Ports[j]
		if at := staticPort(e, p); at != p.Port || portOf(known, at) == nil {
			c.warn(s.Origin, fmt.Sprintf("spec.endpoints[%d]", i), fmt.Sprintf("only sidecars answer for %s, at the ports that it has: calls of port %d, which are for its port %d, fail", e.DNS, p.Port, at),
				"give the entry a port that "+string(e.DNS)+" has, and the endpoint the same one")
		}
	}
}
