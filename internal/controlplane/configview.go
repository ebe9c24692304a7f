package controlplane

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/observe"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// configView answers what is in force: the Services of the namespace, or of all, as they are compiled, and the pods.
type configView struct {
	p        *ControlPlane
	services *serviceView
}

// ServeHTTP implements http.Handler.
func (v configView) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	namespace := r.URL.Query().Get("namespace")
	snapshot := v.p.engine.store.Snapshot()
	told := described{store.NewReader(snapshot), v.p.engine.global}
	answer := observe.Config{Services: []observe.Service{}, Workloads: []observe.Workload{}}
	for _, s := range v.services.get(snapshot, told.services) {
		if namespace == "" || s.Namespace == namespace {
			answer.Services = append(answer.Services, s)
		}
	}
	proxies := map[string]*admin.Proxy{}
	for _, p := range v.p.Proxies() {
		proxies[p.ID] = &p
	}
	for _, pod := range store.List[model.Workload](told.r) {
		if pod.Key.Cluster == "" && (namespace == "" || pod.Key.Namespace == namespace) {
			one := told.workload(pod, proxies[pod.Key.Name+"."+pod.Key.Namespace])
			one.Certificate = v.p.signed.of(pod.Key.Key)
			answer.Workloads = append(answer.Workloads, one)
		}
	}
	writeView(w, answer)
}

func writeView(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(value) //nolint:errcheck,errchkjson // the client went away
}

// described is a snapshot, for people.
type described struct {
	r      *store.Reader
	global compile.Global
}

func (d described) service(s *model.Service) observe.Service {
	out := observe.Service{
		ID: s.Key.String(), Namespace: s.Key.Namespace, Name: s.Key.Name, Hosts: []string{string(s.Host)}, External: s.External,
		Ports: []observe.ServicePort{}, Routes: []observe.Route{}, Endpoints: []observe.Endpoint{},
	}
	seen := map[string]bool{}
	for i := range s.Ports {
		p := &s.Ports[i]
		out.Ports = append(out.Ports, observe.ServicePort{Port: p.Port, Protocol: p.Protocol.String()})
		name := plan.Name{Kind: plan.NameDestination, Namespace: s.Key.Namespace, At: plan.HostPort{Host: s.Host, Port: p.Port}}
		dest, ok := compile.Compile(d.r, d.global, name.String()).(*plan.Destination)
		if !ok || dest == nil {
			continue
		}
		out.Routes = append(out.Routes, d.routes(dest)...)
		for _, shard := range d.shards(s, p, dest) {
			for _, e := range d.endpoints(shard) {
				if !seen[e.Address] {
					seen[e.Address] = true
					out.Endpoints = append(out.Endpoints, e)
				}
			}
		}
	}
	slices.SortFunc(out.Endpoints, func(a, b observe.Endpoint) int { return cmp.Compare(a.Address, b.Address) })
	return out
}

// shards are those of the Service's own endpoints, even where its calls are routed elsewhere.
func (d described) shards(s *model.Service, p *model.ServicePort, dest *plan.Destination) (names []string) {
	for i := range dest.Backends {
		if b := &dest.Backends[i]; b.Host == s.Host && b.Port == p.Port {
			names = append(names, b.Shards...)
		}
	}
	if len(names) == 0 {
		for _, k := range compile.SlicesOf(d.r, s) {
			shape, _ := d.r.SliceShape(k)
			name := plan.Name{Kind: plan.NameShard, At: plan.HostPort{Host: s.Host, Port: p.Port}, Source: plan.FromSlice, Cluster: k.Cluster, Slice: k.Name}
			for name.Part = 1; name.Part <= shape.Shards; name.Part++ {
				names = append(names, name.String())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (d described) endpoints(shard string) (list []observe.Endpoint) {
	compiled, ok := compile.Compile(d.r, d.global, shard).(*plan.EndpointShard)
	if !ok || compiled == nil {
		return nil
	}
	name, _ := plan.ParseName(shard)
	for i := range compiled.Endpoints {
		e := &compiled.Endpoints[i]
		one := observe.Endpoint{
			Address: e.Addr.String(), Cluster: name.Cluster, Pod: e.Workload.Pod, Namespace: e.Workload.Namespace, Node: e.Workload.Node, Locality: e.Locality.String(),
			Meshed: e.Meshed, Health: healthWord(e.Health), Subsets: e.Subsets,
		}
		if e.Health == plan.Failing {
			one.Why = e.Failure.Policy + ": " + e.Failure.Why
		}
		if pod := d.r.Workload(model.ClusterKey{Cluster: name.Cluster, Key: model.Key{Namespace: one.Namespace, Name: one.Pod}}); pod != nil && one.Pod != "" {
			one.Workload = workloadID(pod)
			if name.Cluster != "" {
				one.Workload += "@" + name.Cluster
			}
			if !pod.CreatedAt.IsZero() {
				one.Since = pod.CreatedAt.UnixMilli()
			}
		}
		list = append(list, one)
	}
	return list
}

func healthWord(h plan.Health) string {
	switch h {
	case plan.Healthy:
		return "healthy"
	case plan.Unhealthy:
		return "unhealthy"
	case plan.Draining:
		return "draining"
	case plan.Failing:
		return "failing"
	}
	return "unknown"
}

// workloadID is that of what owns a pod, as the map has it.
func workloadID(w *model.Workload) string {
	return w.Key.Namespace + "/" + strings.ToLower(cmp.Or(w.OwnerKind, "Pod")) + "/" + cmp.Or(w.OwnerName, w.Key.Name)
}

// routes are the rules of a port, those of connections where its protocol is none that has requests.
func (d described) routes(dest *plan.Destination) (list []observe.Route) {
	opaque := dest.Protocol == model.TCP || dest.Protocol == model.TLS
	for i := range dest.Routes {
		if opaque {
			break
		}
		r := &dest.Routes[i]
		out := observe.Route{Port: dest.Port, Name: r.Name, Action: actionOf(r), Backends: d.backends(dest, r.Backends)}
		out.Kind, out.Object, out.Field = wroteIt(r.Origin)
		matches := []string{}
		for j := range r.Matches {
			matches = append(matches, plan.DescribeMatch(&r.Matches[j]))
		}
		out.Match = cmp.Or(strings.Join(matches, " or "), "/*")
		list = append(list, out)
	}
	for i := range dest.TCP {
		r := &dest.TCP[i]
		if !opaque && r.Origin == "" {
			continue
		}
		out := observe.Route{Port: dest.Port, Backends: d.backends(dest, r.Backends)}
		out.Kind, out.Object, out.Field = wroteIt(r.Origin)
		matches := []string{}
		for j := range r.Matches {
			matches = append(matches, plan.DescribeTCPMatch(&r.Matches[j]))
		}
		out.Match = cmp.Or(strings.Join(matches, " or "), "connections")
		list = append(list, out)
	}
	return list
}

// wroteIt takes "VirtualService myapp/users-service http[0]" apart.
func wroteIt(origin string) (kind, object, field string) {
	if origin == "" {
		return "default", "", ""
	}
	kind, rest, _ := strings.Cut(origin, " ")
	object, field, _ = strings.Cut(rest, " ")
	return kind, object, field
}

// actionOf is what a rule does beside sending calls to its backends.
func actionOf(r *plan.Route) string {
	var parts []string
	switch {
	case r.Redirect != nil:
		parts = append(parts, "redirect "+strconv.Itoa(r.Redirect.Code))
	case r.Direct != nil:
		parts = append(parts, "direct response "+strconv.Itoa(r.Direct.Status))
	}
	if r.Rewrite != nil {
		parts = append(parts, "rewrite")
	}
	if r.Fault != nil {
		parts = append(parts, "fault injection")
	}
	if len(r.Mirrors) > 0 {
		parts = append(parts, "mirror")
	}
	if r.Timeout > 0 {
		parts = append(parts, "timeout "+r.Timeout.String())
	}
	if r.Retry.Attempts > 0 {
		parts = append(parts, "retries "+strconv.Itoa(r.Retry.Attempts))
	}
	return strings.Join(parts, ", ")
}

func (d described) backends(dest *plan.Destination, list []plan.WeightedBackend) []observe.Backend {
	out := []observe.Backend{}
	total := uint64(0)
	for _, w := range list {
		total += uint64(w.Weight)
	}
	for _, w := range list {
		b := &dest.Backends[w.Backend]
		one := observe.Backend{Service: string(b.Host), Subset: b.Subset, Port: b.Port, Weight: w.Weight, Missing: b.Missing}
		key := b.Service
		if key == (model.Key{}) && b.Host == dest.Host {
			key = dest.Service
		}
		if key != (model.Key{}) {
			one.Service = key.String()
		}
		if total > 0 {
			one.Share = float64(w.Weight) / float64(total)
		}
		out = append(out, one)
	}
	return out
}

func (described) workload(w *model.Workload, p *admin.Proxy) observe.Workload {
	out := observe.Workload{
		ID: w.Key.Namespace + "/pod/" + w.Key.Name, Namespace: w.Key.Namespace, Pod: w.Key.Name, Workload: workloadID(w), Proxy: "none",
		Sync: observe.Sync{State: observe.SyncNone},
	}
	if w.Meshed {
		out.Proxy = "fairlead"
	}
	if p == nil {
		return out
	}
	if p.Node != "" {
		out.Proxy = "standard"
	}
	out.Version = p.Version
	out.Sync = observe.Sync{State: p.State, Since: p.ConnectedSince.UnixMilli()}
	if p.AckedAt != nil {
		out.Sync.At = p.AckedAt.UnixMilli()
	}
	for _, r := range p.Refused {
		out.Sync.Refused = append(out.Sync.Refused, observe.Refusal{Resource: r.Resource, Reason: r.Reason})
	}
	return out
}

// problemsView answers what is wrong with the objects of a namespace, or of all.
type problemsView struct{ p *ControlPlane }

// ServeHTTP implements http.Handler.
func (v problemsView) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	writeView(w, problemsIn(v.p, r.URL.Query().Get("namespace")))
}

// problemsIn are those of a namespace; what belongs to none is of all.
func problemsIn(p *ControlPlane, namespace string) []admin.Problem {
	list := p.problemPage()
	return slices.DeleteFunc(list, func(x admin.Problem) bool {
		of, _, ok := strings.Cut(x.Object, "/")
		return namespace != "" && (!ok || of != namespace)
	})
}

// objectsView answers which objects there are.
type objectsView struct{ p *ControlPlane }

// ServeHTTP implements http.Handler.
func (v objectsView) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	namespace := r.URL.Query().Get("namespace")
	type count struct{ errors, warnings int }
	wrong := map[string]count{}
	for _, x := range problemsIn(v.p, namespace) {
		c := wrong[x.Kind+" "+x.Object]
		if x.Severity == model.Rejected.String() {
			c.errors++
		} else {
			c.warnings++
		}
		wrong[x.Kind+" "+x.Object] = c
	}
	list := []observe.ObjectName{}
	for _, ref := range v.p.engine.objects.present() {
		kind := v.p.engine.kinds[ref.Kind]
		if kind == nil || namespace != "" && ref.Namespace != namespace {
			continue
		}
		c := wrong[ref.Kind+" "+ref.Key.String()]
		list = append(list, observe.ObjectName{
			Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name, Group: kind.Group, Version: kind.Versions[0], Resource: kind.Resource,
			Errors: c.errors, Warnings: c.warnings,
		})
	}
	writeView(w, list)
}

// isForPeople reports whether objects of a kind say what users want of the mesh: the cluster's own say what there is.
func isForPeople(kind string) bool {
	switch kind {
	case podKind, "EndpointSlice", "Node", "Namespace", "Secret", "ConfigMap", "ReplicaSet", "Deployment", "StatefulSet", "DaemonSet", "Job",
		"ServiceAccount", "CustomResourceDefinition":
		return false
	}
	return true
}

// present lists the objects that were read, in order. It is safe for concurrent use.
func (b *objectBook) present() []model.Ref {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return slices.SortedFunc(maps.Keys(b.names), func(a, c model.Ref) int {
		return cmp.Or(cmp.Compare(a.Kind, c.Kind), cmp.Compare(a.Key.String(), c.Key.String()), cmp.Compare(a.Cluster, c.Cluster))
	})
}
