package store

import (
	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"fairlead.dev/fairlead/internal/model"
)

// Txn collects the changes of one commit. It is valid only inside the function given to Commit, in its goroutine.
// Later calls see what earlier ones did.
type Txn struct {
	changed    Changed
	services   writer[model.Service]
	auto       writer[autoAddress]
	slices     writer[model.Slice]
	workloads  writer[model.Workload]
	nodes      writer[model.Node]
	namespaces writer[model.Namespace]
	routeSets  writer[model.RouteSet]
	policies   writer[model.DestinationPolicy]
	peers      writer[model.PeerAuthentication]
	sizes      *iradix.Txn[int]
}

func newTxn(s *schemas, base *state) *Txn {
	changed := Changed{}
	return &Txn{
		changed:    changed,
		services:   writer[model.Service]{schema: &s.services, base: base.services, changed: changed},
		auto:       writer[autoAddress]{schema: &s.auto, base: base.auto, changed: changed},
		slices:     writer[model.Slice]{schema: &s.slices, base: base.slices, changed: changed},
		workloads:  writer[model.Workload]{schema: &s.workloads, base: base.workloads, changed: changed},
		nodes:      writer[model.Node]{schema: &s.nodes, base: base.nodes, changed: changed},
		namespaces: writer[model.Namespace]{schema: &s.namespaces, base: base.namespaces, changed: changed},
		routeSets:  writer[model.RouteSet]{schema: &s.routeSets, base: base.routeSets, changed: changed},
		policies:   writer[model.DestinationPolicy]{schema: &s.policies, base: base.policies, changed: changed},
		peers:      writer[model.PeerAuthentication]{schema: &s.peers, base: base.peers, changed: changed},
		sizes:      base.sizes.Txn(),
	}
}

func (tx *Txn) commit() *state {
	return &state{
		services:   tx.services.commit(),
		auto:       tx.auto.commit(),
		slices:     tx.slices.commit(),
		workloads:  tx.workloads.commit(),
		nodes:      tx.nodes.commit(),
		namespaces: tx.namespaces.commit(),
		routeSets:  tx.routeSets.commit(),
		policies:   tx.policies.commit(),
		peers:      tx.peers.commit(),
		sizes:      tx.sizes.CommitOnly(),
	}
}

// SetServices puts the services that the object origin defines in place of those it defined before; none removes
// them. Every service's Origin is set to origin.
func (tx *Txn) SetServices(origin model.Ref, services ...model.Service) {
	keep := make(map[string]bool, len(services))
	for _, s := range services {
		s.Origin = origin
		keep[serviceID(&s)] = true
		tx.services.set(&s)
	}
	for _, old := range tx.services.by(serviceByOrigin, refID(origin)) {
		if id := serviceID(old); !keep[id] {
			tx.services.remove(id)
		}
	}
}

// SetSlice adds or replaces a slice.
func (tx *Txn) SetSlice(s model.Slice) { tx.slices.set(&s) }

// DeleteSlice removes a slice, if it is there.
func (tx *Txn) DeleteSlice(k model.Key) { tx.slices.remove(k.String()) }

// SetWorkload adds or replaces a workload.
func (tx *Txn) SetWorkload(w model.Workload) {
	tx.workloads.open()
	if _, ok := tx.workloads.rows.Get([]byte(w.Key.String())); !ok {
		tx.resize(w.Key.Namespace, 1)
	}
	tx.workloads.set(&w)
}

// DeleteWorkload removes a workload, if it is there.
func (tx *Txn) DeleteWorkload(k model.Key) {
	if tx.workloads.remove(k.String()) {
		tx.resize(k.Namespace, -1)
	}
}

// resize counts a workload more or less in a namespace.
func (tx *Txn) resize(namespace string, by int) {
	n, _ := tx.sizes.Get([]byte(namespace))
	if hundreds(n) != hundreds(n+by) {
		tx.changed[Key{WorkloadHundreds, namespace}] = struct{}{}
	}
	if n+by == 0 {
		tx.sizes.Delete([]byte(namespace))
		return
	}
	tx.sizes.Insert([]byte(namespace), n+by)
}

// SetNode adds or replaces a node.
func (tx *Txn) SetNode(n model.Node) { tx.nodes.set(&n) }

// DeleteNode removes a node, if it is there.
func (tx *Txn) DeleteNode(name string) { tx.nodes.remove(name) }

// SetNamespace adds or replaces a namespace.
func (tx *Txn) SetNamespace(n model.Namespace) { tx.namespaces.set(&n) }

// DeleteNamespace removes a namespace, if it is there.
func (tx *Txn) DeleteNamespace(name string) { tx.namespaces.remove(name) }

// SetRouteSet adds or replaces a route set.
func (tx *Txn) SetRouteSet(r model.RouteSet) { tx.routeSets.set(&r) }

// DeleteRouteSet removes a route set, if it is there.
func (tx *Txn) DeleteRouteSet(ref model.Ref) { tx.routeSets.remove(refID(ref)) }

// SetPolicy adds or replaces a destination policy.
func (tx *Txn) SetPolicy(p model.DestinationPolicy) { tx.policies.set(&p) }

// DeletePolicy removes a destination policy, if it is there.
func (tx *Txn) DeletePolicy(ref model.Ref) { tx.policies.remove(refID(ref)) }

// SetPeerAuthentication adds or replaces a peer authentication policy.
func (tx *Txn) SetPeerAuthentication(p model.PeerAuthentication) { tx.peers.set(&p) }

// DeletePeerAuthentication removes a peer authentication policy, if it is there.
func (tx *Txn) DeletePeerAuthentication(ref model.Ref) { tx.peers.remove(refID(ref)) }

// assignAutoAddresses gives addresses anew where the set of services that need one has changed.
func (tx *Txn) assignAutoAddresses() {
	if !tx.changed.Has(Key{ServicesWithoutAddress, All}) {
		return
	}
	gone := make(map[string]bool)
	for _, row := range tx.auto.base.all() {
		gone[row.ID] = true
	}
	for _, row := range assignAuto(tx.services.by(serviceWithoutAddress, All)) {
		delete(gone, row.ID)
		tx.auto.set(row)
	}
	for id := range gone {
		tx.auto.remove(id)
	}
}
