package store

import (
	"net/netip"
	"slices"

	"fairlead.dev/fairlead/internal/model"
)

// Reader looks things up in one snapshot and notes the key of every look-up, answered or not. Values it hands out
// are shared: never change them. A Reader belongs to one goroutine; make one per computation.
type Reader struct {
	state *state
	keys  map[Key]struct{}
}

// NewReader gives a reader that has read nothing yet.
func NewReader(s Snapshot) *Reader { return &Reader{state: s.state, keys: make(map[Key]struct{})} }

// Keys lists what was read so far, in order.
func (r *Reader) Keys() []Key {
	keys := make([]Key, 0, len(r.keys))
	for k := range r.keys {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, Key.Compare)
	return keys
}

func (r *Reader) note(t Table, id string) { r.keys[Key{t, id}] = struct{}{} }

// ServicesByHost lists the services that define exactly this host, or exactly this wildcard.
func (r *Reader) ServicesByHost(h model.Hostname) []*model.Service {
	r.note(ServicesByHost, string(h))
	return in(r.state, services).by(serviceByHost, string(h))
}

// ServicesByKey lists the services of this name: a Kubernetes Service, the hosts of a ServiceEntry.
func (r *Reader) ServicesByKey(k model.Key) []*model.Service {
	r.note(ServicesByKey, k.String())
	return in(r.state, services).by(serviceByKey, k.String())
}

// ServicesByAddress lists the services that have exactly this address.
func (r *Reader) ServicesByAddress(a netip.Addr) []*model.Service {
	id := addressID(a)
	r.note(ServicesByAddress, id)
	return in(r.state, services).by(serviceByAddress, id)
}

// ServicesByRange lists all services that have a prefix longer than one address: there are few.
func (r *Reader) ServicesByRange() []*model.Service {
	r.note(ServicesByRange, All)
	return in(r.state, services).by(serviceByRange, All)
}

// ServicesByNameAlone lists the hosts of ServiceEntries that have no address of their own: there are few.
func (r *Reader) ServicesByNameAlone() []*model.Service {
	r.note(ServicesByNameAlone, All)
	return in(r.state, services).by(serviceByNameAlone, All)
}

// Services lists all services.
func (r *Reader) Services() []*model.Service {
	r.note(Services, All)
	return in(r.state, services).all()
}

// AutoAddress gives the automatic address of a host, if it has one.
func (r *Reader) AutoAddress(namespace string, h model.Hostname) (netip.Addr, bool) {
	id := autoID(namespace, h)
	r.note(AutoAddresses, id)
	a, ok := in(r.state, auto).get(id)
	if !ok {
		return netip.Addr{}, false
	}
	return a.Addr, true
}

// AutoAddressAt gives the host to which an automatic address was given.
func (r *Reader) AutoAddressAt(addr netip.Addr) (AutoAddress, bool) {
	id := addressID(addr)
	r.note(AutoAddressesAt, id)
	rows := in(r.state, auto).by(autoAddressAt, id)
	if len(rows) == 0 {
		return AutoAddress{}, false
	}
	return AutoAddress{Namespace: rows[0].Namespace, Host: rows[0].Host, Addr: rows[0].Addr}, true
}

// Slice gives a slice with its endpoints, or nil.
func (r *Reader) Slice(k model.ClusterKey) *model.Slice {
	r.note(Slices, k.String())
	s, _ := in(r.state, endpoints).get(k.String())
	return s
}

// SliceShape gives what a slice looks like from afar.
func (r *Reader) SliceShape(k model.ClusterKey) (SliceShape, bool) {
	r.note(SliceShapes, k.String())
	s, ok := in(r.state, endpoints).get(k.String())
	if !ok {
		return SliceShape{}, false
	}
	return shapeOf(s), true
}

// SlicesOfService lists the names of a service's slices.
func (r *Reader) SlicesOfService(k model.Key) []model.ClusterKey {
	r.note(SlicesOfService, k.String())
	return sliceKeys(in(r.state, endpoints).by(sliceOfService, k.String()))
}

// SlicesOfPod lists the names of the slices that have the pod among their endpoints.
func (r *Reader) SlicesOfPod(k model.ClusterKey) []model.ClusterKey {
	r.note(SlicesOfPod, k.String())
	return sliceKeys(in(r.state, endpoints).by(sliceOfPod, k.String()))
}

// SlicesAtAddress lists the names of the slices that have an endpoint with the address in a network.
func (r *Reader) SlicesAtAddress(network string, a netip.Addr) []model.ClusterKey {
	id := within(network, addressID(a))
	r.note(SlicesAtAddress, id)
	return sliceKeys(in(r.state, endpoints).by(sliceAtAddress, id))
}

// Workload gives a workload, or nil.
func (r *Reader) Workload(k model.ClusterKey) *model.Workload {
	r.note(Workloads, k.String())
	w, _ := in(r.state, workloads).get(k.String())
	return w
}

// WorkloadsAtAddress lists the workloads that have the address in a network: several where they share their node's.
func (r *Reader) WorkloadsAtAddress(network string, a netip.Addr) []*model.Workload {
	id := within(network, addressID(a))
	r.note(WorkloadsAtAddress, id)
	return in(r.state, workloads).by(workloadAtAddress, id)
}

// WorkloadsInNamespace lists the names of the workloads in a namespace, in order.
func (r *Reader) WorkloadsInNamespace(namespace string) []model.ClusterKey {
	r.note(WorkloadsInNamespace, namespace)
	rows := in(r.state, workloads).by(workloadInNamespace, namespace)
	keys := make([]model.ClusterKey, 0, len(rows))
	for _, w := range rows {
		keys = append(keys, w.Key)
	}
	return keys
}

// WorkloadHundreds gives how many times ShardSize workloads a namespace has, rounded up, at least 1.
func (r *Reader) WorkloadHundreds(namespace string) int {
	r.note(WorkloadHundreds, namespace)
	n, _ := r.state.sizes.Get([]byte(namespace))
	return hundreds(n)
}

// Node gives a node of a cluster, or nil.
func (r *Reader) Node(cluster, name string) *model.Node {
	id := nodeID(cluster, name)
	r.note(Nodes, id)
	n, _ := in(r.state, nodes).get(id)
	return n
}

// Namespace gives a namespace, or nil.
func (r *Reader) Namespace(name string) *model.Namespace {
	r.note(Namespaces, name)
	n, _ := in(r.state, namespaces).get(name)
	return n
}

// RouteSet gives a route set, or nil.
func (r *Reader) RouteSet(ref model.Ref) *model.RouteSet {
	r.note(RouteSets, refID(ref))
	s, _ := in(r.state, routeSets).get(refID(ref))
	return s
}

// RouteSetsByHost lists the route sets that name exactly this host, or exactly this wildcard.
func (r *Reader) RouteSetsByHost(h model.Hostname) []*model.RouteSet {
	r.note(RouteSetsByHost, string(h))
	return in(r.state, routeSets).by(routeSetByHost, string(h))
}

// RouteSets lists all route sets.
func (r *Reader) RouteSets() []*model.RouteSet {
	r.note(RouteSets, All)
	return in(r.state, routeSets).all()
}

// Policy gives a destination policy, or nil.
func (r *Reader) Policy(ref model.Ref) *model.DestinationPolicy {
	r.note(Policies, refID(ref))
	p, _ := in(r.state, policies).get(refID(ref))
	return p
}

// PoliciesByHost lists the policies for exactly this host, or exactly this wildcard.
func (r *Reader) PoliciesByHost(h model.Hostname) []*model.DestinationPolicy {
	r.note(PoliciesByHost, string(h))
	return in(r.state, policies).by(policyByHost, string(h))
}

// Policies lists all destination policies.
func (r *Reader) Policies() []*model.DestinationPolicy {
	r.note(Policies, All)
	return in(r.state, policies).all()
}

// PeerAuthenticationsInNamespace lists the peer authentication policies of a namespace.
func (r *Reader) PeerAuthenticationsInNamespace(namespace string) []*model.PeerAuthentication {
	r.note(PeerAuthenticationsInNamespace, namespace)
	return in(r.state, peers).by(peerAuthenticationInNamespace, namespace)
}

// PeerAuthentications lists all peer authentication policies.
func (r *Reader) PeerAuthentications() []*model.PeerAuthentication {
	r.note(PeerAuthentications, All)
	return in(r.state, peers).all()
}

func sliceKeys(rows []*model.Slice) []model.ClusterKey {
	keys := make([]model.ClusterKey, 0, len(rows))
	for _, s := range rows {
		keys = append(keys, s.Key)
	}
	return keys
}
