package view

import (
	"time"

	"fairlead.dev/fairlead/internal/traffic"
)

// side is one end of a hop.
type side struct {
	// pod is nil where the end is none that the control plane knows.
	pod *traffic.Pod
	// namespace and workload are what is known without a pod; name is what an end outside the cluster is called.
	namespace, workload, name string
	identity, address         string
	// cluster is that of the end where the mesh has several; elsewhere says that it is not that of the control plane.
	cluster   string
	elsewhere bool
}

// hop is what one sidecar reported of one edge.
type hop struct {
	src, dst side
	outbound bool // the reporter is the caller
	edge     *traffic.Edge
	sample   traffic.Sample
	seconds  float64
}

// index finds pods.
type index struct {
	cluster string                     // of the control plane, empty where there is one only
	byName  map[[3]string]*traffic.Pod // with the cluster, empty for the own
	byIP    map[string]*traffic.Pod
	owner   map[[2]string]string // kind of a workload by namespace and name
}

func newIndex(a *traffic.Answer) *index {
	x := &index{cluster: a.Cluster, byName: map[[3]string]*traffic.Pod{}, byIP: map[string]*traffic.Pod{}, owner: map[[2]string]string{}}
	for i := range a.Gone { // those that are there come later, and their word counts
		p := &a.Gone[i]
		x.byName[[3]string{"", p.Namespace, p.Name}] = p
		x.owner[[2]string{p.Namespace, p.Workload}] = p.Kind
	}
	for i := range a.Remote {
		p := &a.Remote[i]
		x.byName[[3]string{p.Cluster, p.Namespace, p.Name}] = p
		x.owner[[2]string{p.Namespace, p.Workload}] = p.Kind
	}
	for i := range a.Pods {
		p := &a.Pods[i]
		x.byName[[3]string{"", p.Namespace, p.Name}] = p
		x.owner[[2]string{p.Namespace, p.Workload}] = p.Kind
		for _, ip := range p.IPs {
			x.byIP[ip] = p
		}
	}
	return x
}

// hops makes pairs of the flows. Edges that stand for several, and calls that reached no endpoint, have a side without a name.
func hops(a *traffic.Answer) ([]hop, *index) {
	x := newIndex(a)
	all := make([]hop, 0, len(a.Flows))
	for i := range a.Flows {
		h := x.hopOf(&a.Flows[i])
		h.sample = a.Flows[i].Sample()
		all = append(all, h)
	}
	return all, x
}

// hopOf is that of a flow, without its numbers.
func (x *index) hopOf(f *traffic.Flow) hop {
	h := hop{outbound: f.Direction == traffic.Outbound.String(), edge: &f.Edge, seconds: f.Seconds}
	own, peer := x.reporter(f), x.peer(f)
	if h.src, h.dst = own, peer; !h.outbound {
		h.src, h.dst = peer, own
	}
	return h
}

func (x *index) reporter(f *traffic.Flow) side {
	s := side{namespace: f.Namespace, name: f.Pod}
	if p := x.byName[[3]string{"", f.Namespace, f.Pod}]; p != nil {
		s = sideOf(p)
	}
	s.cluster = x.cluster
	return s
}

func sideOf(p *traffic.Pod) side {
	return side{pod: p, namespace: p.Namespace, workload: p.Workload, identity: p.Identity}
}

func (x *index) peer(f *traffic.Flow) side {
	s := x.peerIn(f)
	s.cluster = f.Edge.Peer.Cluster
	s.elsewhere = x.isElsewhere(&f.Edge)
	return s
}

// isElsewhere reports whether the peer of an edge is of another cluster. Who does not say what the own one is called has said which
// pods it has.
func (x *index) isElsewhere(e *traffic.Edge) bool {
	if e.Peer.Cluster == "" || x.cluster != "" {
		return e.Peer.Cluster != x.cluster && e.Peer.Cluster != ""
	}
	return x.byName[[3]string{"", e.Peer.Namespace, e.Peer.Pod}] == nil && x.byIP[e.Peer.Address] == nil
}

func (x *index) peerIn(f *traffic.Flow) side {
	e := &f.Edge // whose direction is that of f where it came as JSON
	cluster := ""
	if x.isElsewhere(e) {
		cluster = e.Peer.Cluster
	}
	p := x.byName[[3]string{cluster, e.Peer.Namespace, e.Peer.Pod}]
	if p == nil && e.Peer.Workload == "" && e.Peer.Address != "" {
		p = x.byIP[e.Peer.Address]
		if p != nil && e.Peer.Identity != "" && shortID(p.Identity) != shortID(e.Peer.Identity) {
			p = nil // a gateway, which passed on what another one sent
		}
	}
	if p != nil {
		s := sideOf(p)
		s.identity, s.address = e.Peer.Identity, e.Peer.Address
		return s
	}
	s := side{namespace: e.Peer.Namespace, workload: e.Peer.Workload, identity: e.Peer.Identity, address: e.Peer.Address}
	if s.workload == "" && s.address != "" {
		s.name = s.address
		inbound := f.Direction == traffic.Inbound.String()
		if namespace, account, ok := traffic.AccountOf(s.identity); inbound && ok {
			s.namespace, s.name = namespace, "sa/"+account // of whom no more is known than what it proved
		}
		if !inbound && e.Service != "" && !isCatchAll(e.Service) {
			s.name = e.Service
		}
	}
	return s
}

// isCatchAll tells what stands for hosts that the mesh does not know: Istio's names.
func isCatchAll(service string) bool {
	return service == "PassthroughCluster" || service == "BlackHoleCluster"
}

// nameAs is what a side is called among resources of a kind. of says that it is of that kind; others have their own kind before
// their name. It is empty for a side that is not known.
func (x *index) nameAs(s *side, k *Kind) (name string, of bool) {
	switch {
	case k.Name == "namespace" && s.namespace != "":
		return s.namespace, true
	case s.name != "" && s.pod == nil && s.workload == "":
		return s.name, k.Name == "pod" && s.namespace != ""
	case k.Name == "pod" && s.pod != nil:
		return s.pod.Name, true
	case s.workload == "":
		return "", false
	}
	kind := x.owner[[2]string{s.namespace, s.workload}]
	if s.pod != nil {
		kind = s.pod.Kind
	}
	if kind == k.Model || kind == "" && k.Model == "Deployment" { // of a workload that is gone
		return s.workload, true
	}
	for _, other := range Kinds {
		if other.Model == kind && kind != "" || other.Name == "pod" && kind == "Pod" {
			return other.Short + "/" + s.workload, false
		}
	}
	return s.workload, false
}

// isMeshed reports whether a side has a sidecar that reports.
func (s *side) isMeshed() bool {
	if s.pod != nil {
		return s.pod.Meshed
	}
	return s.identity != ""
}

// shortID is the name of a service account, "web.emojivoto", as the first two parts of a Linkerd identity are.
func shortID(spiffe string) string {
	namespace, account, ok := traffic.AccountOf(spiffe)
	if !ok {
		return spiffe
	}
	return account + "." + namespace
}

// sum adds up hops: counts, and rates by the time for which each reporter has counted.
type sum struct {
	traffic.Sample
	rps, tries             float64 // per second: requests, and these with their retries
	receivedRate, sentRate float64 // bytes per second
}

func (s *sum) add(h *hop) {
	s.Add(&h.sample)
	if h.seconds > 0 {
		s.rps += float64(h.sample.Requests()) / h.seconds
		s.tries += float64(h.sample.Requests()+h.sample.Retries) / h.seconds
		s.receivedRate += float64(h.sample.Received) / h.seconds
		s.sentRate += float64(h.sample.Sent) / h.seconds
	}
}

// millis is a quantile in whole milliseconds, rounded up: a request takes some time.
func (s *sum) millis(q float64) uint64 {
	return uint64((s.Latency.Quantile(q) + time.Millisecond - 1) / time.Millisecond)
}
