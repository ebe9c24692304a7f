package compile

import (
	"cmp"
	"maps"
	"reflect"
	"slices"

	"fairlead.dev/fairlead/internal/model"
)

// effectivePolicy is what the DestinationRules say about one host to the callers of one namespace.
type effectivePolicy struct {
	// rules are in force, first the one that proxy-config prints.
	rules   []*model.DestinationPolicy
	base    model.TrafficPolicy
	perPort map[uint16]model.TrafficPolicy
	subsets []model.Subset
}

// destinationRules are the DestinationRules that the viewing namespace goes by.
type destinationRules struct{ view }

// policy looks for DestinationRules where Istio looks: in the caller's namespace, then in the service's, then in
// the root namespace. The first of these that has a visible rule for the host decides; inside it an exact host goes
// before a wildcard. Several rules for one host are merged in mergeOrder: the first traffic policy, all subsets, of two subsets
// with one name the first.
func (v destinationRules) policy(s *model.Service) effectivePolicy {
	return mergePolicies(v.policies(s))
}

func (v destinationRules) policies(s *model.Service) []*model.DestinationPolicy {
	byLevel := v.byLevel(s.Host)
	if v.selected != "" {
		for _, chosen := range v.selectionsAmong(byLevel) {
			if chosen.name() == v.selected {
				return chosen.rules
			}
		}
	}
	for _, ns := range []string{v.ns, s.Key.Namespace, v.rootNamespace()} {
		for _, found := range byLevel {
			if rules := v.policiesOf(ns, found); len(rules) > 0 {
				return rules
			}
		}
	}
	return nil
}

// byLevel lists the rules of all namespaces for a host, and for the wildcards that cover it, the most specific first.
func (v destinationRules) byLevel(host model.Hostname) [][]*model.DestinationPolicy {
	byLevel := make([][]*model.DestinationPolicy, 0, 8)
	for _, level := range v.levels(host) {
		var found []*model.DestinationPolicy
		for _, h := range v.spellings(level) {
			found = append(found, v.r.PoliciesByHost(h)...)
		}
		byLevel = append(byLevel, found)
	}
	return byLevel
}

// policiesOf keeps the visible rules of one namespace that select no workloads, in mergeOrder.
func (v destinationRules) policiesOf(namespace string, all []*model.DestinationPolicy) []*model.DestinationPolicy {
	var out []*model.DestinationPolicy
	for _, p := range all {
		if namespace != "" && p.Selector == nil && p.Ref.Namespace == namespace && v.visible(p.ExportTo, p.Ref.Namespace) {
			out = append(out, p)
		}
	}
	mergeOrder(out)
	return out
}

// inputs lists the rules that decide how the callers of the viewing namespace call a service.
func (v destinationRules) inputs(s *model.Service) []model.Ref {
	var out []model.Ref
	for _, p := range v.policies(s) {
		out = append(out, p.Ref)
	}
	for _, chosen := range v.selections(s) {
		for _, p := range chosen.rules {
			out = append(out, p.Ref)
		}
	}
	return out
}

func mergePolicies(rules []*model.DestinationPolicy) effectivePolicy {
	e := effectivePolicy{rules: rules}
	said := false
	for _, p := range rules {
		if !said && saysPolicy(p) {
			e.base, e.perPort, said = p.Default, p.PerPort, true
		}
		for _, s := range p.Subsets {
			if e.subset(s.Name) == nil {
				e.subsets = append(e.subsets, s)
			}
		}
	}
	return e
}

// subset gives the subset of that name, or nil.
func (e *effectivePolicy) subset(name string) *model.Subset {
	for i := range e.subsets {
		if e.subsets[i].Name == name {
			return &e.subsets[i]
		}
	}
	return nil
}

// subsetNames lists the names of the subsets that labels belong to, sorted.
func (e *effectivePolicy) subsetNames(labels map[string]string) []string {
	var out []string
	for i := range e.subsets {
		if selects(e.subsets[i].Labels, labels) {
			out = append(out, e.subsets[i].Name)
		}
	}
	slices.Sort(out)
	return out
}

// sameSubsets reports whether both pick the same endpoints for the same names.
func sameSubsets(a, b effectivePolicy) bool {
	return maps.EqualFunc(a.selectors(), b.selectors(), maps.Equal[map[string]string, map[string]string])
}

func (e *effectivePolicy) selectors() map[string]map[string]string {
	out := make(map[string]map[string]string, len(e.subsets))
	for i := range e.subsets {
		out[e.subsets[i].Name] = e.subsets[i].Labels
	}
	return out
}

// traffic gives the policy for a port and a subset ("" is none), merged as Istio does it: settings of a port
// replace all settings of their level, without inheriting; a subset's load balancer, connection pool and TLS each
// replace the level above as a block.
func (e *effectivePolicy) traffic(port uint16, subset string) model.TrafficPolicy {
	out := e.base
	if p, ok := e.perPort[port]; ok {
		out = p
	}
	s := e.subset(subset)
	if s == nil {
		return out
	}
	budget, tunnel := cmp.Or(s.Policy.RetryBudget, out.RetryBudget), cmp.Or(s.Policy.Tunnel, out.Tunnel)
	header := cmp.Or(s.Policy.ProxyProtocol, out.ProxyProtocol)
	if p, ok := s.PerPort[port]; ok {
		p.RetryBudget, p.Tunnel, p.ProxyProtocol = cmp.Or(p.RetryBudget, budget), cmp.Or(p.Tunnel, tunnel), cmp.Or(p.ProxyProtocol, header)
		return p
	}
	out.RetryBudget, out.Tunnel, out.ProxyProtocol = budget, tunnel, header
	if s.Policy.LB != model.LBUnset || s.Policy.WarmUp != nil || s.Policy.Locality != nil {
		out.LB, out.Hash, out.WarmUp, out.Locality = s.Policy.LB, s.Policy.Hash, s.Policy.WarmUp, s.Policy.Locality
		out.Load = s.Policy.Load
	}
	if s.Policy.Outlier != nil {
		out.Outlier = s.Policy.Outlier
	}
	if !reflect.DeepEqual(s.Policy.TLS, model.TLSSettings{}) {
		out.TLS = s.Policy.TLS
	}
	if s.Policy.PoolSaid || s.Policy.ConnectionPool != (model.ConnectionPool{}) {
		out.ConnectionPool = s.Policy.ConnectionPool
	}
	return out
}

// selects reports whether labels has all of selector. An empty selector selects everything.
func selects(selector, labels map[string]string) bool {
	for k, want := range selector {
		if got, ok := labels[k]; !ok || got != want {
			return false
		}
	}
	return true
}
