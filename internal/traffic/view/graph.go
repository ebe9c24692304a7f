package view

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/traffic"
)

// Graph is who calls whom, as a map draws it. Rates are per second, shares between 0 and 1, durations milliseconds; what is not
// known is absent. Its orders are stable.
type Graph struct {
	Nodes      []Node           `json:"nodes"`
	Services   []ServiceTotal   `json:"services"`
	Edges      []GraphEdge      `json:"edges"`
	Namespaces []NamespaceTotal `json:"namespaces"`
}

// Total is how calls went.
type Total struct {
	RPS      float64 `json:"rps"`
	Requests uint64  `json:"requests"`
	// Success is the share of requests that did not fail; the quantiles are of the time until the end of the answer.
	Success *float64 `json:"success,omitempty"`
	P50     *float64 `json:"p50,omitempty"`
	P95     *float64 `json:"p95,omitempty"`
	P99     *float64 `json:"p99,omitempty"`
	// Codes count requests by the class of their status: "2xx"; "none" where there was no answer.
	Codes    map[string]uint64 `json:"codes,omitempty"`
	Failures uint64            `json:"failures"`
	Retries  uint64            `json:"retries"`
	Timeouts uint64            `json:"timeouts"`
	// Conns counts opaque connections that began, Open those that are open.
	Conns    uint64 `json:"conns"`
	Open     uint64 `json:"open"`
	BytesIn  uint64 `json:"bytesIn"`
	BytesOut uint64 `json:"bytesOut"`
}

// The kinds of a Node that is no workload.
const (
	// NodeAddress is somebody outside the mesh of whom the address alone is known, NodeHost a host outside the cluster.
	NodeAddress = "address"
	NodeHost    = "host"
	// NodeNone stands for the endpoints that a call did not reach.
	NodeNone = "none"
	// NodeOther stands for several that are counted together.
	NodeOther = traffic.OtherName
)

// Node is a workload, or what stands for somebody who is none.
type Node struct {
	// ID is "namespace/kind/name", with "-" for no namespace; a workload of another cluster than the control plane's has
	// "@cluster" behind it.
	ID string `json:"id"`
	// Cluster is that of a workload where the mesh has several.
	Cluster string `json:"cluster,omitempty"`
	// Namespace is empty, and said to be, of what is in none: a host or an address outside, and what had no endpoint.
	Namespace string `json:"ns"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	App       string `json:"app,omitempty"`
	Version   string `json:"version,omitempty"`
	// Meshed means that a pod of it has a sidecar.
	Meshed  bool   `json:"meshed"`
	Pods    int    `json:"pods"`
	Address string `json:"address,omitempty"`
	// Total is of the calls to it; nil where there were none.
	Total *Total `json:"total,omitempty"`
}

// GraphEdge is the calls of one node to another by one way.
type GraphEdge struct {
	ID  string `json:"id"`
	Src string `json:"src"`
	Dst string `json:"dst"`
	// Service is "namespace/name", or a host outside the cluster; Route the name of the rule.
	Service  string `json:"service,omitempty"`
	Route    string `json:"route,omitempty"`
	Protocol string `json:"protocol"`
	// Secured says that the calls went by mutual TLS; Reason why not, and Note says more of that.
	Secured  bool   `json:"secured"`
	Reason   string `json:"reason,omitempty"`
	Note     string `json:"note,omitempty"`
	ClientID string `json:"clientId,omitempty"`
	ServerID string `json:"serverId,omitempty"`
	// Share is this edge's of all requests from Src to the Service; nil where there were none.
	Share *float64 `json:"share,omitempty"`
	Total Total    `json:"total"`
}

// ServiceTotal is the calls to a Service, as callers count them.
type ServiceTotal struct {
	ID        string `json:"id"` // as GraphEdge.Service
	Namespace string `json:"ns,omitempty"`
	Name      string `json:"name"`
	Total     Total  `json:"total"`
}

// NamespaceTotal is the calls to a namespace.
type NamespaceTotal struct {
	Name  string `json:"name"`
	Total Total  `json:"total"`
	// MTLS is the share of requests and connections that came by mutual TLS; nil where there were none.
	MTLS       *float64 `json:"mtls,omitempty"`
	Workloads  int      `json:"workloads"`
	Pods       int      `json:"pods"`
	MeshedPods int      `json:"meshedPods"`
}

// grapher puts a Graph together.
type grapher struct {
	*index

	nodes      map[string]*graphNode
	edges      map[graphKey]*graphSum
	services   map[string]*sum
	namespaces map[string]*namespaceSum
}

type graphNode struct {
	Node

	sum  sum
	seen bool
}

type graphKey struct{ src, dst, service, route, protocol, reason string }

type graphSum struct {
	sum
	clientID, serverID string
	addresses          []string
}

type namespaceSum struct {
	sum
	secured, all uint64
	pods, meshed int
	workloads    map[string]bool
}

// GraphOf draws the map of an answer. Each call is counted once, as "stat" does: on an edge and of a Service as its caller's sidecar
// has counted it, of a workload and a namespace as its own has; the other end is heard where that one has no sidecar. On edges and of
// workloads it is heard also where that one reports to the control plane of another cluster.
func GraphOf(a *traffic.Answer) *Graph {
	all, x := hops(a)
	g := &grapher{index: x, nodes: map[string]*graphNode{}, edges: map[graphKey]*graphSum{}, services: map[string]*sum{}, namespaces: map[string]*namespaceSum{}}
	for i := range a.Pods {
		g.pod(&a.Pods[i])
	}
	for i := range a.Remote {
		g.remote(&a.Remote[i])
	}
	for i := range all {
		g.hop(&all[i])
	}
	return g.graph()
}

// pod counts a pod with its workload.
func (g *grapher) pod(p *traffic.Pod) {
	s := sideOf(p)
	s.cluster = g.cluster
	n := g.node(&s, nil)
	ns := g.namespace(p.Namespace)
	ns.pods++
	ns.workloads[n.ID] = true
	if !p.Terminating {
		n.Pods++
	}
	if p.Meshed {
		n.Meshed = true
		ns.meshed++
	}
	n.label(p)
}

// remote names the app of a pod of another cluster. Of these those are known that took part in calls, so they are not counted.
func (g *grapher) remote(p *traffic.Pod) {
	s := sideOf(p)
	s.cluster, s.elsewhere = p.Cluster, true
	g.node(&s, nil).label(p)
}

func (n *graphNode) label(p *traffic.Pod) {
	n.App = cmp.Or(n.App, p.Labels["app"], p.Labels["app.kubernetes.io/name"])
	n.Version = cmp.Or(n.Version, p.Labels["version"], p.Labels["app.kubernetes.io/version"])
}

func (g *grapher) namespace(name string) *namespaceSum {
	ns := g.namespaces[name]
	if ns == nil {
		ns = &namespaceSum{workloads: map[string]bool{}}
		g.namespaces[name] = ns
	}
	return ns
}

// node is that of one side of a hop.
func (g *grapher) node(s *side, h *hop) *graphNode {
	n := g.identify(s, h)
	n.ID = cmp.Or(n.Namespace, "-") + "/" + n.Kind + "/" + n.Name
	if n.Namespace != "" {
		n.Cluster = s.cluster
		if s.elsewhere {
			n.ID += "@" + s.cluster
		}
	}
	if have := g.nodes[n.ID]; have != nil {
		have.Meshed = have.Meshed || n.Meshed
		return have
	}
	made := &graphNode{Node: n}
	g.nodes[n.ID] = made
	return made
}

func (g *grapher) identify(s *side, h *hop) Node {
	meshed := s.isMeshed()
	switch {
	case s.pod != nil && s.pod.Workload != "":
		return Node{Namespace: s.pod.Namespace, Kind: strings.ToLower(cmp.Or(s.pod.Kind, "Pod")), Name: s.pod.Workload, Meshed: meshed}
	case s.pod != nil:
		return Node{Namespace: s.pod.Namespace, Kind: "pod", Name: s.pod.Name, Meshed: meshed}
	case h != nil && h.edge.IsOther() && s.workload == traffic.OtherName:
		return Node{Kind: NodeOther, Name: traffic.OtherName}
	case s.workload != "":
		kind := cmp.Or(g.owner[[2]string{s.namespace, s.workload}], "Deployment")
		return Node{Namespace: s.namespace, Kind: strings.ToLower(kind), Name: s.workload, Meshed: meshed}
	case s.namespace != "" && s.name != "": // a reporter that is gone
		return Node{Namespace: s.namespace, Kind: "pod", Name: s.name, Meshed: true}
	case s.name != "" && s.name != s.address:
		return Node{Kind: NodeHost, Name: s.name}
	case s.address != "":
		return Node{Kind: NodeAddress, Name: s.address, Address: s.address}
	}
	return Node{Kind: NodeNone, Name: cmp.Or(serviceID(h.edge.Service), "unknown")}
}

// serviceID is "shop/users" for "users.shop".
func serviceID(service string) string {
	if name, namespace := serviceName(service); namespace != "" {
		return namespace + "/" + name
	}
	return service
}

func (g *grapher) hop(h *hop) {
	src, dst := g.node(&h.src, h), g.node(&h.dst, h)
	if h.onEdge() {
		g.edge(h, src, dst)
	}
	if h.counts(true) {
		if service := serviceID(h.edge.Service); service != "" && !h.edge.IsOther() {
			s := g.services[service]
			if s == nil {
				s = new(sum)
				g.services[service] = s
			}
			s.add(h)
		}
	}
	if h.ofCalled() {
		dst.sum.add(h)
		dst.seen = true
	}
	if h.counts(false) {
		if dst.Namespace != "" {
			ns := g.namespace(dst.Namespace)
			ns.add(h)
			n := h.sample.Requests() + h.sample.Opened
			ns.all += n
			if h.edge.NoTLS == "" {
				ns.secured += n
			}
		}
	}
}

// onEdge reports whether a hop is counted on its edge.
func (h *hop) onEdge() bool { return h.counts(true) || !h.outbound && h.src.elsewhere }

// ofCalled reports whether a hop is counted of the workload that is called.
func (h *hop) ofCalled() bool {
	return h.counts(false) || h.outbound && h.dst.elsewhere && h.reachedPeer()
}

func (g *grapher) edge(h *hop, src, dst *graphNode) {
	k := graphKey{src.ID, dst.ID, serviceID(h.edge.Service), h.edge.Route, h.edge.Protocol, h.edge.NoTLS}
	e := g.edges[k]
	if e == nil {
		e = new(graphSum)
		g.edges[k] = e
	}
	e.add(h)
	e.addresses = append(e.addresses, h.edge.Peer.Address)
	if h.edge.NoTLS == "" {
		e.clientID, e.serverID = cmp.Or(e.clientID, h.src.identity), cmp.Or(e.serverID, h.dst.identity)
	}
}

func (g *grapher) graph() *Graph {
	out := &Graph{Nodes: []Node{}, Services: []ServiceTotal{}, Edges: []GraphEdge{}, Namespaces: []NamespaceTotal{}}
	used := map[string]bool{}
	calls := map[[2]string]uint64{}
	for k, e := range g.edges {
		used[k.src], used[k.dst] = true, true
		calls[[2]string{k.src, k.service}] += e.Requests()
	}
	for k, e := range g.edges {
		out.Edges = append(out.Edges, e.graphEdge(&k, calls[[2]string{k.src, k.service}]))
	}
	slices.SortFunc(out.Edges, func(a, b GraphEdge) int { return cmp.Compare(a.ID, b.ID) })
	for _, id := range slices.Sorted(maps.Keys(g.nodes)) {
		n := g.nodes[id]
		if n.Pods == 0 && !used[id] && !n.seen {
			continue
		}
		if n.seen {
			t := n.sum.total()
			n.Total = &t
		}
		out.Nodes = append(out.Nodes, n.Node)
	}
	for _, id := range slices.Sorted(maps.Keys(g.services)) {
		namespace, name, ok := strings.Cut(id, "/")
		if !ok {
			namespace, name = "", id
		}
		out.Services = append(out.Services, ServiceTotal{ID: id, Namespace: namespace, Name: name, Total: g.services[id].total()})
	}
	for _, name := range slices.Sorted(maps.Keys(g.namespaces)) {
		ns := g.namespaces[name]
		t := NamespaceTotal{Name: name, Total: ns.total(), Workloads: len(ns.workloads), Pods: ns.pods, MeshedPods: ns.meshed}
		if ns.all > 0 {
			share := float64(ns.secured) / float64(ns.all)
			t.MTLS = &share
		}
		out.Namespaces = append(out.Namespaces, t)
	}
	return out
}

func (e *graphSum) graphEdge(k *graphKey, calls uint64) GraphEdge {
	out := GraphEdge{
		ID: strings.Join([]string{k.src, k.dst, k.service, k.route, k.protocol, k.reason}, ">"), Src: k.src, Dst: k.dst,
		Service: k.service, Route: k.route, Protocol: k.protocol, Reason: k.reason, Note: note(k.reason, e.addresses),
		ClientID: e.clientID, ServerID: e.serverID, Total: e.total(),
	}
	out.Secured = k.reason == "" && !strings.HasPrefix(k.dst, "-/"+NodeNone+"/")
	if calls > 0 {
		share := float64(e.Requests()) / float64(calls)
		out.Share = &share
	}
	return out
}

// total is the sum for a map.
func (s *sum) total() Total {
	counts, _ := traffic.TotalOf(&s.Sample)
	t := Total{
		RPS: s.rps, Requests: s.Requests(), Codes: counts.Responses, Failures: s.Failures, Retries: s.Retries, Timeouts: s.Timeouts,
		Conns: s.Opened, Open: s.Open, BytesIn: s.Received, BytesOut: s.Sent,
	}
	if t.Requests > 0 {
		t.Success = shareOf(s.Successes(), t.Requests)
		t.P50, t.P95, t.P99 = s.quantile(0.5), s.quantile(0.95), s.quantile(0.99)
	}
	return t
}

func shareOf(part, whole uint64) *float64 {
	share := float64(part) / float64(whole)
	return &share
}

// quantile is in milliseconds.
func (s *sum) quantile(q float64) *float64 {
	ms := float64(s.Latency.Quantile(q)) / float64(time.Millisecond)
	return &ms
}
