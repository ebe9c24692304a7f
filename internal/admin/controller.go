package admin

import (
	"cmp"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// The control plane's pages.
const (
	pathVersion = "/version"
	// pathIstiodReady is where tools for Istio ask.
	pathIstiodReady = "/ready"
	pathProxies     = "/debug/syncz"
	pathProblems    = "/debug/problemz"
	pathEndpoints   = "/debug/endpointz"
	pathDrains      = "/debug/drainz"
	pathProbes      = "/debug/probez"
	pathClusters    = "/debug/clusterz"
	pathMirrors     = "/debug/mirrorz"
	pathProfiles    = "/debug/pprof/"
	pathObserve     = "/observe/"
)

// Controller serves what a replica of the control plane says of itself. Its functions are called per request, from
// several goroutines.
type Controller struct {
	Metrics *Metrics
	// Version is that of the program.
	Version string
	// ClusterID is the name of the cluster in metrics.
	ClusterID string
	// Ready gives "" or what is missing.
	Ready     func() string
	Proxies   func() []Proxy
	Problems  func() []Problem
	Endpoints func() []Shard
	// EndpointsOf gives the shards of one host and port, HOST:PORT, whether a proxy has asked for them or not. The error says
	// what is wrong with the question.
	EndpointsOf func(authority string) ([]Shard, error)
	// Departures asks what takes a moment; ctx bounds it.
	Departures func(ctx context.Context) []Departure
	// Probes is as Departures.
	Probes func(ctx context.Context) []Probed
	// Clusters are the other clusters of the mesh.
	Clusters func() []RemoteCluster
	// Links are the clusters that Links name.
	Links func() []LinkedCluster
	// Observation answers what begins with /observe/, for local callers; nil where nothing is observed.
	Observation http.Handler
	// Profiles answers what begins with /debug/pprof/; nil where there are none.
	Profiles http.Handler
}

// Handler is the monitor port, 15014: metrics and health for Prometheus and the kubelet, and pages that name pods,
// accounts and endpoints for clients on this machine or in this pod, as a port-forward is.
func (c Controller) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+pathMetrics, c.Metrics)
	ready := func(w http.ResponseWriter, _ *http.Request) { writeReady(w, c.Ready(), "ready\n") }
	mux.HandleFunc("GET "+pathReady, ready)
	mux.HandleFunc("GET "+pathIstiodReady, ready)
	mux.HandleFunc("GET "+pathVersion, c.version)
	mux.Handle("/debug/", localOnly(c.debug()))
	if c.Observation != nil {
		mux.Handle(pathObserve, localOnly(c.Observation))
	}
	return mux
}

// debug is what the monitor port shows to local callers.
func (c Controller) debug() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathProxies, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, inBothShapes(c.Proxies(), c.ClusterID)) })
	mux.HandleFunc("GET "+pathProblems, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, c.Problems()) })
	mux.HandleFunc("GET "+pathEndpoints, c.endpoints)
	mux.HandleFunc("GET "+pathDrains, func(w http.ResponseWriter, r *http.Request) { writeJSON(w, c.Departures(r.Context())) })
	mux.HandleFunc("GET "+pathProbes, func(w http.ResponseWriter, r *http.Request) { writeJSON(w, c.Probes(r.Context())) })
	mux.HandleFunc("GET "+pathClusters, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, c.Clusters()) })
	mux.HandleFunc("GET "+pathMirrors, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, c.Links()) })
	if c.Profiles != nil {
		mux.Handle(pathProfiles, c.Profiles)
	}
	return mux
}

// localOnly refuses callers outside this network namespace.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !local(r) {
			http.Error(w, "for local callers only: use fairlead proxy-status and fairlead check, or kubectl port-forward", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// local reports whether a caller has an address of this network namespace: loopback, or the one that it called, which
// the kernel takes from nowhere else.
func local(r *http.Request) bool {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	if remote.Addr().Unmap().IsLoopback() {
		return true
	}
	address, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	called, err := netip.ParseAddrPort(address.String())
	return err == nil && called.Addr().Unmap() == remote.Addr().Unmap()
}

// endpoints are those that proxies subscribe to, or those of ?authority=HOST:PORT.
func (c Controller) endpoints(w http.ResponseWriter, r *http.Request) {
	authority := r.URL.Query().Get("authority")
	if authority == "" {
		writeJSON(w, c.Endpoints())
		return
	}
	shards, err := c.EndpointsOf(authority)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, shards)
}

// version is the bare version, as of an istiod, and JSON for clients that accept only that.
func (c Controller) version(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Accept") == typeJSON {
		writeJSON(w, Version{c.Version})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, c.Version) //nolint:errcheck // the client may be gone
}

// Version is what /version shows.
type Version struct {
	Version string `json:"version"`
}

// States of a [Proxy].
const (
	// Synced is a proxy that has confirmed everything sent to it.
	Synced = "SYNCED"
	// Stale is a proxy that has not yet confirmed something.
	Stale = "STALE"
	// Refusing is a proxy that refuses something sent to it.
	Refusing = "ERROR"
	// Unknown is a proxy whose own pod the control plane does not know: it cannot become ready.
	Unknown = "UNKNOWN"
)

// Proxy is one connected sidecar or standard xDS client, as /debug/syncz shows it.
type Proxy struct {
	// ID is "pod.namespace".
	ID             string    `json:"id"`
	Namespace      string    `json:"namespace"`
	ServiceAccount string    `json:"serviceAccount"`
	Version        string    `json:"version"`
	ConnectedSince time.Time `json:"connectedSince"`
	// State is Synced, Stale, Refusing or Unknown.
	State string `json:"state"`
	// Names and Resources count by kind what the proxy asked for and what it has.
	Names     map[string]int `json:"names"`
	Resources map[string]int `json:"resources"`
	Sent      uint64         `json:"sent"`
	Acked     uint64         `json:"acked"`
	AckedAt   *time.Time     `json:"ackedAt,omitempty"`
	Refused   []Refusal      `json:"refused,omitempty"`
	// LeftOut are resources that the proxy obeys without a part that it is too old to know; Reason says which.
	LeftOut []Refusal `json:"leftOut,omitempty"`
	// Node is what a standard xDS client calls itself, empty for Fairlead's own sidecars; Version is then its program and
	// that one's version. Types are how it stands with each type of resources.
	Node  string     `json:"node,omitempty"`
	Types []TypeSync `json:"types,omitempty"`
}

// TypeSync is how a standard xDS client stands with one type of resources.
type TypeSync struct {
	// Type is CDS, EDS, LDS or RDS; State is Synced, Stale or Refusing.
	Type  string `json:"type"`
	State string `json:"state"`
	// Sent is the version that was sent last, InForce the last one that the client confirmed.
	Sent      string `json:"sent,omitempty"`
	InForce   string `json:"inForce,omitempty"`
	Resources int    `json:"resources"`
	// NotFollowed counts names that the client asked for beyond what one client may ask for.
	NotFollowed int `json:"notFollowed,omitempty"`
}

// Merge puts the answers of several replicas together, by ID, and of standard xDS clients by what they call themselves and by
// program: a pod may have several. One that has just moved from one replica to another is with both for a moment: the newer
// connection counts.
func Merge(answers ...[]Proxy) []Proxy {
	type client struct{ id, node, program string }
	clients := map[client]*Proxy{}
	for _, list := range answers {
		for i := range list {
			p := &list[i]
			c := client{id: p.ID}
			if p.Node != "" {
				c.node, c.program = p.Node, p.Version
			}
			if have := clients[c]; have == nil || p.ConnectedSince.After(have.ConnectedSince) {
				clients[c] = p
			}
		}
	}
	order := slices.SortedFunc(maps.Keys(clients), func(a, b client) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.node, b.node), cmp.Compare(a.program, b.program))
	})
	all := make([]Proxy, 0, len(clients))
	for _, c := range order {
		all = append(all, *clients[c])
	}
	return all
}

// Departure is a pod that is ending, as /debug/drainz shows it.
type Departure struct {
	// ID is "pod.namespace".
	ID        string `json:"id"`
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	// Since is when the control plane first heard of it from the pod's sidecar, Deadline when that will end at the latest.
	Since    time.Time `json:"since"`
	Deadline time.Time `json:"deadline"`
	// Marked means that every replica that was asked sends the pod as draining.
	Marked bool `json:"marked"`
	// Open are the connections that the sidecar still has.
	Open uint64 `json:"openConnections"`
	// Held is how many sidecars may still choose the pod; Holders are the IDs of the first hundred, in order.
	Held    int      `json:"held"`
	Holders []string `json:"holders,omitempty"`
}

// MergeDepartures puts the answers of several replicas together, by ID: each speaks for the sidecars that are connected to
// it.
func MergeDepartures(answers ...[]Departure) []Departure {
	byID := map[string]*Departure{}
	for _, list := range answers {
		for _, d := range list {
			have := byID[d.ID]
			if have == nil {
				byID[d.ID] = &d
				continue
			}
			have.Marked = have.Marked && d.Marked
			have.Held += d.Held
			have.Holders = slices.Compact(slices.Sorted(slices.Values(slices.Concat(have.Holders, d.Holders))))
			if d.Since.Before(have.Since) {
				have.Since = d.Since
			}
			if d.Deadline.After(have.Deadline) { // the later word
				have.Deadline, have.Open = d.Deadline, d.Open
			}
		}
	}
	all := make([]Departure, 0, len(byID))
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		all = append(all, *byID[id])
	}
	return all
}

// Probed is an endpoint without a sidecar that sidecars which call it check, or a pod with one that fails its check, as
// /debug/probez shows it: of each replica what the sidecars that are connected to it say.
type Probed struct {
	// Policy is the HealthCheckPolicy, "namespace/name". Address is where the check goes, or "pod.namespace" of a pod that is
	// checked by its own sidecar.
	Policy  string `json:"policy"`
	Address string `json:"address"`
	// Failing means that callers leave it alone: most of its probers say that it fails.
	Failing bool       `json:"failing"`
	Reason  string     `json:"reason,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
	// Of are the hosts that it belongs to.
	Of      []string `json:"of,omitempty"`
	Probers []Prober `json:"probers"`
}

// MergeProbes puts the answers of several replicas together, what fails first: each speaks for its own sidecars.
func MergeProbes(answers ...[]Probed) []Probed {
	all := slices.Concat(answers...)
	slices.SortStableFunc(all, func(a, b Probed) int {
		return cmp.Or(cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Address, b.Address))
	})
	out := make([]Probed, 0, len(all))
	for _, p := range all {
		if len(out) == 0 || out[len(out)-1].Policy != p.Policy || out[len(out)-1].Address != p.Address {
			out = append(out, p)
			continue
		}
		last := &out[len(out)-1]
		last.Probers = slices.Concat(last.Probers, p.Probers)
		if p.Failing && !last.Failing {
			last.Failing, last.Reason, last.Since = true, p.Reason, p.Since
		}
	}
	slices.SortStableFunc(out, func(a, b Probed) int {
		switch {
		case a.Failing == b.Failing:
			return 0
		case a.Failing:
			return -1
		}
		return 1
	})
	return out
}

// Prober is a sidecar that checks an endpoint.
type Prober struct {
	// ID is "pod.namespace".
	ID string `json:"id"`
	// Says is "passes", "fails", "unknown" before it has found anything, or "old" where it has not said anything for long.
	Says   string     `json:"says"`
	Reason string     `json:"reason,omitempty"`
	Since  *time.Time `json:"since,omitempty"`
}

// Refusal is a resource that a proxy would not put in force.
type Refusal struct {
	Resource string    `json:"resource"`
	Version  string    `json:"version"`
	Reason   string    `json:"reason"`
	At       time.Time `json:"at"`
}

// Problem is one mistake in the mesh's configuration, as /debug/problemz shows it.
type Problem struct {
	Severity string `json:"severity"`
	Kind     string `json:"kind"`
	// Object is "namespace/name".
	Object   string `json:"object"`
	Field    string `json:"field,omitempty"`
	Message  string `json:"message"`
	Fix      string `json:"fix,omitempty"`
	Position string `json:"position,omitempty"`
	// Text is all of it in one line.
	Text string `json:"text"`
}

// Shard is one shard of endpoints, as /debug/endpointz shows it.
type Shard struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Service is the object whose endpoints they are, "namespace/name", where it was asked for.
	Service   string     `json:"service,omitempty"`
	Endpoints []Endpoint `json:"endpoints"`
}

// Endpoint is one endpoint as proxies were told of it.
type Endpoint struct {
	Address  string `json:"address"`
	Health   string `json:"health"`
	Weight   uint32 `json:"weight"`
	Meshed   bool   `json:"meshed"`
	Locality string `json:"locality,omitempty"`
	Identity string `json:"identity,omitempty"`
	Pod      string `json:"pod,omitempty"`
	// Namespace is that of Pod.
	Namespace string   `json:"namespace,omitempty"`
	Subsets   []string `json:"subsets,omitempty"`
}
