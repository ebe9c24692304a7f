package store

import (
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"fairlead.dev/fairlead/internal/model"
)

// Txn collects the changes of one commit. It is valid only inside the function given to Commit, in its goroutine.
// Later calls see what earlier ones did.
type Txn struct {
	changed Changed
	base    *state
	writers []tableWriter // by slot; nil where nothing was asked of the table: most commits touch one or two
	sizes   *iradix.Txn[int]
}

func newTxn(base *state) *Txn {
	return &Txn{changed: Changed{}, base: base, writers: make([]tableWriter, len(base.tables)), sizes: base.sizes.Txn()}
}

// to gives the writer of a table.
func to[T any](tx *Txn, at slot[T]) *writer[T] {
	if tx.writers[at] == nil {
		tx.writers[at] = tx.base.tables[at].write(tx.changed)
	}
	return tx.writers[at].(*writer[T]) //nolint:forcetypeassert,errcheck // definitions puts its table there
}

func (tx *Txn) commit() *state {
	s := &state{tables: slices.Clone(tx.base.tables), sizes: tx.sizes.CommitOnly()}
	for i, w := range tx.writers {
		if w != nil {
			s.tables[i] = w.commit()
		}
	}
	return s
}

// SetServices puts the services that the object origin defines in place of those it defined before; none removes
// them. Every service's Origin is set to origin.
func (tx *Txn) SetServices(origin model.Ref, defined ...model.Service) {
	keep := make(map[string]bool, len(defined))
	for _, s := range defined {
		s.Origin = origin
		keep[serviceID(&s)] = true
		to(tx, services).set(&s)
	}
	for _, old := range to(tx, services).by(serviceByOrigin, refID(origin)) {
		if id := serviceID(old); !keep[id] {
			to(tx, services).remove(id)
		}
	}
}

// SetSlice adds or replaces a slice.
func (tx *Txn) SetSlice(s model.Slice) { to(tx, endpoints).set(&s) }

// DeleteSlice removes a slice, if it is there.
func (tx *Txn) DeleteSlice(k model.ClusterKey) { to(tx, endpoints).remove(k.String()) }

// SetWorkload adds or replaces a workload.
func (tx *Txn) SetWorkload(w model.Workload) {
	if _, ok := to(tx, workloads).rows.Get([]byte(w.Key.String())); !ok {
		tx.resize(w.Key.Namespace, 1)
	}
	to(tx, workloads).set(&w)
}

// DeleteWorkload removes a workload, if it is there.
func (tx *Txn) DeleteWorkload(k model.ClusterKey) {
	if to(tx, workloads).remove(k.String()) {
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
func (tx *Txn) SetNode(n model.Node) { to(tx, nodes).set(&n) }

// DeleteNode removes a node, if it is there.
func (tx *Txn) DeleteNode(cluster, name string) { to(tx, nodes).remove(nodeID(cluster, name)) }

// SetNamespace adds or replaces a namespace.
func (tx *Txn) SetNamespace(n model.Namespace) { to(tx, namespaces).set(&n) }

// DeleteNamespace removes a namespace, if it is there.
func (tx *Txn) DeleteNamespace(name string) { to(tx, namespaces).remove(name) }

// SetRouteSet adds or replaces a route set.
func (tx *Txn) SetRouteSet(r model.RouteSet) { to(tx, routeSets).set(&r) }

// DeleteRouteSet removes a route set, if it is there.
func (tx *Txn) DeleteRouteSet(ref model.Ref) { to(tx, routeSets).remove(refID(ref)) }

// SetPolicy adds or replaces a destination policy.
func (tx *Txn) SetPolicy(p model.DestinationPolicy) { to(tx, policies).set(&p) }

// DeletePolicy removes a destination policy, if it is there.
func (tx *Txn) DeletePolicy(ref model.Ref) { to(tx, policies).remove(refID(ref)) }

// SetPeerAuthentication adds or replaces a peer authentication policy.
func (tx *Txn) SetPeerAuthentication(p model.PeerAuthentication) { to(tx, peers).set(&p) }

// DeletePeerAuthentication removes a peer authentication policy, if it is there.
func (tx *Txn) DeletePeerAuthentication(ref model.Ref) { to(tx, peers).remove(refID(ref)) }

// assignAutoAddresses gives addresses anew where the set of services that need one has changed.
func (tx *Txn) assignAutoAddresses() {
	if !tx.changed.Has(Key{ServicesWithoutAddress, All}) {
		return
	}
	gone := make(map[string]bool)
	for _, row := range in(tx.base, auto).all() {
		gone[row.ID] = true
	}
	for _, row := range assignAuto(to(tx, services).by(serviceWithoutAddress, All)) {
		delete(gone, row.ID)
		to(tx, auto).set(row)
	}
	for id := range gone {
		to(tx, auto).remove(id)
	}
}
