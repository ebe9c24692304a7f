package compile

import (
	"net/netip"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// endpointShards are the endpoints behind names of shards, as the viewing namespace groups them.
type endpointShards struct{ view }

// shard compiles a plan.NameShard.
func (v endpointShards) shard(n plan.Name) *plan.EndpointShard {
	v = endpointShards{v.as(n.Client).by(n.Selected)}
	if n.Source == plan.FromPod {
		return dialled(v).podShard(n)
	}
	endpoints, ok := v.shardEndpoints(n)
	if !ok {
		return nil
	}
	return &plan.EndpointShard{Name: n.String(), Endpoints: endpoints}
}

// shardEndpoints gives the endpoints of a shard; ok is false where the shard does not exist.
func (v endpointShards) shardEndpoints(n plan.Name) (_ []plan.Endpoint, ok bool) {
	if n.Source == plan.FromSlice {
		return v.sliceEndpoints(n)
	}
	if n.Source == plan.FromStatic {
		return v.writtenEndpoints(n)
	}
	s, p := v.entryService(n.Namespace, n.At)
	if p == nil {
		return nil, false
	}
	g := v.group(s, p)
	keys := v.r.WorkloadsInNamespace(n.Namespace)
	return g.selected(part(keys, n.Part)), len(s.Selector) > 0 && n.Part <= v.r.WorkloadHundreds(n.Namespace)
}

// writtenEndpoints gives (a part of) the endpoints that stand in manifests, of the first service of the namespace that has some.
func (v endpointShards) writtenEndpoints(n plan.Name) (_ []plan.Endpoint, ok bool) {
	for _, s := range v.sorted(v.r.ServicesByHost(n.At.Host)) {
		p := portOf(s, n.At.Port)
		if s.Key.Namespace != n.Namespace || p == nil {
			continue
		}
		if list := v.written(s); hasAddresses(list) {
			return v.group(s, p).static(part(list, n.Part)), inParts(len(list), n.Part)
		}
	}
	return nil, false
}

// entryService gives the ServiceEntry of a namespace that defines exactly the host, and the port.
func (v endpointShards) entryService(namespace string, t plan.HostPort) (*model.Service, *model.ServicePort) {
	var found []*model.Service
	for _, s := range v.r.ServicesByHost(t.Host) {
		if s.Key.Namespace == namespace && !isKubernetes(s) {
			found = append(found, s)
		}
	}
	return withPort(v.sorted(found), t.Port)
}

// sliceEndpoints gives the endpoints of (a part of) an EndpointSlice.
func (v endpointShards) sliceEndpoints(n plan.Name) (_ []plan.Endpoint, ok bool) {
	for _, s := range v.r.ServicesByHost(n.At.Host) {
		p := portOf(s, n.At.Port)
		if !isKubernetes(s) || p == nil {
			continue
		}
		slice := v.r.Slice(model.ClusterKey{Cluster: n.Cluster, Key: model.Key{Namespace: s.Key.Namespace, Name: n.Slice}})
		if slice == nil || !v.has(s, slice) || !inParts(len(slice.Endpoints), n.Part) {
			continue
		}
		number := slicePort(slice.Ports, p.Name)
		if number == 0 {
			continue
		}
		return v.group(s, p).slice(slice, n.Part, number), true
	}
	return nil, false
}

// inParts reports whether a list of n things has this part; the first part is there even when it is empty.
func inParts(n, part int) bool { return part == 1 || n > (part-1)*store.ShardSize }

// part gives the part of a list that a shard holds.
func part[T any](list []T, number int) []T {
	low := min(len(list), (number-1)*store.ShardSize)
	return list[low:min(len(list), low+store.ShardSize)]
}

// group builds the endpoints of one port of one service.
type group struct {
	workloads

	service *model.Service
	port    *model.ServicePort
	policy  effectivePolicy
	labels  []string   // those that failoverPriority compares
	peers   peerLevels // of the service's namespace
	check   *model.HealthCheckPolicy
}

func (v endpointShards) group(s *model.Service, p *model.ServicePort) group {
	policy := destinationRules(v).policy(s)
	return group{
		workloads: workloads(v), service: s, port: p, policy: policy, labels: v.priorityLabels(policy),
		peers: peerPolicies{v.snapshot}.peerLevels(s.Key.Namespace), check: healthChecks{v.snapshot}.of(s),
	}
}

// slice gives the endpoints of a part of an EndpointSlice. Of an endpoint's addresses the first counts, as the API says; a pod
// of a dual-stack Service, which is in a slice of each family, has both.
func (g group) slice(s *model.Slice, number int, port uint16) []plan.Endpoint {
	list := part(s.Endpoints, number)
	out := make([]plan.Endpoint, 0, len(list))
	checked := g.checkedInSlice(s)
	for i := range list {
		e := &list[i]
		if len(e.Addresses) == 0 || !(mirrorOf{g}).takes(e, s) {
			continue
		}
		w := g.workloadOf(s, e)
		at, other := g.addressesOf(e, w)
		ep := g.endpoint(netip.AddrPortFrom(at, port), w)
		ep.Other, ep.Health, ep.ForZones = other, healthOf(e, w, g.service), e.ForZones
		g.judge(&ep, w, checked)
		if w == nil {
			networks{g.snapshot}.place(&ep, networks{g.snapshot}.ofEndpoint(s, at))
		}
		if ep.Locality == (model.Locality{}) || e.Node != "" {
			ep.Locality = g.localityOf(w, s.Key.Cluster, e.Node, e.Zone)
		}
		mirrorOf{g}.call(&ep, s)
		if e.Node != "" {
			ep.Workload.Node = e.Node
		}
		if s.Key.Cluster != "" {
			ep.Workload.Cluster = s.Key.Cluster // also of an endpoint that is no pod
		}
		out = append(out, ep)
	}
	return out
}

// addressesOf gives the address that an endpoint that has one is called by, and that of the other family, if it has one.
func (g group) addressesOf(e *model.SliceEndpoint, w *model.Workload) (at, other netip.Addr) {
	if at = e.Addresses[0].Unmap(); g.service.DualStack {
		return bothAddresses(at, w)
	}
	return at, netip.Addr{}
}

// bothAddresses gives the address that a pod of a dual-stack Service is called by, and that of the other family, if it has
// one: the same two for each of its slices, of which every family has its own, for the pod is one endpoint.
func bothAddresses(addr netip.Addr, w *model.Workload) (at, other netip.Addr) {
	other = otherAddress(addr, w)
	if other.IsValid() && w.IPs[0].Unmap() == other {
		return other, addr
	}
	return addr, other
}

// otherAddress gives the workload's first address of the family that addr, one of its own, is not of; none where it has none.
func otherAddress(addr netip.Addr, w *model.Workload) (other netip.Addr) {
	if w == nil {
		return netip.Addr{}
	}
	own := false
	for _, ip := range w.IPs {
		ip = ip.Unmap()
		own = own || ip == addr
		if !other.IsValid() && ip.Is4() != addr.Is4() {
			other = ip
		}
	}
	if !own {
		return netip.Addr{}
	}
	return other
}

// workloadOf gives what runs at an endpoint that has an address, or nil.
func (g group) workloadOf(s *model.Slice, e *model.SliceEndpoint) *model.Workload {
	if e.Pod.Name != "" {
		return g.r.Workload(e.Pod)
	}
	return workloads{g.in(s.Network)}.workloadAt(e.Addresses[0].Unmap())
}

// healthOf reads the conditions of an EndpointSlice: an endpoint on its way out that still serves is draining. So is one
// whose pod was told to end, for the slice says so later, or never. So is, for the purpose, one that is called not ready
// while its pod was well when its kubelet last spoke: it is called where nothing better is left. When the API server was
// away, all nodes are silent for a while, and everything works.
func healthOf(e *model.SliceEndpoint, w *model.Workload, s *model.Service) plan.Health {
	switch {
	case w != nil && w.Terminating && (e.Ready || s.PublishNotReady):
		return plan.Draining
	case e.Ready, s.PublishNotReady:
		return plan.Healthy
	case e.Serving && e.Terminating, w != nil && w.Well && !e.Terminating:
		return plan.Draining
	}
	return plan.Unhealthy
}

// static gives the endpoints written in manifests that are addresses; names are resolved in the proxy.
func (g group) static(list []model.StaticEndpoint) []plan.Endpoint {
	out := make([]plan.Endpoint, 0, len(list))
	for i := range list {
		e := &list[i]
		at, w, ok := g.writtenAt(e)
		if !ok {
			continue
		}
		ep := g.endpoint(at, w)
		ep.Weight = max(1, e.Weight)
		if e.Unhealthy {
			ep.Health = plan.Unhealthy
		}
		if e.Name != "" && ep.Workload.Name == "" {
			ep.Workload = g.entryInfo(e)
		}
		if len(e.Labels) > 0 {
			ep.Subsets = g.policy.subsetNames(e.Labels)
			ep.Labels = labelsAmong(g.labels, e.Labels, e.Network)
		}
		if e.Locality != (model.Locality{}) {
			ep.Locality = e.Locality
		}
		if e.Unix != "" { // nobody but the caller can reach it: it is neither checked nor in the mesh
			out = append(out, ep)
			continue
		}
		g.judge(&ep, w, g.checkedWritten(e))
		if !ep.Meshed && !ep.Mutual {
			g.outsider(g.service, e, g.policy.demandsMutual()).applyTo(&ep)
		}
		if e.Network != "" {
			networks{g.snapshot}.place(&ep, e.Network)
		}
		out = append(out, ep)
	}
	return out
}

// writtenAt gives where an endpoint is, and what runs there, if that is known. ok is false for names, and where the port is not
// there.
func (g group) writtenAt(e *model.StaticEndpoint) (at netip.AddrPort, w *model.Workload, ok bool) {
	port, ok := writtenPort(g.service, e, g.port)
	switch {
	case !ok:
	case e.Unix != "":
		return model.SocketAddr(e.Unix), nil, true
	case e.Address.IsValid():
		addr := e.Address.Unmap()
		return netip.AddrPortFrom(addr, port), g.writtenWorkload(e.Network, addr), true
	}
	return at, nil, false
}

// writtenWorkload gives the workload that owns an address of a network, as it is written in a manifest; nil where none does.
func (g group) writtenWorkload(network string, addr netip.Addr) *model.Workload {
	w := g.workloadAt(addr)
	if w == nil && network != "" {
		return workloads{g.in(network)}.workloadAt(addr)
	}
	if n := (networks{g.snapshot}); w != nil && network != "" && n.of(w) != network {
		return nil // that of another network has the same address
	}
	return w
}

// selected gives the pods that a ServiceEntry's workloadSelector picks out of its namespace.
func (g group) selected(keys []model.ClusterKey) []plan.Endpoint {
	out := make([]plan.Endpoint, 0, len(keys))
	for _, k := range keys {
		w := g.r.Workload(k)
		if w == nil || len(w.IPs) == 0 || !selects(g.service.Selector, w.Labels) {
			continue
		}
		addr := w.IPs[0].Unmap()
		ep := g.endpoint(netip.AddrPortFrom(addr, g.workloadPort(w)), w)
		ep.Other = otherAddress(addr, w)
		g.judge(&ep, w, g.checkedOf(w))
		out = append(out, ep)
	}
	return out
}

func (g group) workloadPort(w *model.Workload) uint16 {
	if n, ok := w.Ports[g.port.TargetName]; ok && g.port.TargetName != "" {
		return n
	}
	return targetPort(g.port)
}

// endpoint fills in what is known of an address; w is nil where no workload is. A pod that was told to end drains, wherever
// it is an endpoint.
func (g group) endpoint(at netip.AddrPort, w *model.Workload) plan.Endpoint {
	out := plan.Endpoint{Addr: at, Weight: 1, Health: plan.Healthy}
	if w == nil {
		return out
	}
	if w.Terminating {
		out.Health = plan.Draining
	}
	out.Subsets = g.policy.subsetNames(w.Labels)
	out.Labels = labelsAmong(g.labels, w.Labels, networks{g.snapshot}.of(w))
	out.Locality = g.localityOf(w, w.Key.Cluster, w.Node, "")
	out.Workload, out.Stable = g.info(w), w.OwnerKind == "StatefulSet"
	g.secure(&out, w)
	networks{g.snapshot}.place(&out, networks{g.snapshot}.of(w))
	return out
}
