package compile

import (
	"net/netip"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// Probes lists the endpoints that a policy has checked by sidecars that call them: those that are ready and have no sidecar of
// their own. Each comes once, however many of the policy's targets lead to it.
func Probes(r *store.Reader, g Global, p *model.HealthCheckPolicy) []model.ProbedEndpoint {
	m := healthChecks{snapshot{r, g}}
	found := make(map[netip.AddrPort][]string)
	for _, t := range p.Targets {
		if m.unchecked(p, t) != nil {
			continue
		}
		for _, s := range m.targets(t.Ref) {
			g := group{workloads: workloads{view{snapshot: m.snapshot}}, service: s, check: p}
			for _, at := range g.probedEntries() {
				if of := heldAs(s, plan.FromStatic); !slices.Contains(found[at], of) {
					found[at] = append(found[at], of)
				}
			}
			of := heldAs(s, plan.FromSlice)
			for _, at := range g.probed() {
				if !slices.Contains(found[at], of) {
					found[at] = append(found[at], of)
				}
			}
		}
	}
	out := make([]model.ProbedEndpoint, 0, len(found))
	for at, destinations := range found {
		probe := model.Probe{Target: model.ProbeTarget{Policy: p.Ref.Key, Addr: at}, How: p.Check}
		probe.How.Port = at.Port()
		slices.Sort(destinations)
		out = append(out, model.ProbedEndpoint{Probe: probe, Destinations: destinations})
	}
	slices.SortFunc(out, func(a, b model.ProbedEndpoint) int { return a.Target.Compare(b.Target) })
	return out
}

// heldAs names a service as plan.Name.Destination does, by a shard of that source.
func heldAs(s *model.Service, source plan.ShardSource) string {
	n := plan.Name{Kind: plan.NameShard, Source: source, At: plan.HostPort{Host: s.Host}}
	if !isKubernetes(s) || source == plan.FromStatic {
		n.Source, n.Namespace = plan.FromStatic, s.Key.Namespace
	}
	return n.Destination()
}

// adder gives what adds to a list where an endpoint is checked, unless it has a sidecar or goes.
func adder(to *[]netip.AddrPort) func(netip.Addr, uint16, *model.Workload) {
	return func(addr netip.Addr, port uint16, w *model.Workload) {
		if port != 0 && probeable(addr) && (w == nil || !meshed(w) && !w.Terminating) {
			*to = append(*to, netip.AddrPortFrom(addr.Unmap(), port))
		}
	}
}

// probedEntries lists where endpoints that stand in manifests are checked.
func (g group) probedEntries() (out []netip.AddrPort) {
	add := adder(&out)
	written := g.written(g.service)
	for i := range written {
		if e := &written[i]; e.Address.IsValid() && !e.Unhealthy {
			add(e.Address, g.checkedWritten(e), g.workloadAt(e.Address.Unmap()))
		}
	}
	return out
}

// probed lists where pods, and what slices say, are checked that are ready and have no sidecar.
func (g group) probed() (out []netip.AddrPort) {
	add := adder(&out)
	if isKubernetes(g.service) {
		for _, k := range g.slicesOf(g.service) {
			if slice := g.r.Slice(k); slice != nil && k.Namespace == g.service.Key.Namespace && g.has(g.service, slice) {
				g.probedInSlice(slice, add)
			}
		}
		return out
	}
	if len(g.service.Selector) == 0 {
		return out
	}
	for _, k := range g.r.WorkloadsInNamespace(g.service.Key.Namespace) {
		if w := g.r.Workload(k); w != nil && len(w.IPs) > 0 && selects(g.service.Selector, w.Labels) {
			add(w.IPs[0], g.checkedOf(w), w)
		}
	}
	return out
}

// probedInSlice adds the endpoints of an EndpointSlice that are ready.
func (g group) probedInSlice(s *model.Slice, add func(netip.Addr, uint16, *model.Workload)) {
	port := g.checkedInSlice(s)
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if len(e.Addresses) == 0 {
			continue
		}
		if w := g.workloadOf(s, e); healthOf(e, w, g.service) == plan.Healthy {
			at, _ := g.addressesOf(e, w)
			add(at, port, w)
		}
	}
}

// probeable reports whether sidecars of callers check an address: not where it means another thing to each of them.
func probeable(addr netip.Addr) bool {
	return addr.IsValid() && !addr.IsLoopback() && !addr.IsLinkLocalUnicast() && !addr.IsMulticast() && !addr.IsUnspecified()
}

// checkedAt gives the port at which an endpoint is checked, 0 for none: the policy's, or the one that number gives for the first
// port of the service.
func (g group) checkedAt(number func(*model.ServicePort) uint16) uint16 {
	if g.check == nil || g.service == nil {
		return 0
	}
	if g.check.Check.Port != 0 {
		return g.check.Check.Port
	}
	if p := checkedPort(g.service); p != nil {
		return number(p)
	}
	return 0
}

func (g group) checkedInSlice(s *model.Slice) uint16 {
	return g.checkedAt(func(p *model.ServicePort) uint16 { return slicePort(s.Ports, p.Name) })
}

func (g group) checkedWritten(e *model.StaticEndpoint) uint16 {
	return g.checkedAt(func(p *model.ServicePort) uint16 {
		port, _ := writtenPort(g.service, e, p)
		return port
	})
}

func (g group) checkedOf(w *model.Workload) uint16 {
	return g.checkedAt(func(p *model.ServicePort) uint16 { return group{port: p}.workloadPort(w) })
}

// judge takes away an endpoint that would be called and fails the checks of the service's policy. What is found at the port
// that is checked goes for all ports.
func (g group) judge(ep *plan.Endpoint, w *model.Workload, checked uint16) {
	if g.check == nil || ep.Health != plan.Healthy {
		return
	}
	if w != nil && meshed(w) {
		if found, ok := (healthChecks{g.snapshot}).found(w, g.check.Ref.Name); ok && found.Failing {
			g.fail(ep, found)
		}
		return
	}
	target := model.ProbeTarget{Policy: g.check.Ref.Key, Addr: netip.AddrPortFrom(ep.Addr.Addr(), checked)}
	if found := store.EndpointHealthOf(g.r, target); found != nil {
		g.fail(ep, model.CheckResult{Why: found.Why, Since: found.Since})
	}
}

func (g group) fail(ep *plan.Endpoint, found model.CheckResult) {
	ep.Health = plan.Failing
	ep.Failure = plan.Failure{Policy: g.check.Ref.String(), Why: found.Why, Since: int(found.Since.Unix())}
}

// probes lists what the sidecar of a workload checks of others.
func (m inboundPolicies) probes(w *model.Workload) []plan.Probe {
	list := store.PodProbesOf(m.r, w.Key)
	if list == nil || !meshed(w) {
		return nil
	}
	out := make([]plan.Probe, 0, len(list.Probes))
	for _, p := range list.Probes {
		out = append(out, plan.Probe{Policy: p.Target.Policy.String(), Addr: p.Target.Addr.Addr(), How: p.How})
	}
	return out
}
