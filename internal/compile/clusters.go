package compile

import (
	"fmt"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// clusterChecks report what does not fit between clusters.
type clusterChecks struct{ *checker }

// report reports Services of one name in several clusters that do not fit together, on each of the two. Ports and
// everything else that is said of a host come from one of them, endpoints from all.
func (c clusterChecks) report() {
	c.overlaps()
	for _, remote := range store.List[store.RemoteService](c.r) {
		s := c.kubernetesService(remote.Key)
		if s == nil || s.Origin == remote.Origin || store.IsApart(c.r, remote.Origin.Cluster) {
			continue
		}
		c.ports(s, remote)
		if s.Headless != remote.Headless {
			c.inBoth(s, remote, "spec.clusterIP", fmt.Sprintf("it is headless in one of the two clusters, and not in the other: %s counts", s.Origin), "")
		}
	}
}

// ports compares the ports of the Service that counts with those that another cluster has. Endpoints are put together by
// the names of ports, as slices name them.
func (c clusterChecks) ports(s *model.Service, remote *store.RemoteService) {
	for i := range s.Ports {
		p := &s.Ports[i]
		field := fmt.Sprintf("spec.ports[%d]", i)
		at := slices.IndexFunc(remote.Ports, func(o model.ServicePort) bool { return o.Name == p.Name && isUDP(o) == isUDP(*p) })
		if at < 0 {
			if same := portOf(&remote.Service, p.Port); same != nil && !isUDP(*p) {
				c.inBoth(s, remote, field, fmt.Sprintf("port %d is %s in %s and %s in %s: calls to it go to endpoints of the former only",
					p.Port, nameOfPort(p), s.Origin, nameOfPort(same), remote.Origin), "give the port one name in all clusters")
			}
			continue
		}
		other := &remote.Ports[at]
		switch {
		case other.Port != p.Port:
			c.inBoth(s, remote, field, fmt.Sprintf("%s is port %d in %s and %d in %s: the former counts", nameOfPort(p), p.Port, s.Origin, other.Port, remote.Origin),
				"give the port one number in all clusters")
		case other.Protocol != p.Protocol:
			c.inBoth(s, remote, field, fmt.Sprintf("the protocol of port %d is %s in %s and %s in %s: the former counts",
				p.Port, p.Protocol, s.Origin, other.Protocol, remote.Origin), "declare one protocol in all clusters")
		}
	}
}

// inBoth reports what does not fit on the Service that counts and on that of another cluster.
func (c clusterChecks) inBoth(s *model.Service, remote *store.RemoteService, field, message, fix string) {
	c.warn(s.Origin, field, message, fix)
	c.warn(remote.Origin, field, message, fix)
}

func isUDP(p model.ServicePort) bool { return p.Protocol == model.UDP }

// nameOfPort is how messages call a port of a Service that may have no name.
func nameOfPort(p *model.ServicePort) string {
	if p.Name == "" {
		return "the port without a name"
	}
	return fmt.Sprintf("%q", p.Name)
}
