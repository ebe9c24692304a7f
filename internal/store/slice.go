package store

import (
	"net/netip"

	"fairlead.dev/fairlead/internal/model"
)

// The table of slices, and its indexes. A slice's ID is "[cluster/]namespace/name".
const (
	Slices          Table = "slices"
	SliceShapes     Table = "slice-shapes"      // as Slices
	SlicesOfService Table = "slices-of-service" // "namespace/name" of the service: the names of its slices, not their content
	SlicesOfPod     Table = "slices-of-pod"     // the pod, spelled as a slice: the names of slices, not their content
	SlicesAtAddress Table = "slices-at-address" // "[network/]address" of an endpoint: the names of slices, not their content
)

func endpointSlices() tableState { //nolint:ireturn // of whatever type
	return define(schema[model.Slice]{
		table: Slices, id: func(s *model.Slice) string { return s.Key.String() },
		indexes: []index[model.Slice]{
			{
				table: SliceShapes, ids: func(s *model.Slice) []string { return []string{s.Key.String()} },
				part: func(s *model.Slice) any { return shapeOf(s) },
			},
			{
				table: SlicesOfService, ids: func(s *model.Slice) []string { return []string{s.Service.String()} },
				part: nameOnly[model.Slice],
			},
			{table: SlicesOfPod, ids: podsOf, part: nameOnly[model.Slice]},
			{table: SlicesAtAddress, ids: addressesOf, part: nameOnly[model.Slice]},
		},
	})
}

// ShardSize is how many endpoints of a slice go into one EndpointShard. Kubernetes keeps slices at 100 as well, so
// nearly every slice is one shard.
const ShardSize = 100

// SliceShape is what a slice looks like from afar: enough to name its shards, and unchanged while endpoints come
// and go.
type SliceShape struct {
	Key     model.ClusterKey
	Service model.Key
	Ports   []model.SlicePort
	// Shards is how many times ShardSize endpoints the slice holds, rounded up, at least 1.
	Shards int
}

func shapeOf(s *model.Slice) SliceShape {
	return SliceShape{Key: s.Key, Service: s.Service, Ports: s.Ports, Shards: hundreds(len(s.Endpoints))}
}

// hundreds rounds n up to full shards.
func hundreds(n int) int { return max(1, (n+ShardSize-1)/ShardSize) }

func podsOf(s *model.Slice) []string {
	var out []string
	for i := range s.Endpoints {
		if pod := s.Endpoints[i].Pod; pod.Name != "" {
			out = append(out, pod.String())
		}
	}
	return unique(out)
}

func addressesOf(s *model.Slice) []string {
	var out []string
	for i := range s.Endpoints {
		for _, a := range s.Endpoints[i].Addresses {
			out = append(out, within(s.Network, addressID(a)))
		}
	}
	return unique(out)
}

// SetSlice adds or replaces a slice.
func (tx *Txn) SetSlice(s model.Slice) { to[model.Slice](tx).set(&s) }

// DeleteSlice removes a slice, if it is there.
func (tx *Txn) DeleteSlice(k model.ClusterKey) { to[model.Slice](tx).remove(k.String()) }

// Slice gives a slice with its endpoints, or nil.
func (r *Reader) Slice(k model.ClusterKey) *model.Slice {
	return row[model.Slice](r, k.String())
}

// SliceShape gives what a slice looks like from afar.
func (r *Reader) SliceShape(k model.ClusterKey) (SliceShape, bool) {
	r.note(SliceShapes, k.String())
	s, ok := in[model.Slice](r.state).get(k.String())
	if !ok {
		return SliceShape{}, false
	}
	return shapeOf(s), true
}

// SlicesOfService lists the names of a service's slices.
func (r *Reader) SlicesOfService(k model.Key) []model.ClusterKey {
	return sliceKeys(By[model.Slice](r, SlicesOfService, k.String()))
}

// SlicesOfPod lists the names of the slices that have the pod among their endpoints.
func (r *Reader) SlicesOfPod(k model.ClusterKey) []model.ClusterKey {
	return sliceKeys(By[model.Slice](r, SlicesOfPod, k.String()))
}

// SlicesAtAddress lists the names of the slices that have an endpoint with the address in a network.
func (r *Reader) SlicesAtAddress(network string, a netip.Addr) []model.ClusterKey {
	id := within(network, addressID(a))
	return sliceKeys(By[model.Slice](r, SlicesAtAddress, id))
}

func sliceKeys(rows []*model.Slice) []model.ClusterKey {
	keys := make([]model.ClusterKey, 0, len(rows))
	for _, s := range rows {
		keys = append(keys, s.Key)
	}
	return keys
}
