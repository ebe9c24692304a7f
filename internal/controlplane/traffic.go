package controlplane

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/observe"
	"fairlead.dev/fairlead/internal/store"
	"fairlead.dev/fairlead/internal/traffic"
	"fairlead.dev/fairlead/internal/traffic/history"
	"fairlead.dev/fairlead/internal/traffic/view"
)

// reports keeps what sidecars say of their traffic. It implements [observe.Summaries].
type reports struct {
	*history.Store

	feed        *observe.Feed
	places      places
	trustDomain string
}

// Summary implements [observe.Summaries].
func (r reports) Summary(pod model.Key, raw []byte) error {
	report, err := traffic.Decode(raw)
	if err != nil {
		return err
	}
	r.places.name(report)
	r.Add(pod, report)
	r.Describe(pod, func() *traffic.Pod {
		c := census{store.NewReader(r.places.engine.store.Snapshot()), r.trustDomain}
		w := c.Workload(model.ClusterKey{Key: pod})
		if w == nil {
			return nil
		}
		p := c.pod(w)
		p.Labels, p.IPs, p.Terminating = nil, nil, false
		return &p
	})
	r.feed.Note(func(c *observe.Changes) { c.Traffic++ })
	return nil
}

// edgesView answers who called whom. Its parameters are "window", a duration of at most an hour, "namespace", of which one end
// of each edge must be, or the Service that was called; without it, all edges are told; and "services", which has the Services told of too.
type edgesView struct {
	engine      *engine
	history     *history.Store
	places      places
	trustDomain string
}

// ServeHTTP implements http.Handler.
func (v edgesView) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query, err := windowOf(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	known := census{store.NewReader(v.engine.store.Snapshot()), v.trustDomain}
	namespace := r.URL.Query().Get("namespace")
	query.Wanted = func(pod model.Key, edge *traffic.Edge) bool {
		return namespace == "" || known.touches(pod, edge, namespace)
	}
	answer := v.history.Sum(query)
	answer.Pods = known.pods(namespace, answer.Flows)
	answer.Gone = known.gone(v.history.Described(), answer.Flows)
	if r.URL.Query().Has("services") {
		answer.Services = known.services(namespace)
	}
	// Also of a mesh that had several: what was reported then says of which its peers were.
	several := slices.ContainsFunc(answer.Flows, func(f traffic.Flow) bool { return f.Edge.Peer.Cluster != "" })
	if several || len(v.places.others()) > 0 {
		answer.Cluster = v.places.own
		answer.Remote = known.elsewhere(v.places.own, answer.Flows)
	}
	writeView(w, answer)
}

// windowOf reads the parameters "window" and "to".
func windowOf(r *http.Request) (q history.Query, err error) {
	text, to := r.URL.Query().Get("window"), r.URL.Query().Get("to")
	q.Window, err = time.ParseDuration(text)
	if err != nil || q.Window <= 0 || q.Window > history.Kept {
		return q, fmt.Errorf("window %q: write a duration of at most %s, such as 1m", text, history.Kept)
	}
	if to == "" {
		return q, nil
	}
	ms, err := strconv.ParseInt(to, 10, 64)
	if err != nil || ms <= 0 {
		return q, fmt.Errorf("to %q: write milliseconds since 1970", to)
	}
	q.To = time.UnixMilli(ms)
	return q, nil
}

// finestSeries is the longest window that is told by steps unless a question says otherwise: of longer ones a chart would show
// little but noise.
const finestSeries = 15 * time.Minute

// partsOf reads the parameter "step", for a window.
func partsOf(r *http.Request, window time.Duration) (time.Duration, error) {
	text := r.URL.Query().Get("step")
	if text == "" && window > finestSeries {
		return time.Minute, nil
	}
	if text == "" {
		return history.Step, nil
	}
	step, err := time.ParseDuration(text)
	if err != nil || step < history.Step || step > history.Kept || step%history.Step != 0 {
		return 0, fmt.Errorf("step %q: write a multiple of %s, such as 1m", text, history.Step)
	}
	return step, nil
}

// seriesView answers how calls went over time; see observe.ViewSeries.
type seriesView struct{ edgesView }

// ServeHTTP implements http.Handler.
func (v seriesView) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query, err := windowOf(r)
	if err == nil {
		query.Each, err = partsOf(r, query.Window)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	known := census{store.NewReader(v.engine.store.Snapshot()), v.trustDomain}
	q := r.URL.Query()
	namespace := q.Get("namespace")
	chosen := view.Chooser(known.pods("", nil), v.history.Described(), view.Choice{
		Node: q.Get("node"), Src: q.Get("src"), Service: q.Get("service"), Namespace: q.Get("ns"), Cluster: v.places.own,
	})
	query.Wanted = func(pod model.Key, edge *traffic.Edge) bool {
		return (namespace == "" || known.touches(pod, edge, namespace)) && chosen(pod.Namespace, pod.Name, edge)
	}
	writeView(w, v.history.Series(query))
}

// census is what the control plane knows of pods.
type census struct {
	*store.Reader

	trustDomain string
}

// touches reports whether one end of an edge is in the namespace. A Service that was called is one, whether it had an endpoint or not.
func (c census) touches(pod model.Key, edge *traffic.Edge, namespace string) bool {
	if pod.Namespace == namespace || edge.Peer.Namespace == namespace {
		return true
	}
	if name, of, ok := strings.Cut(edge.Service, "."); ok && of == namespace && len(c.ServicesByKey(model.Key{Namespace: of, Name: name})) > 0 {
		return true // a host such as "example.com" is of no namespace
	}
	if of, _, ok := traffic.AccountOf(edge.Peer.Identity); ok {
		return of == namespace // of a caller that a gateway passed on
	}
	w := c.at(edge)
	return w != nil && w.Key.Namespace == namespace
}

// services are those of the own cluster, of a namespace or of all.
func (c census) services(namespace string) []traffic.Service {
	list := []traffic.Service{}
	for _, s := range store.List[model.Service](c.Reader) {
		if s.Origin.Kind == "Service" && s.Origin.Cluster == "" && (namespace == "" || s.Key.Namespace == namespace) {
			list = append(list, traffic.Service{Namespace: s.Key.Namespace, Name: s.Key.Name})
		}
	}
	return list
}

// at is the pod at the address of a peer that is not in the mesh, nil where there is none. An address that several pods
// share is their node's.
func (c census) at(edge *traffic.Edge) *model.Workload {
	if edge.Peer.Address == "" {
		return nil
	}
	addr, err := netip.ParseAddr(edge.Peer.Address)
	if err != nil {
		return nil // it stands for several
	}
	if at := c.WorkloadsAtAddress("", addr); len(at) == 1 && at[0].Key.Cluster == "" {
		return at[0]
	}
	return nil
}

// pods are those of the namespace, and those at the other ends of the flows.
func (c census) pods(namespace string, flows []traffic.Flow) []traffic.Pod {
	list, seen := []traffic.Pod{}, map[model.ClusterKey]bool{}
	add := func(w *model.Workload) {
		if w != nil && w.Key.Cluster == "" && !seen[w.Key] {
			seen[w.Key] = true
			list = append(list, c.pod(w))
		}
	}
	if namespace == "" {
		for _, w := range store.List[model.Workload](c.Reader) {
			add(w)
		}
		return list
	}
	for _, key := range c.WorkloadsInNamespace(namespace) {
		add(c.Workload(key))
	}
	for i := range flows {
		f := &flows[i]
		add(c.Workload(model.ClusterKey{Key: model.Key{Namespace: f.Namespace, Name: f.Pod}}))
		if f.Edge.Peer.Pod != "" {
			add(c.Workload(model.ClusterKey{Key: model.Key{Namespace: f.Edge.Peer.Namespace, Name: f.Edge.Peer.Pod}}))
		}
		add(c.at(&f.Edge))
	}
	return list
}

// gone are those of the described pods that are at an end of the flows and no more there.
func (c census) gone(described []traffic.Pod, flows []traffic.Flow) (list []traffic.Pod) {
	ends := map[model.Key]bool{}
	for i := range flows {
		ends[model.Key{Namespace: flows[i].Namespace, Name: flows[i].Pod}] = true
		ends[model.Key{Namespace: flows[i].Edge.Peer.Namespace, Name: flows[i].Edge.Peer.Pod}] = true
	}
	for i := range described {
		key := model.Key{Namespace: described[i].Namespace, Name: described[i].Name}
		if ends[key] && c.Workload(model.ClusterKey{Key: key}) == nil {
			list = append(list, described[i])
		}
	}
	return list
}

// elsewhere are the pods of other clusters at the ends of the flows.
func (c census) elsewhere(own string, flows []traffic.Flow) (list []traffic.Pod) {
	seen := map[model.ClusterKey]bool{}
	for i := range flows {
		p := &flows[i].Edge.Peer
		key := model.ClusterKey{Cluster: p.Cluster, Key: model.Key{Namespace: p.Namespace, Name: p.Pod}}
		if p.Cluster == "" || p.Cluster == own || seen[key] {
			continue
		}
		seen[key] = true
		if w := c.Workload(key); w != nil {
			list = append(list, c.pod(w))
		}
	}
	return list
}

func (c census) pod(w *model.Workload) traffic.Pod {
	p := traffic.Pod{
		Cluster:   w.Key.Cluster,
		Namespace: w.Key.Namespace, Name: w.Key.Name, Kind: w.OwnerKind, Workload: w.OwnerName, Labels: w.Labels,
		Meshed: w.Meshed, Terminating: w.Terminating,
		Identity: "spiffe://" + c.trustDomain + "/ns/" + w.Key.Namespace + "/sa/" + w.ServiceAccount,
	}
	for _, ip := range w.IPs {
		if !w.HostNetwork { // its address is the node's
			p.IPs = append(p.IPs, ip.String())
		}
	}
	return p
}
