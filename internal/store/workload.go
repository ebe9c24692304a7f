package store

import (
	"net/netip"

	"fairlead.dev/fairlead/internal/model"
)

// The table of workloads, and its indexes. A workload's ID is "[cluster/]namespace/name".
const (
	Workloads            Table = "workloads"
	WorkloadsAtAddress   Table = "workloads-at-address"   // "[network/]address"
	WorkloadsInNamespace Table = "workloads-in-namespace" // the names, not the content
	WorkloadHundreds     Table = "workload-hundreds"      // a namespace: how many workloads it has, in hundreds
)

func workloads() tableState { //nolint:ireturn // of whatever type
	return define(schema[model.Workload]{
		table: Workloads, id: func(w *model.Workload) string { return w.Key.String() },
		indexes: []index[model.Workload]{
			{table: WorkloadsAtAddress, ids: func(w *model.Workload) []string { return addressIDs(w.Network, w.IPs) }},
			{
				table: WorkloadsInNamespace, ids: func(w *model.Workload) []string { return []string{w.Key.Namespace} },
				part: nameOnly[model.Workload],
			},
		},
	})
}

// SetWorkload adds or replaces a workload.
func (tx *Txn) SetWorkload(w model.Workload) {
	before, ok := to[model.Workload](tx).rows.Get([]byte(w.Key.String()))
	if !ok {
		tx.resize(w.Key.Namespace, 1)
	}
	if to[model.Workload](tx).set(&w) {
		tx.share(before)
		tx.share(&w)
	}
}

// DeleteWorkload removes a workload, if it is there.
func (tx *Txn) DeleteWorkload(k model.ClusterKey) {
	before, _ := to[model.Workload](tx).rows.Get([]byte(k.String()))
	if to[model.Workload](tx).remove(k.String()) {
		tx.resize(k.Namespace, -1)
		tx.share(before)
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

// Workload gives a workload, or nil.
func (r *Reader) Workload(k model.ClusterKey) *model.Workload {
	return row[model.Workload](r, k.String())
}

// WorkloadsAtAddress lists the workloads that have the address in a network: several where they share their node's.
func (r *Reader) WorkloadsAtAddress(network string, a netip.Addr) []*model.Workload {
	id := within(network, addressID(a))
	return By[model.Workload](r, WorkloadsAtAddress, id)
}

// WorkloadsInNamespace lists the names of the workloads in a namespace, in order.
func (r *Reader) WorkloadsInNamespace(namespace string) []model.ClusterKey {
	rows := By[model.Workload](r, WorkloadsInNamespace, namespace)
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
