package compile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// skew is from how many times an even share on an endpoint is said to get too much.
const skew = 3

// balancing is the part of a checker that looks at what rules do to the endpoints there are.
type balancing struct {
	*checker
	pods map[string]map[model.Locality]int // in the mesh, by namespace and where they are; counted on first use
}

// scope is the endpoints that a policy of a DestinationRule is for: those of its host, or of a subset.
type scope struct {
	host      string
	policy    model.TrafficPolicy
	endpoints []plan.Endpoint
	// balancing and outliers are the fields of the traffic policies that say how to balance and what to eject.
	balancing, outliers string
}

// scopes lists those of a rule, the host's own first. Settings of ports are not looked at: they are for the same endpoints.
func (c *balancing) scopes(p *model.DestinationPolicy, s *model.Service) []scope {
	const base = "spec.trafficPolicy"
	e := mergePolicies([]*model.DestinationPolicy{p})
	all := c.endpointsOf(s, e)
	out := []scope{{string(s.Host), p.Default, all, base, base}}
	for i := range p.Subsets {
		sub := &p.Subsets[i]
		of := scope{
			host: fmt.Sprintf("subset %q of %s", sub.Name, s.Host), policy: e.traffic(0, sub.Name), balancing: base, outliers: base,
		}
		if sub.Policy.LB != model.LBUnset || sub.Policy.WarmUp != nil || sub.Policy.Locality != nil {
			of.balancing = sub.Field + ".trafficPolicy"
		}
		if sub.Policy.Outlier != nil {
			of.outliers = sub.Field + ".trafficPolicy"
		}
		for j := range all {
			if slices.Contains(all[j].Subsets, sub.Name) {
				of.endpoints = append(of.endpoints, all[j])
			}
		}
		out = append(out, of)
	}
	return out
}

// endpointsOf gives those of a service that are known here: a name's addresses are not.
func (c *balancing) endpointsOf(s *model.Service, e effectivePolicy) []plan.Endpoint {
	g := endpointShards{c.as(s.Key.Namespace)}.group(s, &model.ServicePort{})
	g.policy = e
	out := g.static(c.written(s))
	if !isKubernetes(s) {
		if len(s.Selector) > 0 {
			out = append(out, g.selected(c.r.WorkloadsInNamespace(s.Key.Namespace))...)
		}
		return out
	}
	for _, k := range c.slicesOf(s) {
		slice := c.r.Slice(k)
		for number := 1; slice != nil && inParts(len(slice.Endpoints), number); number++ {
			out = append(out, g.slice(slice, number, 1)...)
		}
	}
	return out
}

// rule reports what a DestinationRule does to the endpoints that there are and its author may not have meant.
func (c *balancing) rule(p *model.DestinationPolicy) {
	if p.Host.Wildcard() {
		return
	}
	_, found := c.as(p.Ref.Namespace).resolveHost(p.Host, p.Ref.Namespace)
	if len(found) == 0 {
		return
	}
	s := found[0]
	inVain := "" // the field of which it is said that it ejects none of all endpoints, and so none of a subset's
	for _, of := range c.scopes(p, s) {
		if of.outliers != inVain && c.uneject(p, &of) {
			inVain = of.outliers
		}
		l := of.policy.Locality
		switch at, total := readyAt(of.endpoints); {
		case l == nil || l.Off || total == 0:
		case len(l.Distribute) > 0:
			c.skewed(p, &of, at, total)
		case len(l.FailoverPriority) == 0:
			c.crowded(p, s, &of, at)
		}
	}
}

// uneject reports outlier detection that can eject none of the endpoints there are, and whether it did.
func (c *balancing) uneject(p *model.DestinationPolicy, of *scope) bool {
	o, n := of.policy.Outlier, len(of.endpoints)
	if o == nil || o.Accrual != nil || n == 0 || int(o.MaxEjectionPercent)*n >= 100 {
		return false
	}
	c.warn(p.Ref, of.outliers+".outlierDetection.maxEjectionPercent",
		fmt.Sprintf("%d %% of the %d endpoints of %s is less than one: none is ever ejected", o.MaxEjectionPercent, n, of.host),
		fmt.Sprintf("write %d or more", (100+n-1)/n))
	return true
}

// skewed reports parts of distribute that come down on a few endpoints.
func (c *balancing) skewed(p *model.DestinationPolicy, of *scope, at map[model.Locality]int, total int) {
	for i, d := range of.policy.Locality.Distribute {
		for _, share := range d.To {
			n := 0
			for l, ready := range at {
				if share.To.Covers(l) {
					n += ready
				}
			}
			if n == 0 || int(share.Percent)*total <= skew*100*n {
				continue
			}
			c.warn(p.Ref, fmt.Sprintf("%s.loadBalancer.localityLbSetting.distribute[%d].to[%s]", of.balancing, i, share.To),
				fmt.Sprintf("%d %% of the calls from %s go to %d of the %d ready endpoints of %s: %.1f times an even share for each",
					share.Percent, d.From, n, total, of.host, float64(share.Percent)*float64(total)/100/float64(n)),
				"add endpoints there, or lower the share")
		}
	}
}

// crowded reports a locality whose endpoints are the nearest for too many of the pods that call. It takes them to call alike.
func (c *balancing) crowded(p *model.DestinationPolicy, s *model.Service, of *scope, at map[model.Locality]int) {
	callers := c.callers(p, s, of.endpoints)
	count, total := 0, 0
	for _, n := range callers {
		count += n
	}
	for _, n := range at {
		total += n
	}
	type load struct {
		callers, endpoints int
		each               float64 // calls of all callers for each endpoint
	}
	loads := map[model.Locality]load{}
	for from, n := range callers {
		best, endpoints := bestLevel(of.policy.Locality, from, at)
		for _, l := range best {
			v := loads[l]
			loads[l] = load{v.callers + n, at[l], v.each + float64(n)/float64(endpoints)}
		}
	}
	places := slices.SortedFunc(maps.Keys(loads), func(a, b model.Locality) int {
		return cmp.Or(cmp.Compare(loads[b].each, loads[a].each), cmp.Compare(a.String(), b.String()))
	})
	if len(places) == 0 {
		return
	}
	worst := loads[places[0]]
	times := worst.each * float64(total) / float64(count)
	if times <= skew {
		return
	}
	c.warn(p.Ref, of.balancing+".loadBalancer.localityLbSetting",
		fmt.Sprintf("for %d of %d pods that call, the nearest endpoints are in %s, which has %d of the %d ready endpoints of %s: %.1f times an even share for each, where pods call alike",
			worst.callers, count, places[0], worst.endpoints, total, of.host, times),
		"add endpoints there, or have calls shared out by distribute")
}

// bestLevel gives the localities of the best level for a caller, and how many endpoints are ready there.
func bestLevel(l *model.LocalityLB, from model.Locality, at map[model.Locality]int) (best []model.Locality, endpoints int) {
	least := 0
	for to, n := range at {
		rank := l.Rank(model.Site{Locality: from}, model.Site{Locality: to})
		if len(best) > 0 && rank > least {
			continue
		}
		if rank < least || len(best) == 0 {
			best, endpoints, least = nil, 0, rank
		}
		best = append(best, to)
		endpoints += n
	}
	return best, endpoints
}

// callers counts the pods in the mesh that go by a rule, by where they are. The endpoints themselves are not among them.
func (c *balancing) callers(p *model.DestinationPolicy, s *model.Service, endpoints []plan.Endpoint) map[model.Locality]int {
	if c.pods == nil {
		c.pods = map[string]map[model.Locality]int{}
		for _, w := range store.List[model.Workload](c.r) {
			if !w.Meshed {
				continue
			}
			if c.pods[w.Key.Namespace] == nil {
				c.pods[w.Key.Namespace] = map[model.Locality]int{}
			}
			c.pods[w.Key.Namespace][workloads{c.view}.localityOf(w, w.Key.Cluster, w.Node, "")]++
		}
	}
	everywhere := p.Ref.Namespace == s.Key.Namespace || p.Ref.Namespace == c.rootNamespace()
	out := map[model.Locality]int{}
	for ns, at := range c.pods {
		if everywhere || ns == p.Ref.Namespace {
			for l, n := range at {
				out[l] += n
			}
		}
	}
	for i := range endpoints {
		e := &endpoints[i]
		if e.Meshed && (everywhere || e.Workload.Namespace == p.Ref.Namespace) {
			out[e.Locality]--
		}
	}
	maps.DeleteFunc(out, func(_ model.Locality, n int) bool { return n <= 0 })
	return out
}

// readyAt counts ready endpoints by where they are.
func readyAt(endpoints []plan.Endpoint) (at map[model.Locality]int, total int) {
	at = map[model.Locality]int{}
	for i := range endpoints {
		if endpoints[i].Health == plan.Healthy {
			at[endpoints[i].Locality]++
			total++
		}
	}
	return at, total
}
