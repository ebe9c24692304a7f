package controlplane

import (
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"time"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// monitor is the plain HTTP side: metrics and health for Prometheus and the kubelet, and pages that name pods, accounts
// and endpoints for those who are on this machine or in this pod, as who forwards a port is.
func (p *ControlPlane) monitor() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		p.metrics.write(w, p.gauges())
	})
	mux.HandleFunc("GET /healthz/ready", p.serveReady)
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, VersionView{p.o.Version}) })
	mux.Handle("/debug/", localOnly(p.debug()))
	return mux
}

// debug is what the monitor port shows to local callers.
func (p *ControlPlane) debug() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/syncz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, p.Proxies()) })
	mux.HandleFunc("GET /debug/problemz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, p.problemViews()) })
	mux.HandleFunc("GET /debug/endpointz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, p.endpoints()) })
	if p.o.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
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

// serveReady says yes when the first state of the sources is in force.
func (p *ControlPlane) serveReady(w http.ResponseWriter, _ *http.Request) {
	if missing := p.unready(); missing != "" {
		http.Error(w, missing, http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write([]byte("ready\n")) // the caller has gone: nobody to tell
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// VersionView is what /version shows.
type VersionView struct {
	Version string `json:"version"`
}

// ProxyView is one connected proxy, as /debug/syncz shows it.
type ProxyView struct {
	// ID is "pod.namespace".
	ID             string    `json:"id"`
	Namespace      string    `json:"namespace"`
	ServiceAccount string    `json:"serviceAccount"`
	Version        string    `json:"version"`
	ConnectedSince time.Time `json:"connectedSince"`
	// State is SYNCED, or STALE while something sent is not confirmed, or ERROR while something is refused, or UNKNOWN
	// while the control plane does not know the proxy's own pod: it cannot become ready then.
	State string `json:"state"`
	// Names and Resources count by kind what the proxy asked for and what it has.
	Names     map[string]int `json:"names"`
	Resources map[string]int `json:"resources"`
	Sent      uint64         `json:"sent"`
	Acked     uint64         `json:"acked"`
	AckedAt   *time.Time     `json:"ackedAt,omitempty"`
	Refused   []RefusalView  `json:"refused,omitempty"`
}

// RefusalView is a resource that a proxy would not put in force.
type RefusalView struct {
	Resource string    `json:"resource"`
	Version  string    `json:"version"`
	Reason   string    `json:"reason"`
	At       time.Time `json:"at"`
}

// Proxies lists the connected proxies by ID.
func (p *ControlPlane) Proxies() []ProxyView {
	list := []ProxyView{}
	for _, s := range p.server.Status() {
		v := ProxyView{
			ID: s.ID, Namespace: s.Client.Namespace, ServiceAccount: s.Client.ServiceAccount, Version: s.Node.Version,
			ConnectedSince: s.Since, State: "STALE", Names: s.Names, Resources: s.Held, Sent: s.Sent, Acked: s.Acked,
		}
		if s.Acked > 0 {
			v.AckedAt = &s.AckedAt
		}
		for _, r := range s.Refusals {
			v.Refused = append(v.Refused, RefusalView{Resource: r.Name, Version: r.Version, Reason: r.Reason, At: r.At})
		}
		switch {
		case len(v.Refused) > 0:
			v.State = "ERROR"
		case !p.engine.knows(s.Client):
			v.State = "UNKNOWN"
		case s.Synced:
			v.State = "SYNCED"
		}
		list = append(list, v)
	}
	return list
}

// Problems lists everything that is wrong at present, what proxies refused included.
func (p *ControlPlane) Problems() []model.Problem {
	list := p.problems()
	for _, s := range p.server.Status() {
		if !p.engine.knows(s.Client) {
			list = append(list, unknownPod(s.Client))
		}
		for _, r := range s.Refusals {
			list = append(list, model.Problem{
				Ref:      model.Ref{Kind: "Proxy", Key: model.Key{Namespace: s.Client.Namespace, Name: s.Client.Pod}},
				Severity: model.Warning, Field: r.Name, Message: "refused: " + r.Reason,
				Fix: "the proxy keeps the previous version; look at the object that the resource comes from",
			})
		}
	}
	return list
}

// problemView is one problem as /debug/problemz shows it.
type problemView struct {
	Severity string `json:"severity"`
	Kind     string `json:"kind"`
	Object   string `json:"object"`
	Field    string `json:"field,omitempty"`
	Message  string `json:"message"`
	Fix      string `json:"fix,omitempty"`
	Position string `json:"position,omitempty"`
	Text     string `json:"text"`
}

func (p *ControlPlane) problemViews() []problemView {
	list := []problemView{}
	for _, x := range p.Problems() {
		list = append(list, problemView{
			Severity: x.Severity.String(), Kind: x.Ref.Kind, Object: x.Ref.Key.String(), Field: x.Field,
			Message: x.Message, Fix: x.Fix, Position: x.Pos.String(), Text: x.String(),
		})
	}
	return list
}

// shardView is one subscribed shard as /debug/endpointz shows it.
type shardView struct {
	Name      string         `json:"name"`
	Version   string         `json:"version"`
	Endpoints []endpointView `json:"endpoints"`
}

type endpointView struct {
	Address  string   `json:"address"`
	Health   string   `json:"health"`
	Weight   uint32   `json:"weight"`
	Meshed   bool     `json:"meshed"`
	Locality string   `json:"locality,omitempty"`
	Identity string   `json:"identity,omitempty"`
	Pod      string   `json:"pod,omitempty"`
	Subsets  []string `json:"subsets,omitempty"`
}

// endpoints shows what proxies were told about endpoints: the bytes sent, decoded.
func (p *ControlPlane) endpoints() []shardView {
	list := []shardView{}
	shards := nativeSource{p.engine}.shards()
	for _, name := range slices.Sorted(maps.Keys(shards)) {
		value, err := discovery.Decode(shards[name].Body)
		shard, ok := value.(*plan.EndpointShard)
		if err != nil || !ok {
			continue // it was encoded here: cannot be
		}
		v := shardView{Name: name, Version: shards[name].Version, Endpoints: []endpointView{}}
		for i := range shard.Endpoints {
			e := &shard.Endpoints[i]
			v.Endpoints = append(v.Endpoints, endpointView{
				Address: e.Addr.String(), Health: e.Health.String(), Weight: e.Weight, Meshed: e.Meshed,
				Locality: e.Locality.String(), Identity: e.Identity, Pod: e.Workload.Pod, Subsets: e.Subsets,
			})
		}
		list = append(list, v)
	}
	return list
}
