package compile

import (
	"cmp"
	"net/netip"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// workloads are what runs at addresses, and what calls to them are labelled by.
type workloads struct{ view }

// workload compiles a plan.NameWorkload.
func (v workloads) workload(n plan.Name) *plan.Workload {
	w := workloads{v.in(n.Network)}.workloadAt(n.IP)
	if w == nil {
		return nil
	}
	return &plan.Workload{
		IP: n.IP, Network: n.Network, Key: w.Key.Key, IPs: w.IPs,
		ServiceAccount: serviceAccount(w.ServiceAccount), Identity: v.identity(w), Meshed: meshed(w),
		Locality: v.localityOf(w, w.Key.Cluster, w.Node, ""), Info: v.info(w), Labels: w.Labels, NetworkName: networks{v.snapshot}.of(w),
		Inbound: inboundName(w.Key).String(),
	}
}

// workloadAt gives the workload that owns an address, or nil. Pods on their node's network share its address with
// each other and with the node itself, so none of them owns it. A pod that is going may have lost its address to a
// new one, which comes first.
func (v workloads) workloadAt(addr netip.Addr) *model.Workload {
	owners := slices.DeleteFunc(v.r.WorkloadsAtAddress(v.net, addr), func(w *model.Workload) bool {
		return w.HostNetwork || v.net == "" && networks{v.snapshot}.overlapping(w)
	})
	if len(owners) == 0 {
		return nil
	}
	return slices.MinFunc(owners, func(a, b *model.Workload) int {
		return cmp.Or(cmp.Compare(terminatingRank(a), terminatingRank(b)), a.Key.Compare(b.Key))
	})
}

func terminatingRank(w *model.Workload) int {
	if w.Terminating {
		return 1
	}
	return 0
}

func meshed(w *model.Workload) bool { return w.Meshed && !w.HostNetwork }

// identity is the SPIFFE ID that a peer must prove, empty for a workload without a sidecar.
func (v workloads) identity(w *model.Workload) string {
	if !meshed(w) {
		return ""
	}
	return v.spiffeID(w.Key.Namespace, w.ServiceAccount)
}

func (m snapshot) spiffeID(namespace, account string) string {
	return spiffePrefix + m.g.TrustDomain + "/ns/" + namespace + "/sa/" + serviceAccount(account)
}

// serviceAccount is what Kubernetes fills in where a pod names none.
func serviceAccount(name string) string { return cmp.Or(name, "default") }

// localityOf is that of the workload's own label, else that of its node; where that is not known either, the zone that the
// slice gives. w is nil where no workload is.
func (v workloads) localityOf(w *model.Workload, cluster, node, zone string) model.Locality {
	if w != nil && w.Locality != (model.Locality{}) {
		return w.Locality
	}
	if node != "" {
		if n := v.r.Node(cluster, node); n != nil && n.Locality != (model.Locality{}) {
			return n.Locality
		}
	}
	return model.Locality{Zone: zone}
}

// info collects the labels that metrics carry.
func (v workloads) info(w *model.Workload) plan.WorkloadInfo {
	l := w.Labels
	name := cmp.Or(l["service.istio.io/workload-name"], w.OwnerName, w.Key.Name)
	return plan.WorkloadInfo{
		Namespace: w.Key.Namespace, Pod: w.Key.Name, Name: name,
		App:           cmp.Or(l["app"], l["app.kubernetes.io/name"]),
		Version:       cmp.Or(l["version"], l["app.kubernetes.io/version"]),
		CanonicalName: cmp.Or(w.CanonicalName, name), CanonicalRevision: cmp.Or(w.CanonicalRevision, "latest"),
		Cluster: cmp.Or(w.Key.Cluster, v.g.ClusterID), Node: w.Node,
	}
}

// entryInfo is that of a workload that is no pod.
func (g group) entryInfo(e *model.StaticEndpoint) plan.WorkloadInfo {
	w := model.Workload{Key: model.ClusterKey{Key: model.Key{Namespace: g.service.Key.Namespace, Name: e.Name}}, Labels: e.Labels}
	out := g.info(&w)
	out.Pod = ""
	return out
}

// sharedWorkload finds the pod on its node's network that a slice names behind the address and port.
func (v workloads) sharedWorkload(at netip.AddrPort) *model.Workload {
	for _, k := range v.slicesAt(at.Addr()) {
		slice := v.r.Slice(k)
		if slice == nil {
			continue
		}
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if e.Pod.Name != "" && len(e.Addresses) > 0 && e.Addresses[0].Unmap() == at.Addr() && listens(slice, at.Port()) {
				return v.r.Workload(e.Pod)
			}
		}
	}
	return nil
}

func listens(s *model.Slice, port uint16) bool {
	for _, p := range s.Ports {
		if p.Port == port {
			return true
		}
	}
	return false
}
