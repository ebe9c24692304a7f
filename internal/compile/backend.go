package compile

import (
	"cmp"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// backends collects what the routes of one destination refer to, each group of endpoints once.
type backends struct {
	references

	called uint16
	// parent is the Service that is called, nil where only routes know the host.
	parent *model.Service
	list   []plan.Backend
	// origins are what the backends of the list were built for.
	origins []builtFor
	known   map[backendKey]uint16
}

type backendKey struct {
	host    model.Hostname
	port    uint16
	subset  string
	missing string
}

func newBackends(v view, called uint16) *backends {
	return &backends{references: referencesOf(v), called: called, known: make(map[backendKey]uint16)}
}

// weighted resolves the backends of one rule; those of weight 0 get no calls and are left out.
func (b *backends) weighted(rs *model.RouteSet, list []model.WeightedBackend) []plan.WeightedBackend {
	var out []plan.WeightedBackend
	for i := range list {
		w := &list[i]
		if w.Weight > 0 && !b.excluded(rs, w, b.called) {
			out = append(out, plan.WeightedBackend{
				Backend: b.add(rs, w), Weight: w.Weight, Headers: w.Headers, Rewrite: w.Rewrite,
			})
		}
	}
	return out
}

// add gives the index of the backend that a route refers to.
func (b *backends) add(rs *model.RouteSet, w *model.WeightedBackend) uint16 {
	ref := b.lookUp(rs, w, b.called)
	from := builtFor{service: ref.service, port: ref.port, subset: w.Subset}
	if w.Subset != "" {
		from.from, from.ref = rs, w
	}
	if ref.missing == nil {
		return b.of(from)
	}
	if ref.port == nil {
		from = builtFor{} // missing to everybody
	}
	missing := plan.Backend{
		Name: clusterName(ref.wanted.Port, w.Subset, ref.wanted.Host),
		Host: ref.wanted.Host, Port: ref.wanted.Port, Subset: w.Subset,
		Missing: rs.Ref.String() + " " + ref.missing.field + ": " + ref.missing.message, MissingStatus: 500,
	}
	if !answers500(rs) {
		missing.MissingStatus = 503
	}
	if ref.service != nil {
		missing.Service = ref.service.Key
	}
	return b.put(backendKey{ref.wanted.Host, ref.wanted.Port, w.Subset, missing.Missing}, missing, from)
}

// service gives the index of the backend for a service's port and subset ("" is all endpoints).
func (b *backends) service(s *model.Service, p *model.ServicePort, subset string) uint16 {
	return b.of(builtFor{service: s, port: p, subset: subset})
}

func (b *backends) of(o builtFor) uint16 {
	key := backendKey{host: o.service.Host, port: o.port.Port, subset: o.subset}
	if i, ok := b.known[key]; ok {
		return i
	}
	return b.put(key, b.build(o.service, o.port, o.subset), o)
}

func (b *backends) put(k backendKey, v plan.Backend, from builtFor) uint16 {
	if i, ok := b.known[k]; ok {
		return i
	}
	i := uint16(len(b.list))
	b.known[k] = i
	b.list, b.origins = append(b.list, v), append(b.origins, from)
	return i
}

// build fills a backend in from the service and its DestinationRules.
func (b *backends) build(s *model.Service, p *model.ServicePort, subset string) plan.Backend {
	e := destinationRules{b.view}.policy(s)
	out := plan.Backend{
		Name: clusterName(p.Port, subset, s.Host), Host: s.Host, Port: p.Port, Subset: subset, Service: s.Key,
		Rule: e.ruleName(), Resolution: s.Resolution,
	}
	if s.ExternalName != "" {
		out.Resolution = model.ResolveDNS
	}
	traffic := e.traffic(p.Port, subset)
	traffic.LB, traffic.Outlier = cmp.Or(traffic.LB, s.LB), cmp.Or(traffic.Outlier, s.Outlier)
	if traffic.LB.Hashes() {
		traffic.Hash.BalanceFactor = cmp.Or(traffic.Hash.BalanceFactor, s.HashBalance)
	}
	applyTraffic(&out, traffic)
	// As with Istio, whose sidecars call an app at a port that is declared HTTP as HTTP/1.1, however the request came to them.
	out.UpgradeApps = out.Upgrade && p.Protocol != model.HTTP
	out.TunnelHTTP2 = out.Tunnel != nil && (p.Protocol == model.HTTP2 || p.Protocol == model.GRPC)
	out.Locality, out.Proximity = b.reach(s, traffic.Locality)
	// An algorithm that a DestinationRule chooses takes the place of the Service's affinity; the distance is another matter,
	// as in Istio.
	if out.ClientAffinity = s.SessionAffinity && traffic.LB == model.LBUnset; out.ClientAffinity {
		out.AffinityTimeout = s.AffinityTimeout
	}
	e.credentials(&out)
	if len(out.TLS.SubjectAltNames) == 0 {
		out.TLS.SubjectAltNames = s.SubjectAltNames
	}
	if out.LB == model.Passthrough {
		out.Resolution = model.ResolveNone
		return out
	}
	out.Shards = b.shards(s, p, e)
	out.DNS = namedEndpoints{b.snapshot, s, p, e, b.priorityLabels(e)}.of(subset)
	b.inMesh(&out, s)
	return out
}

// ruleName is how proxy-config names the DestinationRules in force, as they are merged: "users-service.myapp".
func (e *effectivePolicy) ruleName() string {
	names := make([]string, len(e.rules))
	for i, p := range e.rules {
		names[i] = p.Ref.Name + "." + p.Ref.Namespace
	}
	return strings.Join(names, ",")
}

func applyTraffic(out *plan.Backend, t model.TrafficPolicy) {
	out.LB, out.Hash, out.WarmUp, out.Load, out.Outlier = t.LB, t.Hash, t.WarmUp, t.Load, t.Outlier
	if out.LB == model.LBUnset {
		out.LB = model.LeastRequest
	}
	out.TLS = t.TLS
	out.ConnectionPool = t.ConnectionPool
	out.RetryBudget = t.RetryBudget
	out.Tunnel, out.ProxyProtocol = t.Tunnel, t.ProxyProtocol
}

// shards names the shards that hold the endpoints of a service's port. It reads what slices there are and their
// shapes, not the endpoints.
func (b *backends) shards(s *model.Service, p *model.ServicePort, e effectivePolicy) []string {
	name := plan.Name{Kind: plan.NameShard, At: plan.HostPort{Host: s.Host, Port: p.Port}}
	name.Client, name.Selected = b.shardVariant(s, e)
	var out []string
	add := func(n plan.Name, parts int) {
		for n.Part = 1; n.Part <= parts; n.Part++ {
			out = append(out, n.String())
		}
	}
	if s.ExternalName != "" || s.Resolution == model.ResolveNone {
		return nil
	}
	if isKubernetes(s) {
		for _, k := range b.slicesOf(s) {
			shape, ok := b.r.SliceShape(k)
			if ok && k.Namespace == s.Key.Namespace && slicePort(shape.Ports, p.Name) != 0 && !staysHome(s, k) {
				name.Source, name.Cluster, name.Slice = plan.FromSlice, k.Cluster, k.Name
				add(name, shape.Shards)
			}
		}
		name.Cluster, name.Slice = "", ""
	}
	name.Namespace = s.Key.Namespace
	if written := b.written(s); hasAddresses(written) {
		name.Source = plan.FromStatic
		add(name, (len(written)+store.ShardSize-1)/store.ShardSize)
	}
	if len(s.Selector) > 0 && !isKubernetes(s) {
		name.Source = plan.FromWorkloads
		add(name, b.r.WorkloadHundreds(s.Key.Namespace))
	}
	return out
}

// staysHome reports whether a slice is of another cluster and its Service for callers of the same node, for names of nodes say
// nothing across clusters, or a gateway of its network, which in each cluster is another one.
func staysHome(s *model.Service, slice model.ClusterKey) bool {
	return slice.Cluster != "" && (s.Proximity == model.OnlySameNode || s.Gateway != nil)
}

// shardVariant gives the namespace and the selection in the names of a service's shards: the viewing ones where their
// DestinationRules put endpoints into other subsets than those of other namespaces do, or compare other labels of them.
func (b *backends) shardVariant(s *model.Service, mine effectivePolicy) (client, selected string) {
	same := func(v view) bool {
		theirs := destinationRules{v}.policy(s)
		return sameSubsets(mine, theirs) && slices.Equal(b.priorityLabels(mine), b.priorityLabels(theirs))
	}
	switch {
	case b.ns == "" || same(b.as("")):
		return "", ""
	case b.selected == "" || same(b.by("")):
		return b.ns, ""
	}
	return b.ns, b.selected
}

// slicePort gives the number of the slice's port of that name, or 0: slices carry what named target ports resolved
// to, and pair with the Service's ports by name (EndpointSlice API).
func slicePort(ports []model.SlicePort, name string) uint16 {
	for _, p := range ports {
		if p.Name == name {
			return p.Port
		}
	}
	return 0
}

func hasAddresses(list []model.StaticEndpoint) bool {
	for i := range list {
		if list[i].Address.IsValid() || list[i].Unix != "" {
			return true
		}
	}
	return false
}

// staticPort is where an endpoint of a ServiceEntry listens for the service's port.
func staticPort(e *model.StaticEndpoint, p *model.ServicePort) uint16 {
	if port, ok := e.Ports[p.Name]; ok {
		return port
	}
	return targetPort(p)
}

func targetPort(p *model.ServicePort) uint16 {
	if p.TargetPort != 0 {
		return p.TargetPort
	}
	return p.Port
}
