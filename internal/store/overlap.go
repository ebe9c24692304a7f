package store

import (
	"cmp"
	"net/netip"
	"slices"

	"fairlead.dev/fairlead/internal/model"
)

// SharedAddresses is the table of addresses that pods of several clusters have. There are none where things are well: it is kept
// beside the workloads so that who looks for them need not read all of those.
const SharedAddresses Table = "shared-addresses" // "[network/]address"

// SharedAddress is an address at which there are pods of several clusters, in the order of those and of their keys.
type SharedAddress struct {
	ID   string
	Addr netip.Addr
	Pods []model.ClusterKey
}

func sharedAddresses() tableState { //nolint:ireturn // of whatever type
	return define(schema[SharedAddress]{table: SharedAddresses, id: func(s *SharedAddress) string { return s.ID }})
}

// share notes which addresses of a workload, as it was before or is now, pods of several clusters have. Pods on the network of
// their node have no address of their own.
func (tx *Txn) share(w *model.Workload) {
	if w == nil {
		return
	}
	for _, a := range w.IPs {
		id := within(w.Network, addressID(a))
		row := SharedAddress{ID: id, Addr: a.Unmap()}
		for _, at := range to[model.Workload](tx).by(WorkloadsAtAddress, id) {
			if !at.HostNetwork && !at.Terminating {
				row.Pods = append(row.Pods, at.Key)
			}
		}
		slices.SortFunc(row.Pods, func(a, b model.ClusterKey) int { return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), a.Compare(b)) })
		if slices.ContainsFunc(row.Pods, func(k model.ClusterKey) bool { return k.Cluster != row.Pods[0].Cluster }) {
			to[SharedAddress](tx).set(&row)
		} else {
			to[SharedAddress](tx).remove(id)
		}
	}
}
