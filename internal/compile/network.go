package compile

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// networks says which network workloads are in, and how it is called from others (docs/adr/0028-networks.md).
type networks struct{ snapshot }

// own is the network of the control plane, empty where nothing names it.
func (m networks) own() string { return m.ofCluster("") }

// ofCluster is the network of what runs in a cluster and says nothing of its own: the setting, which is the control plane's alone,
// the label of the namespace of the control plane there, and what the mesh's meshNetworks say; empty where nothing names it.
func (m networks) ofCluster(cluster string) string {
	if cluster == "" && m.g.Network != "" {
		return m.g.Network
	}
	if n := m.r.Namespace(cluster, m.rootNamespace()); n != nil && n.Labels[model.LabelNetwork] != "" {
		return n.Labels[model.LabelNetwork]
	}
	return m.g.Networks.OfCluster(cmp.Or(cluster, m.g.ClusterID))
}

// of gives the network that a workload is in: what its own label says, what the source that it was read from says, its
// namespace, its node, its cluster, and the mesh's meshNetworks of its address.
func (m networks) of(w *model.Workload) string {
	if n := cmp.Or(w.Labels[model.LabelNetwork], w.Network); n != "" {
		return n
	}
	if ns := m.r.Namespace(w.Key.Cluster, w.Key.Namespace); ns != nil && ns.Labels[model.LabelNetwork] != "" {
		return ns.Labels[model.LabelNetwork]
	}
	if node := m.r.Node(w.Key.Cluster, w.Node); w.Node != "" && node != nil && node.Network != "" {
		return node.Network
	}
	if n := m.ofCluster(w.Key.Cluster); n != "" || len(w.IPs) == 0 {
		return n
	}
	return m.g.Networks.OfAddress(w.IPs[0])
}

// ofEndpoint gives the network of an endpoint of a slice at which no workload is known.
func (m networks) ofEndpoint(s *model.Slice, addr netip.Addr) string {
	n := s.Network
	if n == "" && s.Key.Cluster != "" {
		n = m.ofCluster(s.Key.Cluster)
	}
	if n == "" {
		n = m.g.Networks.OfAddress(addr)
	}
	return n
}

// elsewhere reports whether the addresses of a network mean something else to the control plane's own cluster.
func (m networks) elsewhere(network string) bool {
	if network == "" || network == m.own() {
		return false
	}
	_, separate := m.gateways(network)
	return separate
}

// overlapping reports whether a workload is of another cluster, and in a network whose addresses mean something else here: an
// address of here that is the same is somebody else's.
func (m networks) overlapping(w *model.Workload) bool {
	return w.Key.Cluster != "" && m.elsewhere(m.of(w))
}

// slicesAt lists the slices that have an endpoint at an address as it is meant here.
func (v view) slicesAt(addr netip.Addr) []model.ClusterKey {
	found := v.r.SlicesAtAddress(v.net, addr)
	if v.net != "" {
		return found
	}
	n := networks{v.snapshot}
	return slices.DeleteFunc(found, func(k model.ClusterKey) bool { return k.Cluster != "" && n.elsewhere(n.ofCluster(k.Cluster)) })
}

// ways collects where a network is called from others.
type ways struct {
	ready, ending []plan.Gateway
	// separate is set where anything says that there is a gateway, be it one that can be called or not.
	separate bool
}

// gateways gives where a network is called from others. It is separate where anything says that it has a gateway, be there
// one that can be called or not; addresses of any other mean the same to all callers, as in Istio. Where none is ready, those
// are called that are about to end and still serve: a gateway takes connections for a while after it was told to.
func (m networks) gateways(network string) (_ []plan.Gateway, separate bool) {
	if network == "" {
		return nil, false
	}
	var found ways
	for i := range m.g.Networks {
		if n := &m.g.Networks[i]; n.Name == network {
			m.named(&found, n)
		}
	}
	for _, s := range store.Gateways(m.r) {
		if g := s.Gateway; g.Network == network {
			found.separate = true
			m.lead(&found, s, g.Port)
			m.leadToNodes(&found, s)
		}
	}
	out := found.ready
	if len(out) == 0 {
		out = found.ending
	}
	slices.SortFunc(out, func(a, b plan.Gateway) int { return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Port, b.Port)) })
	return slices.Compact(out), found.separate
}

// named adds the gateways that the mesh's meshNetworks name. A Service is looked for in the clusters that are in the network.
func (m networks) named(to *ways, n *model.MeshNetwork) {
	for _, g := range n.Gateways {
		to.separate = true
		if g.Address.IsValid() {
			to.ready = append(to.ready, plan.Gateway{Addr: g.Address, Port: g.Port, Weight: 1})
			continue
		}
		for _, s := range m.servicesOf(g.Service) {
			if slices.Contains(n.Clusters, cmp.Or(s.Origin.Cluster, m.g.ClusterID)) {
				m.lead(to, s, g.Port)
			}
		}
	}
}

// servicesOf lists the Services of a host in all clusters.
func (m networks) servicesOf(host model.Hostname) []*model.Service {
	var out []*model.Service
	for _, s := range m.r.ServicesByHost(host) {
		if isKubernetes(s) && s.Origin.Cluster == "" {
			out = append(out, s)
		}
	}
	short, ok := strings.CutSuffix(string(host), ".svc."+m.g.ClusterDomain)
	name, namespace, named := strings.Cut(short, ".")
	if !ok || !named {
		return out
	}
	for _, s := range store.RemoteServicesByName(m.r, model.Key{Namespace: namespace, Name: name}) {
		out = append(out, &s.Service)
	}
	return out
}

// lead adds the addresses that a Service has outside its cluster, where somebody listens behind them.
func (m networks) lead(to *ways, s *model.Service, port uint16) {
	health := m.servedBy(s)
	for _, a := range s.OutsideAddrs {
		to.add(plan.Gateway{Addr: a, Port: port, Weight: 1}, health)
	}
}

// leadToNodes adds the nodes that run pods of a Service whose gateway is called by them.
func (m networks) leadToNodes(to *ways, s *model.Service) {
	if s.Gateway.NodePort == 0 {
		return
	}
	for e := range m.behind(s) {
		if w := m.r.Workload(e.Pod); w != nil && w.HostIP.IsValid() {
			to.add(plan.Gateway{Addr: w.HostIP, Port: s.Gateway.NodePort, Weight: 1}, healthOfGateway(e))
		}
	}
}

func (w *ways) add(g plan.Gateway, health plan.Health) {
	switch health {
	case plan.Healthy:
		w.ready = append(w.ready, g)
	case plan.Draining:
		w.ending = append(w.ending, g)
	case plan.Unhealthy, plan.Failing:
	}
}

// behind gives the endpoints of a gateway in its own cluster.
func (m networks) behind(s *model.Service) iter.Seq[*model.SliceEndpoint] {
	return func(yield func(*model.SliceEndpoint) bool) {
		for _, k := range m.slicesIn(s) {
			slice := m.r.Slice(k)
			if slice == nil {
				continue
			}
			for i := range slice.Endpoints {
				if !yield(&slice.Endpoints[i]) {
					return
				}
			}
		}
	}
}

// servedBy says what is behind a gateway's addresses: a pod that is ready, or nothing that is known, which is so where the
// Service selects no pods, or nothing was said of those in another cluster; a pod that still serves; or none.
func (m networks) servedBy(s *model.Service) plan.Health {
	if len(s.Selector) == 0 {
		return plan.Healthy
	}
	best, known := plan.Unhealthy, false
	for e := range m.behind(s) {
		known = true
		switch healthOfGateway(e) {
		case plan.Healthy:
			return plan.Healthy
		case plan.Draining:
			best = plan.Draining
		case plan.Unhealthy, plan.Failing:
		}
	}
	if !known && s.Origin.Cluster != "" && len(m.slicesIn(s)) == 0 {
		return plan.Healthy
	}
	return best
}

func healthOfGateway(e *model.SliceEndpoint) plan.Health {
	switch {
	case e.Ready:
		return plan.Healthy
	case e.Serving:
		return plan.Draining
	}
	return plan.Unhealthy
}

// slicesIn lists the slices of a Service in its own cluster.
func (m networks) slicesIn(s *model.Service) []model.ClusterKey {
	return slices.DeleteFunc(m.r.SlicesOfService(s.Key), func(k model.ClusterKey) bool { return k.Cluster != s.Origin.Cluster })
}

// place says in which network an endpoint is, where that matters, and how callers of others reach it. What they cannot call by
// mutual TLS they do not reach: a gateway goes by the name in the client's greeting, and proves nothing to either side.
func (m networks) place(e *plan.Endpoint, network string) {
	gateways, separate := m.gateways(network)
	if !separate {
		return
	}
	if e.Network = network; (e.Meshed || e.Mutual) && e.Identity != "" {
		e.Gateways = gateways
	}
}

// passage compiles a plan.NamePassage: what is exported to all namespaces, with the endpoints of all networks, of which a
// gateway lets in those of its own. Routes do not count: the caller's sidecar has obeyed them.
func (m networks) passage(n plan.Name) *plan.Destination {
	b, protocol := Group(m.r, m.g, "", n.At, "")
	if b == nil {
		return nil
	}
	return &plan.Destination{
		Name: n.String(), Host: n.At.Host, Port: n.At.Port, Service: b.Service, Protocol: protocol,
		Backends: []plan.Backend{{Name: b.Name, Host: b.Host, Port: b.Port, Service: b.Service, Resolution: b.Resolution, LB: b.LB, Shards: b.Shards}},
	}
}

// HasGateways reports whether any network is one that others call by gateways.
func HasGateways(r *store.Reader, g Global) bool {
	return slices.ContainsFunc(g.Networks, func(n model.MeshNetwork) bool { return len(n.Gateways) > 0 }) || len(store.Gateways(r)) > 0
}
