package compile

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// How long resolvers may keep an answer. Addresses of services stay; those of headless ones come and go with pods.
const (
	serviceTTL  = 30 * time.Second
	headlessTTL = 5 * time.Second
)

// dnsNames are the answers to questions for names, asked in the viewing namespace.
type dnsNames struct{ view }

// resolveDNS finds the canonical form of a name that an app asked for; names that are not the mesh's are forwarded. Who
// may ask depends on the namespace, the answer does not: an address stands for the host, whichever of several
// services behind the host the caller's namespace then sees (see resolveAddrPort).
func (v dnsNames) resolveDNS(written model.Hostname) (string, bool) {
	for _, h := range v.candidates(string(written)) {
		if v.answer(h).source != nil {
			return plan.DNSQuestion(h), true
		}
	}
	return "", false
}

// dnsName compiles a plan.NameDNS.
func (v dnsNames) dnsName(h model.Hostname) *plan.DNSName {
	v.all = true
	a := v.answer(h)
	if a.source == nil {
		return nil
	}
	return v.fill(h, a)
}

// answer says where the addresses of a name come from: the service, and for the name of one pod behind a headless
// service the pod's label, and its cluster where that is part of the name. source is nil for names that are not ours.
type answer struct {
	source       *model.Service
	pod, cluster string
}

func (v dnsNames) answer(h model.Hostname) answer {
	if found := v.servicesAt(h); len(found) > 0 {
		if !v.answers(found[0]) {
			return answer{}
		}
		return answer{source: found[0]}
	}
	label, rest, ok := strings.Cut(string(h), ".")
	if !ok {
		return answer{}
	}
	if found := v.servicesAt(model.Hostname(rest)); len(found) > 0 && found[0].Headless && !found[0].Imported() {
		if len(v.podAddresses(found[0], label, "")) == 0 {
			return answer{} // the cluster's DNS says that there is no such name
		}
		return answer{source: found[0], pod: label}
	}
	if a := v.imported(label, rest); a.source != nil {
		return a
	}
	for _, level := range v.levels(h)[1:] {
		if found := v.servicesAt(level); len(found) > 0 {
			if len(v.addresses(found[0])) == 0 {
				return answer{} // any name below a wildcard may exist elsewhere
			}
			return answer{source: found[0]}
		}
	}
	return answer{}
}

// imported finds a pod behind a headless service that clusters have exported: "pod.cluster.svc.ns.svc.clusterset.local".
func (v dnsNames) imported(label, rest string) answer {
	cluster, host, ok := strings.Cut(rest, ".")
	if !ok || !strings.HasSuffix(host, ".svc."+model.ClusterSetDomain) {
		return answer{}
	}
	found := v.servicesAt(model.Hostname(host))
	if len(found) == 0 || !found[0].Headless || !found[0].Imported() {
		return answer{}
	}
	if len(v.podAddresses(found[0], label, cluster)) == 0 {
		return answer{}
	}
	return answer{source: found[0], pod: label, cluster: cluster}
}

// answers reports whether we know more of s than the outside does: all of a Kubernetes Service, the address of a
// ServiceEntry.
func (v dnsNames) answers(s *model.Service) bool { return isKubernetes(s) || len(v.addresses(s)) > 0 }

// fill gives the answer. Where the name exists and has no address it is empty: that is an answer too.
func (v dnsNames) fill(h model.Hostname, a answer) *plan.DNSName {
	out := &plan.DNSName{Host: h, TTL: serviceTTL}
	switch {
	case a.source.ExternalName != "":
		out.CNAME = a.source.ExternalName
	case a.pod != "":
		out.Addresses, out.TTL = v.podAddresses(a.source, a.pod, a.cluster), headlessTTL
	case a.source.Headless:
		out.Addresses, out.TTL = v.podAddresses(a.source, "", ""), headlessTTL
	default:
		out.Addresses = v.addresses(a.source)
	}
	return out
}

// podAddresses lists the addresses of a headless service's ready endpoints, or of those that go by the label: their
// hostname or, as CoreDNS has it, their address with dashes. Where no endpoint of the service is ready, those count
// whose nodes fell silent, as for calls (see healthOf): when the API server was away, all nodes are silent for a while. Where a
// cluster is named only its endpoints count.
func (v dnsNames) podAddresses(s *model.Service, label, cluster string) []netip.Addr {
	endpoints := v.endpointsOf(s, cluster, func(e *model.SliceEndpoint) bool { return e.Ready || s.PublishNotReady })
	if len(endpoints) == 0 {
		endpoints = v.endpointsOf(s, cluster, v.well)
	}
	var out []netip.Addr
	for _, e := range endpoints {
		if label == "" || goesBy(e, label) {
			out = appendUnmapped(out, e.Addresses)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// endpointsOf lists those endpoints of a Kubernetes Service's slices that are wanted.
func (v dnsNames) endpointsOf(s *model.Service, cluster string, wanted func(*model.SliceEndpoint) bool) []*model.SliceEndpoint {
	var out []*model.SliceEndpoint
	ofCluster := func(name string, k model.ClusterKey) bool {
		return name == "" || strings.EqualFold(name, cmp.Or(k.Cluster, v.g.ClusterID))
	}
	for _, slice := range v.namedSlices(s) {
		if !ofCluster(cluster, slice.Key) {
			continue
		}
		for i := range slice.Endpoints {
			if e := &slice.Endpoints[i]; wanted(e) {
				out = append(out, e)
			}
		}
	}
	return out
}

// namedSlices lists the slices whose addresses the name of a headless Service stands for. Those of a mirror are its own: pods of other clusters
// are called by the addresses of their mirrors.
func (v dnsNames) namedSlices(s *model.Service) []*model.Slice {
	if s.Mirror != nil {
		return v.ownSlices(s.Key)
	}
	var out []*model.Slice
	for _, k := range v.slicesOf(s) {
		if slice := v.r.Slice(k); slice != nil {
			out = append(out, slice)
		}
	}
	return out
}

// well reports whether an endpoint is not ready for no other reason than that its node is silent.
func (v dnsNames) well(e *model.SliceEndpoint) bool {
	if e.Pod.Name == "" || e.Terminating {
		return false
	}
	w := v.r.Workload(e.Pod)
	return w != nil && w.Well
}

func appendUnmapped(out, addrs []netip.Addr) []netip.Addr {
	for _, a := range addrs {
		out = append(out, a.Unmap())
	}
	return out
}

func goesBy(e *model.SliceEndpoint, label string) bool {
	if e.Hostname != "" {
		return strings.EqualFold(e.Hostname, label)
	}
	dashed := strings.NewReplacer(".", "-", ":", "-")
	return slices.ContainsFunc(e.Addresses, func(a netip.Addr) bool { return dashed.Replace(a.Unmap().String()) == label })
}
