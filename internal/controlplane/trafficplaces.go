package controlplane

import (
	"net/netip"
	"slices"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
	"fairlead.dev/fairlead/internal/traffic"
)

// places says of which cluster the pods are that sidecars report of. A sidecar tells a peer's namespace and name, or its address;
// while the report is new, the pod is known.
type places struct {
	engine *engine
	own    string
	// others names the other clusters of the mesh.
	others func() []string
}

func placesOf(p *ControlPlane) places {
	return places{p.engine, p.o.ClusterID, func() (names []string) {
		for _, s := range p.clusters.set.Statuses(time.Now()) {
			names = append(names, s.Name)
		}
		return slices.Compact(names)
	}}
}

// name writes into a report of which clusters the peers are, where there are several. What is not known stays empty: an address
// outside, several pods that were put together, a pod of two clusters that have one of its name.
func (p places) name(report *traffic.Report) {
	others := p.others()
	if len(others) == 0 {
		return
	}
	known := store.NewReader(p.engine.store.Snapshot())
	for i := range report.Rows {
		peer := &report.Rows[i].Edge.Peer
		if peer.Pod != "" {
			peer.Cluster = p.ofPod(known, others, model.Key{Namespace: peer.Namespace, Name: peer.Pod})
		} else if addr, err := netip.ParseAddr(peer.Address); err == nil {
			peer.Cluster = p.ofAddress(known, addr)
		}
	}
}

func (p places) ofPod(known *store.Reader, others []string, pod model.Key) (cluster string) {
	if known.Workload(model.ClusterKey{Key: pod}) != nil {
		cluster = p.own
	}
	for _, other := range others {
		if known.Workload(model.ClusterKey{Cluster: other, Key: pod}) == nil {
			continue
		}
		if cluster != "" {
			return ""
		}
		cluster = other
	}
	return cluster
}

func (p places) ofAddress(known *store.Reader, addr netip.Addr) string {
	at := known.WorkloadsAtAddress("", addr)
	switch {
	case len(at) != 1:
		return ""
	case at[0].Key.Cluster == "":
		return p.own
	}
	return at[0].Key.Cluster
}
