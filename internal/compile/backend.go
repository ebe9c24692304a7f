package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// backends collects what the routes of one destination refer to, each group of endpoints once.
type backends struct {
	routing

	called uint16
	list   []plan.Backend
	known  map[backendKey]uint16
}

type backendKey struct {
	host    model.Hostname
	port    uint16
	subset  string
	missing string
}

func newBackends(v view, called uint16) *backends {
	return &backends{routing: routing{v}, called: called, known: make(map[backendKey]uint16)}
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
	if ref.missing == nil {
		return b.service(ref.service, ref.port, w.Subset)
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
	return b.put(backendKey{ref.wanted.Host, ref.wanted.Port, w.Subset, missing.Missing}, missing)
}

// service gives the index of the backend for a service's port and subset ("" is all endpoints).
func (b *backends) service(s *model.Service, p *model.ServicePort, subset string) uint16 {
	key := backendKey{host: s.Host, port: p.Port, subset: subset}
	if i, ok := b.known[key]; ok {
		return i
	}
	return b.put(key, b.build(s, p, subset))
}

func (b *backends) put(k backendKey, v plan.Backend) uint16 {
	if i, ok := b.known[k]; ok {
		return i
	}
	i := uint16(len(b.list))
	b.known[k] = i
	b.list = append(b.list, v)
	return i
}

// build fills a backend in from the service and its DestinationRules.
func (v view) build(s *model.Service, p *model.ServicePort, subset string) plan.Backend {
	e := destinationRules{v}.policy(s)
	out := plan.Backend{
		Name: clusterName(p.Port, subset, s.Host), Host: s.Host, Port: p.Port, Subset: subset, Service: s.Key,
		Rule: e.ruleName(), Resolution: s.Resolution,
	}
	if s.ExternalName != "" {
		out.Resolution = model.ResolveDNS
	}
	traffic := e.traffic(p.Port, subset)
	applyTraffic(&out, traffic)
	out.Proximity = s.Proximity
	// Whoever chooses an algorithm for the mesh does not want the cluster's; the distance is another matter, as in Istio.
	out.ClientAffinity = s.SessionAffinity && traffic.LB == model.LBUnset
	if len(out.TLS.SubjectAltNames) == 0 {
		out.TLS.SubjectAltNames = s.SubjectAltNames
	}
	if out.LB == model.Passthrough {
		out.Resolution = model.ResolveNone
		return out
	}
	out.Shards = v.shards(s, p, e)
	out.DNS = dnsEndpoints(s, p)
	return out
}

// ruleName is how proxy-config names the DestinationRule in force: "users-service.myapp".
func (e *effectivePolicy) ruleName() string {
	if len(e.rules) == 0 {
		return ""
	}
	return e.rules[0].Ref.Name + "." + e.rules[0].Ref.Namespace
}

func applyTraffic(out *plan.Backend, t model.TrafficPolicy) {
	out.LB, out.Hash, out.Outlier = t.LB, t.Hash, t.Outlier
	if out.LB == model.LBUnset {
		out.LB = model.LeastRequest
	}
	out.TLS = t.TLS
	out.ConnectTimeout = t.ConnectTimeout
	out.TCPIdleTimeout = t.TCPIdleTimeout
	out.HTTPIdleTimeout = t.HTTPIdleTimeout
	out.MaxConnections = t.MaxConnections
	out.MaxPendingRequests = t.MaxPendingRequests
	out.MaxRequests = t.MaxRequests
	out.MaxRequestsPerConnection = t.MaxRequestsPerConnection
}

// shards names the shards that hold the endpoints of a service's port. It reads what slices there are and their
// shapes, not the endpoints.
func (v view) shards(s *model.Service, p *model.ServicePort, e effectivePolicy) []string {
	name := plan.Name{Kind: plan.NameShard, At: plan.HostPort{Host: s.Host, Port: p.Port}, Client: v.shardVariant(s, e)}
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
		for _, k := range v.r.SlicesOfService(s.Key) {
			shape, ok := v.r.SliceShape(k)
			if ok && k.Namespace == s.Key.Namespace && slicePort(shape.Ports, p.Name) != 0 {
				name.Source, name.Cluster, name.Slice = plan.FromSlice, k.Cluster, k.Name
				add(name, shape.Shards)
			}
		}
		return out
	}
	name.Namespace = s.Key.Namespace
	if hasAddresses(s) {
		name.Source = plan.FromStatic
		add(name, (len(s.Endpoints)+store.ShardSize-1)/store.ShardSize)
	}
	if len(s.Selector) > 0 {
		name.Source = plan.FromWorkloads
		add(name, v.r.WorkloadHundreds(s.Key.Namespace))
	}
	return out
}

// shardVariant is the namespace in the names of a service's shards: the viewing one where its DestinationRules put
// endpoints into other subsets than everybody else's do, else none.
func (v view) shardVariant(s *model.Service, mine effectivePolicy) string {
	if v.ns == "" || sameSubsets(mine, destinationRules{v.as("")}.policy(s)) {
		return ""
	}
	return v.ns
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

func hasAddresses(s *model.Service) bool {
	for i := range s.Endpoints {
		if s.Endpoints[i].Address.IsValid() {
			return true
		}
	}
	return false
}

// dnsEndpoints lists the names that the proxy has to resolve. A ServiceEntry without endpoints means its host.
func dnsEndpoints(s *model.Service, p *model.ServicePort) []plan.DNSEndpoint {
	if s.ExternalName != "" {
		return []plan.DNSEndpoint{{Host: s.ExternalName, Port: p.Port, Weight: 1}}
	}
	if s.Resolution != model.ResolveDNS && s.Resolution != model.ResolveDNSRoundRobin {
		return nil
	}
	var out []plan.DNSEndpoint
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if e.DNS != "" {
			out = append(out, plan.DNSEndpoint{Host: e.DNS, Port: staticPort(e, p), Weight: max(1, e.Weight)})
		}
	}
	if len(s.Endpoints) == 0 && len(s.Selector) == 0 && !s.Host.Wildcard() {
		out = append(out, plan.DNSEndpoint{Host: s.Host, Port: targetPort(p), Weight: 1})
	}
	return out
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

// reference is what a route's backend turned out to be. missing is nil where it can be called.
type reference struct {
	wanted  plan.HostPort
	service *model.Service
	port    *model.ServicePort
	missing *missing
}

// missing says what a route refers to in vain: the field as the user wrote it, what is wrong with its value, and
// what there is instead.
type missing struct {
	field, message string
	value          string
	candidates     []string
	unknownHost    bool
	// reason is Gateway API's word for it.
	reason string
}

// unknownHost words the most common mistake.
func unknownHost(h model.Hostname) string {
	return fmt.Sprintf("host %q is not known: no Service or ServiceEntry defines it", h)
}

// lookUp resolves a route's backend. called is the port that a backend without one means, 0 where it is not known.
func (v view) lookUp(rs *model.RouteSet, w *model.WeightedBackend, called uint16) reference {
	if why := cmp.Or(w.Invalid, w.Unsupported); why != "" {
		reason := reasonInvalidKind
		if w.Invalid == "" {
			reason = reasonUnsupportedValue
		}
		return reference{wanted: plan.HostPort{Host: w.Host, Port: w.Port}, missing: &missing{field: w.Field, message: why, reason: reason}}
	}
	host, found := v.resolveHost(w.Host, rs.Ref.Namespace)
	ref := reference{wanted: plan.HostPort{Host: host, Port: w.Port}}
	if len(found) == 0 {
		ref.missing = &missing{
			field: backendField(rs, w, "host"), value: string(w.Host),
			message: unknownHost(host), unknownHost: true, reason: reasonBackendNotFound,
		}
		return ref
	}
	ref.service, ref.port = choosePort(found, w.Port, called)
	if ref.port == nil {
		ref.service = found[0]
		ref.missing = missingPort(rs, w, ref.service)
		return ref
	}
	ref.wanted.Port = ref.port.Port
	if w.Subset == "" {
		return ref
	}
	e := destinationRules{v}.policy(ref.service)
	if e.subset(w.Subset) == nil {
		ref.missing = missingSubset(rs, w, ref.service, e)
	}
	return ref
}

// choosePort gives the port that a backend means: the written one, else the one that was called, else the only one.
func choosePort(found []*model.Service, written, called uint16) (*model.Service, *model.ServicePort) {
	if written != 0 {
		return withPort(found, written)
	}
	if called != 0 {
		if s, p := withPort(found, called); p != nil {
			return s, p
		}
	}
	return found[0], onlyPort(found[0])
}

func missingPort(rs *model.RouteSet, w *model.WeightedBackend, s *model.Service) *missing {
	m := &missing{field: backendField(rs, w, "port"), reason: reasonBackendNotFound}
	if w.Port == 0 {
		m.message = fmt.Sprintf("no port is given, and %s does not have just one: it has %s", s.Host, portList(s))
		return m
	}
	m.value, m.candidates = strconv.Itoa(int(w.Port)), tcpPorts(s)
	m.message = fmt.Sprintf("%s has no port %d: it has %s", s.Host, w.Port, portList(s))
	if slices.ContainsFunc(s.Ports, func(p model.ServicePort) bool { return p.Port == w.Port }) {
		m.message, m.reason = fmt.Sprintf("port %d of %s is for UDP, which carries no requests", w.Port, s.Host), reasonUnsupportedProtocol
	}
	return m
}

// portList names the TCP ports of s in words.
func portList(s *model.Service) string { return cmp.Or(strings.Join(tcpPorts(s), ", "), "no TCP port") }

func tcpPorts(s *model.Service) []string {
	var out []string
	for i := range s.Ports {
		if s.Ports[i].Protocol != model.UDP {
			out = append(out, strconv.Itoa(int(s.Ports[i].Port)))
		}
	}
	return out
}

func missingSubset(rs *model.RouteSet, w *model.WeightedBackend, s *model.Service, e effectivePolicy) *missing {
	m := &missing{field: backendField(rs, w, "subset"), value: w.Subset, reason: reasonBackendNotFound}
	for i := range e.subsets {
		m.candidates = append(m.candidates, e.subsets[i].Name)
	}
	if len(e.rules) == 0 {
		m.message = fmt.Sprintf("subset %q is not defined: no DestinationRule applies to %s", w.Subset, s.Host)
		return m
	}
	m.message = fmt.Sprintf("subset %q is not defined for %s: %s defines %s", w.Subset, s.Host, e.rules[0].Ref,
		cmp.Or(strings.Join(m.candidates, ", "), "no subsets"))
	return m
}

// backendField is the path of a part of a backend reference, as the dialect of the object spells it.
func backendField(rs *model.RouteSet, w *model.WeightedBackend, part string) string {
	switch dialectOf(rs) {
	case dialectIstio:
		if part == "port" {
			part = "port.number"
		}
	case dialectGateway:
		if part == "host" {
			part = "name"
		}
	case dialectSMI:
		part = "service" // its only part
	}
	return w.Field + "." + part
}
