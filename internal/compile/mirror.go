package compile

import (
	"cmp"
	"net/netip"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// slicesOf lists the slices whose endpoints a Kubernetes Service has: its own in all clusters that share their Services with this
// one; of a mirror those of the Services that it mirrors, be their clusters apart or not.
func (m snapshot) slicesOf(s *model.Service) []model.ClusterKey {
	if s.Mirror == nil {
		return slices.DeleteFunc(m.r.SlicesOfService(s.Key), func(k model.ClusterKey) bool {
			return !s.Counts(k) || store.IsApart(m.r, k.Cluster)
		})
	}
	var out []model.ClusterKey
	for _, from := range s.Mirror.Sources {
		for _, k := range m.r.SlicesOfService(model.Key{Namespace: s.Key.Namespace, Name: from.Name}) {
			if k.Cluster == from.Cluster && k.Namespace == s.Key.Namespace {
				out = append(out, k)
			}
		}
	}
	slices.SortFunc(out, model.ClusterKey.Compare)
	return slices.Compact(out)
}

// SlicesOf lists the slices whose endpoints a Kubernetes Service has.
func SlicesOf(r *store.Reader, s *model.Service) []model.ClusterKey {
	return snapshot{r: r}.slicesOf(s)
}

// has reports whether the endpoints of a slice are endpoints of a Kubernetes Service.
func (m snapshot) has(s *model.Service, slice *model.Slice) bool {
	if s.Mirror == nil {
		return slice.Service == s.Key && s.Counts(slice.Key) && !store.IsApart(m.r, slice.Key.Cluster)
	}
	_, ok := s.Mirror.From(slice.Key.Cluster, slice.Service.Name)
	return ok && slice.Service.Namespace == s.Key.Namespace
}

// mirrorOf is what the endpoints of a mirror are to be like; of other services all stays as it is.
type mirrorOf struct{ group }

// call has an endpoint of a mirror be called as its cluster demands: by the gateways that the mirror names, where it names
// some, and by the name of the Service there, for a gateway knows no other.
func (g mirrorOf) call(e *plan.Endpoint, slice *model.Slice) {
	if g.service.Mirror == nil {
		if len(e.Gateways) > 0 && onlySidecarsAnswer(g.service) {
			e.Gateways = slices.Clone(e.Gateways)
			nameAtGateways(e, g.service.Host) // a ServiceEntry may have it as an endpoint
		}
		return
	}
	from, ok := g.service.Mirror.From(slice.Key.Cluster, slice.Service.Name)
	if !ok {
		return
	}
	if g.service.Mirror.ByGateway {
		e.Network, e.Gateways = "link/"+from.Cluster, nil
		if (e.Meshed || e.Mutual) && e.Identity != "" {
			e.Gateways = g.linkGateways()
		}
	}
	nameAtGateways(e, from.Host)
}

// nameAtGateways says what the gateways of an endpoint are asked for, whatever the host is called here.
func nameAtGateways(e *plan.Endpoint, host model.Hostname) {
	for i := range e.Gateways {
		e.Gateways[i].Host = host
	}
}

// takes reports whether an endpoint of a slice is one of the Service: of the mirror of a pod that pod alone is.
func (g mirrorOf) takes(e *model.SliceEndpoint, slice *model.Slice) bool {
	if g.service.Mirror == nil {
		return true
	}
	from, ok := g.service.Mirror.From(slice.Key.Cluster, slice.Service.Name)
	return ok && from.Has(e)
}

// ownSlices lists the slices of this cluster that a mirror has itself: its gateways, or of a headless one its pods, each with the address of the
// mirror of that pod.
func (m snapshot) ownSlices(k model.Key) []*model.Slice {
	var out []*model.Slice
	for _, at := range m.r.SlicesOfService(k) {
		if slice := m.r.Slice(at); slice != nil && at.Cluster == "" {
			out = append(out, slice)
		}
	}
	return out
}

// gatewaySlices lists those in which a mirror has its gateways. A headless one has none, for its name stands for what its slices have; the
// mirrors of its pods have all the same.
func (g mirrorOf) gatewaySlices() []*model.Slice {
	own := g.ownSlices(g.service.Key)
	if !g.service.Headless {
		return own
	}
	for _, pods := range own {
		for i := range pods.Endpoints {
			mirror := model.MirrorName(pods.Endpoints[i].Hostname, g.service.Mirror.Cluster)
			if found := g.ownSlices(model.Key{Namespace: g.service.Key.Namespace, Name: mirror}); len(found) > 0 {
				return found
			}
		}
	}
	return nil
}

// linkGateways gives the gateways that the own slices of a mirror name: those that were alive when they were last asked.
func (g mirrorOf) linkGateways() []plan.Gateway {
	var out []plan.Gateway
	for _, slice := range g.gatewaySlices() {
		port := slicePort(slice.Ports, g.port.Name)
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if !e.Ready || port == 0 || len(e.Addresses) == 0 {
				continue
			}
			at := netip.AddrPortFrom(e.Addresses[0].Unmap(), port)
			out = append(out, plan.Gateway{Addr: at.Addr(), Port: at.Port(), Weight: 1})
		}
	}
	slices.SortFunc(out, func(a, b plan.Gateway) int { return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Port, b.Port)) })
	return slices.CompactFunc(out, func(a, b plan.Gateway) bool { return a.Addr == b.Addr && a.Port == b.Port })
}
