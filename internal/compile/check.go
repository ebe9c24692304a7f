package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// Check reports what cannot work between objects, each Problem a Warning on an object that the user can mend:
// references to hosts, ports and subsets that are not there, subsets without pods, objects that claim the same host
// (on each of them). The result is ordered by object, then field.
func Check(r *store.Reader, g Global) []model.Problem {
	c := checker{view: view{snapshot: snapshot{r, g}}}
	sets := store.List[model.RouteSet](r)
	for _, rs := range sets {
		c.parents(rs)
		c.gateways(rs)
		c.hosts(rs)
		c.backends(rs)
	}
	c.routeConflicts(sets)
	c.delegates(sets)
	missingRouteGroups(&c, sets)
	policies := store.List[model.DestinationPolicy](r)
	balance := balancing{checker: &c}
	for _, p := range policies {
		c.policyOf(p)
		missingSecrets(&c, p)
		keptHome(&c, p)
		balance.rule(p)
	}
	ruleConflicts{&c}.report(policies)
	c.peerPolicies(store.List[model.PeerAuthentication](r))
	c.healthChecks(store.List[model.HealthCheckPolicy](r))
	idleTelemetries(&c, store.List[model.Telemetry](r))
	services := store.List[model.Service](r)
	c.duplicateHosts(services)
	disagreeing(&c, services)
	namedInVain(&c, services)
	clusterChecks{&c}.report()
	exportChecks{&c}.report()
	c.nameless(r.ServicesByNameAlone())
	unselected(&c)
	slices.SortStableFunc(c.problems, compareProblems)
	return slices.CompactFunc(c.problems, func(a, b model.Problem) bool { return a == b })
}

func compareProblems(a, b model.Problem) int {
	return cmp.Or(
		cmp.Compare(a.Ref.Kind, b.Ref.Kind), a.Ref.Compare(b.Ref.Key), cmp.Compare(a.Ref.Cluster, b.Ref.Cluster),
		cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message),
	)
}

// checker collects the problems of one Check.
type checker struct {
	view
	problems []model.Problem
	names    []model.Hostname // of all services, loaded on first use
}

func (c *checker) warn(ref model.Ref, field, message, fix string) {
	c.problems = append(c.problems, model.Problem{
		Ref: ref, Severity: model.Warning, Field: field, Message: message, Fix: fix,
	})
}

// report warns of a reference that leads nowhere.
func (c *checker) report(ref model.Ref, m *missing, fix string) {
	c.problems = append(c.problems, model.Problem{
		Ref: ref, Severity: model.Warning, Field: m.field, Message: m.message, Fix: fix, Missing: true,
	})
}

// parents reports Services that a Gateway API route is attached to in vain.
func (c *checker) parents(rs *model.RouteSet) {
	for _, p := range rs.Parents {
		m := attachments{c.view}.unattached(rs, p)
		if m == nil {
			continue
		}
		fix := suggest(m.value, m.candidates)
		if m.unknownHost {
			fix = c.didYouMean(p.Host, p.Service.Namespace)
		}
		c.report(rs.Ref, m, fix)
	}
}

// gateways reports Gateways that a Gateway API route is attached to: no sidecar serves them. A parent of which the kind
// was left out means a Gateway, which is seldom what the author of a route to a Service had in mind.
func (c *checker) gateways(rs *model.RouteSet) {
	for _, p := range rs.Gateways {
		if p.Assumed && c.kubernetesService(p.Key) != nil {
			c.warn(rs.Ref, p.Field, fmt.Sprintf("without group and kind it means a Gateway %s: the route is not attached to the Service of that name", p.Key),
				`write group: "", kind: Service`)
			continue
		}
		c.warn(rs.Ref, p.Field, fmt.Sprintf("Gateway %s is not served by Fairlead, which routes calls inside the mesh only", p.Key), "")
	}
}

// hosts reports hosts of a VirtualService or a TrafficSplit that nothing defines, where calls to them are not found: names
// of the cluster's own domain, and those that no rule for requests or TLS is about.
func (c *checker) hosts(rs *model.RouteSet) {
	if isGateway(rs) {
		return // see parents
	}
	for i, h := range rs.Hosts {
		field := fmt.Sprintf("spec.hosts[%d]", i)
		if dialectOf(rs) == dialectSMI {
			field = "spec.service"
		}
		full, found := c.as(rs.Ref.Namespace).resolveHost(h, rs.Ref.Namespace)
		switch {
		case len(found) > 0 || h.Wildcard() && c.coversAny(h):
		case strings.HasSuffix(string(full), ".svc."+c.g.ClusterDomain):
			c.report(rs.Ref, &missing{field: field, message: unknownHost(full)}, c.didYouMean(h, rs.Ref.Namespace))
		case h != "*":
			if why := unnamed(full, rs); why != "" {
				c.report(rs.Ref, &missing{field: field, message: fmt.Sprintf("host %q has no effect: no Service or ServiceEntry defines it, and %s", full, why)},
					"write a ServiceEntry for it, with addresses")
			}
		}
	}
}

// coversAny reports whether a wildcard covers a host that something defines.
func (c *checker) coversAny(wildcard model.Hostname) bool {
	return slices.ContainsFunc(store.List[model.Service](c.r), func(s *model.Service) bool { return wildcard.Covers(s.Host) })
}

// backends reports what a route set refers to in vain.
func (c *checker) backends(rs *model.RouteSet) {
	for _, b := range referencesOf(c.view).broken(rs) {
		fix := suggest(b.missing.value, b.missing.candidates)
		if b.missing.unknownHost {
			fix = c.didYouMean(b.backend.Host, rs.Ref.Namespace)
		}
		c.report(rs.Ref, b.missing, fix)
	}
}

// policyOf reports a DestinationRule for a host that is not there, and subsets that select nothing.
func (c *checker) policyOf(p *model.DestinationPolicy) {
	if p.Host.Wildcard() {
		return
	}
	v := c.as(p.Ref.Namespace)
	full, found := v.resolveHost(p.Host, p.Ref.Namespace)
	if len(found) == 0 {
		c.report(p.Ref, &missing{field: "spec.host", message: unknownHost(full)}, c.didYouMean(p.Host, p.Ref.Namespace))
		return
	}
	c.misplaced(p, found[0])
	if s := found[0]; s.Host.Wildcard() {
		c.warn(p.Ref, "spec.host", fmt.Sprintf("no Service or ServiceEntry defines %s by itself: calls to it are calls to %s of %s, whose rules count", full, s.Host, s.Origin),
			fmt.Sprintf("write host: %q, or a ServiceEntry for %s", s.Host, full))
	}
	if len(p.Subsets) == 0 {
		return
	}
	labels, complete := c.endpointLabels(found[0])
	if !complete || len(labels) == 0 { // scaled to nothing, or manifests without pods: that is no mistake
		return
	}
	for i := range p.Subsets {
		s := &p.Subsets[i]
		if !slices.ContainsFunc(labels, func(l map[string]string) bool { return selects(s.Labels, l) }) {
			c.warn(p.Ref, s.Field+".labels", fmt.Sprintf("subset %q selects none of the %d endpoints of %s", s.Name, len(labels), full), "")
		}
	}
}

// misplaced reports a DestinationRule in a namespace in which no sidecar's rules are looked for: rules are looked up in the caller's
// namespace, then in that of the host, then in the root one. Istio's own root namespace is none here.
func (c *checker) misplaced(p *model.DestinationPolicy, s *model.Service) {
	ns, root := p.Ref.Namespace, c.rootNamespace()
	if ns == s.Key.Namespace || ns == root || c.hasCallers(ns) {
		return
	}
	c.warn(p.Ref, "metadata.namespace", fmt.Sprintf("it is not looked for here: rules for %s are those of the caller's namespace, of %s and of %s, and nothing in %s calls",
		s.Host, s.Key.Namespace, root, ns), fmt.Sprintf("write it in namespace %s, or in %s for the whole mesh", s.Key.Namespace, root))
}

// hasCallers reports whether pods of a namespace may look for rules. Manifests often come without pods: there, Services
// stand for the apps behind them.
func (c *checker) hasCallers(namespace string) bool {
	for _, k := range c.r.WorkloadsInNamespace(namespace) {
		if w := c.r.Workload(k); w != nil && w.Meshed {
			return true
		}
	}
	return namespace != istioRootNamespace && slices.ContainsFunc(store.List[model.Service](c.r), func(s *model.Service) bool {
		return s.Key.Namespace == namespace && isKubernetes(s)
	})
}

// endpointLabels lists the labels of a service's endpoints. complete is false where the proxy finds some of them.
func (m snapshot) endpointLabels(s *model.Service) (labels []map[string]string, complete bool) {
	r, written := m.r, m.written(s)
	switch {
	case s.ExternalName != "" || s.Resolution == model.ResolveNone || s.Resolution == model.ResolveDynamicDNS:
		return nil, false
	case isKubernetes(s):
		for _, k := range m.slicesOf(s) {
			if slice := r.Slice(k); slice != nil {
				labels = append(labels, podLabels(r, slice)...)
			}
		}
	}
	for i := range written {
		labels = append(labels, written[i].Labels)
	}
	if meansItsHost(s) {
		labels = append(labels, nil)
	}
	if len(s.Selector) > 0 && !isKubernetes(s) {
		for _, k := range r.WorkloadsInNamespace(s.Key.Namespace) {
			if w := r.Workload(k); w != nil && selects(s.Selector, w.Labels) {
				labels = append(labels, w.Labels)
			}
		}
	}
	return labels, true
}

func podLabels(r *store.Reader, s *model.Slice) []map[string]string {
	out := make([]map[string]string, 0, len(s.Endpoints))
	for i := range s.Endpoints {
		if w := r.Workload(s.Endpoints[i].Pod); w != nil {
			out = append(out, w.Labels)
		}
	}
	return out
}

// duplicateHosts reports hosts that several objects define on the same port for callers who see both.
func (c *checker) duplicateHosts(services []*model.Service) {
	byHost := make(map[model.Hostname][]*model.Service)
	for _, s := range services {
		byHost[s.Host] = append(byHost[s.Host], s)
	}
	for h, list := range byHost {
		c.sorted(list)
		for i, first := range list {
			for _, second := range list[i+1:] {
				if port := sharedPort(first, second); port != 0 && seenTogether(first, second) {
					message := fmt.Sprintf("%s:%d is also defined by %%s: calls use %s", h, port, first.Origin)
					c.warn(first.Origin, serviceField(first), fmt.Sprintf(message, second.Origin), "")
					c.warn(second.Origin, serviceField(second), fmt.Sprintf(message, first.Origin), "remove the host from one of them")
				}
			}
		}
	}
}

// nameless reports ports of ServiceEntries at which calls cannot be told from others: the host has no address, and what
// is called there names no host unless it happens to begin with TLS. Istio takes every call to the port for them.
func (c *checker) nameless(entries []*model.Service) {
	for _, s := range entries {
		if _, auto := c.r.AutoAddress(s.Key.Namespace, s.Host); auto {
			continue
		}
		for i := range s.Ports {
			if p := &s.Ports[i]; p.Protocol == model.TCP {
				c.warn(s.Origin, "spec.ports", fmt.Sprintf("calls to port %d of %s are found by TLS server name only: the host has no address, and plain TCP names none", p.Port, s.Host),
					"write spec.addresses, or protocol TLS where clients speak it")
			}
		}
	}
}

func serviceField(s *model.Service) string {
	if isKubernetes(s) {
		return ""
	}
	return "spec.hosts"
}

func sharedPort(a, b *model.Service) uint16 {
	for i := range a.Ports {
		if a.Ports[i].Protocol != model.UDP && portOf(b, a.Ports[i].Port) != nil {
			return a.Ports[i].Port
		}
	}
	return 0
}

// seenTogether reports whether one namespace sees both and would have to choose without preferring its own.
func seenTogether(a, b *model.Service) bool {
	if a.Key.Namespace == b.Key.Namespace {
		return true
	}
	all := view{}
	return all.visible(a.ExportTo, a.Key.Namespace) && all.visible(b.ExportTo, b.Key.Namespace)
}

// didYouMean suggests a known host that looks like the written one. A short name means the object's own namespace: where
// another one has a Service of that name, that is the likely slip.
func (c *checker) didYouMean(written model.Hostname, namespace string) string {
	if c.names == nil {
		for _, s := range store.List[model.Service](c.r) {
			c.names = append(c.names, s.Host)
		}
	}
	candidates := make([]string, 0, len(c.names))
	for _, h := range c.names {
		candidates = append(candidates, string(h))
	}
	full := model.HostCandidates(string(written), namespace, c.g.ClusterDomain)
	meant := full[len(full)-1]
	if elsewhere := c.elsewhere(meant, namespace); elsewhere != "" {
		return elsewhere
	}
	return suggest(string(meant), candidates)
}

// elsewhere says how to write a Service that is not in the namespace, but in one or a few others.
func (c *checker) elsewhere(h model.Hostname, namespace string) string {
	name, ok := strings.CutSuffix(string(h), "."+namespace+".svc."+c.g.ClusterDomain)
	if !ok {
		return ""
	}
	var found []string
	for _, s := range store.List[model.Service](c.r) {
		if isKubernetes(s) && s.Key.Name == name {
			found = append(found, strconv.Quote(name+"."+s.Key.Namespace))
		}
	}
	const few = 3
	if len(found) == 0 || len(found) > few {
		return ""
	}
	slices.Sort(found)
	return "write " + strings.Join(found, " or ")
}
