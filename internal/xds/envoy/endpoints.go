package envoy

import (
	"cmp"
	"maps"
	"math"
	"net/netip"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// assignments are the endpoints of clusters.
type assignments struct{ look }

// class reduces a class to what makes a difference for the endpoints of a cluster: where the caller is, only where
// distance matters.
func (l assignments) class(name string) (Class, bool) {
	n, ok := parseClusterName(name)
	if !ok {
		return Class{}, false
	}
	c := Class{Namespace: compile.GroupVariant(l.r, l.g, l.c.Namespace, n.at)}
	b, _ := compile.Group(l.r, l.g, c.Namespace, n.at, n.subset)
	if b == nil || b.Resolution != model.ResolveSlices && b.Resolution != model.ResolveStatic {
		return Class{}, false
	}
	l.place(&c)
	switch {
	case b.Proximity == model.OnlySameNode:
		c.Node = l.c.Node
	case bySetting(b):
		c.Locality = l.c.Locality
		if labels := b.Locality.PriorityLabels(); len(labels) > 0 {
			c.Labels, c.Node, c.Network = only(l.c.Labels, labels), l.c.Node, l.c.Network
		}
	case b.Proximity == model.PreferSameNode:
		c.Node, c.Locality.Zone = l.c.Node, l.c.Locality.Zone
	default: // the hints of a slice are for zones, and may come and go
		c.Locality.Zone = l.c.Locality.Zone
	}
	return c, true
}

// bySetting reports whether a localityLbSetting says where calls go.
func bySetting(b *plan.Backend) bool {
	return b.Locality != nil && !b.Locality.Off && b.Proximity != model.OnlySameNode
}

// endpoints compiles the endpoints of a cluster, nil where there is no such cluster. One without endpoints has none, which is an
// answer.
func (l assignments) endpoints(name string) *endpointv3.ClusterLoadAssignment {
	n, ok := parseClusterName(name)
	if !ok {
		return nil
	}
	b, _ := compile.Group(l.r, l.g, l.c.Namespace, n.at, n.subset)
	if b == nil {
		return nil
	}
	return l.partition(b, l.acrossNetworks(b, l.endpointsOf(b))).assignment(name)
}

// endpointsOf lists the endpoints of a group, each address once: what names one twice is refused by clients of gRPC's.
func (l assignments) endpointsOf(b *plan.Backend) []plan.Endpoint {
	var out []plan.Endpoint
	seen := map[netip.AddrPort]bool{}
	for _, name := range b.Shards {
		shard, _ := compile.Compile(l.r, l.g, name).(*plan.EndpointShard)
		if shard == nil {
			continue
		}
		for _, e := range shard.Endpoints {
			if !e.Addr.IsValid() || seen[e.Addr] || l.c.Kind == GRPC && model.SocketPath(e.Addr.Addr()) != "" || b.Subset != "" && !slices.Contains(e.Subsets, b.Subset) {
				continue
			}
			seen[e.Addr] = true
			if other := netip.AddrPortFrom(e.Other, e.Addr.Port()); e.Other.IsValid() {
				if seen[other] {
					e.Other = netip.Addr{}
				}
				seen[other] = true
			}
			out = append(out, e)
		}
	}
	return out
}

// groups are endpoints by priority and locality.
type groups struct {
	list map[groupKey]*group
	// shares are what localities get of the calls, by the caller's setting; nil for as much as their endpoints weigh.
	shares []model.LocalityShare
}

type groupKey struct {
	priority int
	locality model.Locality
}

type group struct {
	endpoints []*endpointv3.LbEndpoint
	weight    uint64
}

func (g *groups) add(priority int, l model.Locality, e *endpointv3.LbEndpoint) {
	key := groupKey{priority, l}
	if g.list == nil {
		g.list = map[groupKey]*group{}
	}
	if g.list[key] == nil {
		g.list[key] = &group{}
	}
	of := g.list[key]
	of.endpoints = append(of.endpoints, e)
	of.weight += uint64(e.GetLoadBalancingWeight().GetValue())
}

// fit keeps the proportions of weights whose sum Envoy refuses: it adds those of a locality up in 32 bits.
func (of *group) fit() {
	const most = math.MaxUint32 / 2 // the rest is for those that would weigh nothing
	if of.weight <= most {
		return
	}
	for _, e := range of.endpoints {
		e.LoadBalancingWeight = wrapperspb.UInt32(uint32(max(1, uint64(e.GetLoadBalancingWeight().GetValue())*most/of.weight)))
	}
}

// partition groups the endpoints as the caller is to call them: by distance, and by health. Fairlead's sidecars do so in
// internal/proxy/lb; what is called there is HEALTHY here.
func (l assignments) partition(b *plan.Backend, all []plan.Endpoint) *groups {
	out := &groups{}
	all, spare := withSpares(slices.DeleteFunc(all, func(e plan.Endpoint) bool {
		return b.Proximity == model.OnlySameNode && !l.onNode(&e)
	}))
	if spare { // whatever is left is called, wherever it is
		for i := range all {
			out.put(0, &all[i])
		}
		return out
	}
	if bySetting(b) && len(b.Locality.Distribute) > 0 {
		if shares, ok := b.Locality.SharesOf(l.c.Locality); ok {
			out.shares = shares
			all = slices.DeleteFunc(all, func(e plan.Endpoint) bool { return shareOf(shares, e.Locality) < 0 })
		}
	}
	rank := l.ranks(b, all)
	for i := range all {
		if r := rank(&all[i]); r >= 0 {
			out.put(r, &all[i])
		}
	}
	return out
}

// onNode reports whether an endpoint is on the clients' node. Nodes of two clusters may share a name.
func (l assignments) onNode(e *plan.Endpoint) bool {
	return l.c.Node != "" && e.Workload.Node == l.c.Node && (e.Workload.Cluster == "" || e.Workload.Cluster == l.g.ClusterID)
}

// ranks gives how far each endpoint is, 0 the nearest, -1 for one that is not to be told of.
func (l assignments) ranks(b *plan.Backend, all []plan.Endpoint) func(*plan.Endpoint) int {
	if bySetting(b) {
		if len(b.Locality.Distribute) > 0 {
			return func(*plan.Endpoint) int { return 0 }
		}
		here := l.c.site(l.g.ClusterID)
		return func(e *plan.Endpoint) int { return b.Locality.Rank(here, siteOf(e)) }
	}
	near, byHints := l.near(all)
	if b.Locality != nil || b.Proximity == model.OnlySameNode || b.Proximity == model.AnyDistance && !byHints {
		return func(*plan.Endpoint) int { return 0 }
	}
	// A Service's preference counts among healthy endpoints alone: while there is one near, all calls go there.
	return func(e *plan.Endpoint) int {
		switch {
		case e.Health != plan.Healthy:
			return -1
		case b.Proximity == model.PreferSameNode && l.onNode(e):
			return 0
		case near(e):
			return 1
		}
		return 2
	}
}

// near reports whether an endpoint is for the callers of this zone: by hints where each healthy endpoint has some and one is
// for this zone (KEP-2433), else by the zone itself.
func (l assignments) near(all []plan.Endpoint) (_ func(*plan.Endpoint) bool, byHints bool) {
	zone := l.c.Locality.Zone
	inZone := func(e *plan.Endpoint) bool { return zone != "" && e.Locality.Zone == zone }
	hinted := func(e *plan.Endpoint) bool { return slices.Contains(e.ForZones, zone) }
	for i := range all {
		if all[i].Health != plan.Healthy {
			continue
		}
		if len(all[i].ForZones) == 0 {
			return inZone, false
		}
		byHints = byHints || hinted(&all[i])
	}
	if byHints && zone != "" {
		return hinted, true
	}
	return inZone, false
}

func siteOf(e *plan.Endpoint) model.Site {
	topology := model.Topology{Locality: e.Locality, Cluster: e.Workload.Cluster, Node: e.Workload.Node}
	return model.Site{Locality: e.Locality, Label: func(name string) string {
		if v, ok := topology.Label(name); ok {
			return v
		}
		i := slices.IndexFunc(e.Labels, func(l string) bool { return len(l) > len(name) && l[:len(name)+1] == name+"=" })
		if i < 0 {
			return ""
		}
		return e.Labels[i][len(name)+1:]
	}}
}

// withSpares leaves out the endpoints that are on their way out, and calls them where no other is left; where there is none of
// those either, the ones that fail their checks.
func withSpares(all []plan.Endpoint) (_ []plan.Endpoint, spare bool) {
	has := func(h plan.Health) bool {
		return slices.ContainsFunc(all, func(e plan.Endpoint) bool { return e.Health == h })
	}
	if has(plan.Healthy) {
		return slices.DeleteFunc(all, func(e plan.Endpoint) bool { return e.Health == plan.Draining }), false
	}
	for _, h := range []plan.Health{plan.Draining, plan.Failing} {
		if has(h) {
			all = slices.DeleteFunc(all, func(e plan.Endpoint) bool { return e.Health != h })
			for i := range all {
				all[i].Health = plan.Healthy
			}
			return all, true
		}
	}
	return all, false
}

func endpointAddress(at netip.AddrPort) *corev3.Address {
	if path := model.SocketPath(at.Addr()); path != "" {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
	}
	return socketAddress(at.Addr().String(), at.Port())
}

func (g *groups) put(priority int, e *plan.Endpoint) {
	of := &endpointv3.Endpoint{Address: endpointAddress(e.Addr)}
	if e.Other.IsValid() {
		of.AdditionalAddresses = []*endpointv3.Endpoint_AdditionalAddress{{Address: socketAddress(e.Other.String(), e.Addr.Port())}}
	}
	health := corev3.HealthStatus_HEALTHY
	if e.Health != plan.Healthy {
		health = corev3.HealthStatus_UNHEALTHY
	}
	g.add(priority, e.Locality, &endpointv3.LbEndpoint{
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: of}, HealthStatus: health,
		LoadBalancingWeight: wrapperspb.UInt32(max(1, e.Weight)), Metadata: endpointMetadata(e),
	})
}

// assignment gives the groups as a message: priorities without gaps, each locality with a weight, as gRPC's clients demand.
func (g *groups) assignment(name string) *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	keys := slices.SortedFunc(maps.Keys(g.list), func(a, b groupKey) int {
		return cmp.Or(
			cmp.Compare(a.priority, b.priority), cmp.Compare(a.locality.Region, b.locality.Region),
			cmp.Compare(a.locality.Zone, b.locality.Zone), cmp.Compare(a.locality.SubZone, b.locality.SubZone),
		)
	})
	priority, before := uint32(0), 0
	for i, k := range keys {
		if i > 0 && k.priority != before {
			priority++
		}
		before = k.priority
		g.list[k].fit()
		out.Endpoints = append(out.Endpoints, &endpointv3.LocalityLbEndpoints{
			Locality:    &corev3.Locality{Region: k.locality.Region, Zone: k.locality.Zone, SubZone: k.locality.SubZone},
			LbEndpoints: g.list[k].endpoints, Priority: priority, LoadBalancingWeight: wrapperspb.UInt32(g.weight(k)),
		})
	}
	return out
}

// weight is what a locality weighs beside others: what its endpoints do, or its part of the share that its pattern has.
// Percents are spread over a large number, so that parts of them stay in proportion.
func (g *groups) weight(k groupKey) uint32 {
	const most = 1 << 24 // the sum over all localities must stay below 2³²
	i := shareOf(g.shares, k.locality)
	if i < 0 {
		return uint32(min(max(g.list[k].weight, 1), most))
	}
	var together uint64
	for other, of := range g.list {
		if shareOf(g.shares, other.locality) == i {
			together += of.weight
		}
	}
	const unit = 10000
	return uint32(min(max(uint64(g.shares[i].Percent)*unit*g.list[k].weight/max(together, 1), 1), most))
}

// shareOf gives the first share whose pattern covers a locality, -1 for none.
func shareOf(shares []model.LocalityShare, l model.Locality) int {
	return slices.IndexFunc(shares, func(s model.LocalityShare) bool { return s.To.Covers(l) })
}

// endpointMetadata says whose endpoint it is, in Istio's form "workload;namespace;canonical name;revision;cluster", and whether it
// takes mutual TLS.
func endpointMetadata(e *plan.Endpoint) *corev3.Metadata {
	out := map[string]*structpb.Struct{}
	if w := &e.Workload; w.Name != "" {
		text := w.Name + ";" + w.Namespace + ";" + w.CanonicalName + ";" + w.CanonicalRevision + ";" + w.Cluster
		out["istio"] = &structpb.Struct{Fields: map[string]*structpb.Value{"workload": structpb.NewStringValue(text)}}
	}
	if e.Meshed || e.Mutual {
		out[socketMatch] = takesMutual()
	}
	if len(out) == 0 {
		return nil
	}
	return &corev3.Metadata{FilterMetadata: out}
}
