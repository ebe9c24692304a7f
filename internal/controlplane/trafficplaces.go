package controlplane

import (
	"cmp"
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
// outside, a pod of two clusters that have one of its name where the sidecar does not say which, which older ones never do.
func (p places) name(report *traffic.Report) {
	others := p.others()
	known := store.NewReader(p.engine.store.Snapshot())
	for i := range report.Rows {
		peer := &report.Rows[i].Edge.Peer
		said := peer.Cluster
		peer.Cluster = ""
		switch addr, err := netip.ParseAddr(peer.Address); {
		case len(others) == 0:
		case peer.Pod != "":
			peer.Cluster = one(p.withPod(known, others, model.Key{Namespace: peer.Namespace, Name: peer.Pod}), said)
		case err == nil:
			peer.Cluster = p.ofAddress(known, addr, peer.Identity)
		case said == p.own || slices.Contains(others, said): // of several pods that were put together
			peer.Cluster = said
		}
	}
}

// one gives the only one of a list, or that which was said.
func one(list []string, said string) string {
	switch {
	case len(list) == 1:
		return list[0]
	case slices.Contains(list, said):
		return said
	}
	return ""
}

// withPod lists the clusters that have a pod of a name.
func (p places) withPod(known *store.Reader, others []string, pod model.Key) (clusters []string) {
	if known.Workload(model.ClusterKey{Key: pod}) != nil {
		clusters = append(clusters, p.own)
	}
	for _, other := range others {
		if known.Workload(model.ClusterKey{Cluster: other, Key: pod}) != nil {
			clusters = append(clusters, other)
		}
	}
	return clusters
}

// ofAddress says of which cluster the pod at an address is. One that has not proved to be that pod came by a gateway, and from anywhere.
func (p places) ofAddress(known *store.Reader, addr netip.Addr, identity string) string {
	at := known.WorkloadsAtAddress("", addr)
	if len(at) != 1 {
		return ""
	}
	if namespace, account, ok := traffic.AccountOf(identity); ok && (namespace != at[0].Key.Namespace || account != at[0].ServiceAccount) {
		return ""
	}
	return cmp.Or(at[0].Key.Cluster, p.own)
}
