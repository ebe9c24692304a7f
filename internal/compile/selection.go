package compile

import (
	"maps"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// selection is what holds for the calls of some workloads of the viewing namespace: the rules with one workloadSelector, the
// oldest first, and then those of the namespace that select nothing, for what the former do not say.
type selection struct {
	selector map[string]string
	rules    []*model.DestinationPolicy
}

// name tells the selections of a host apart.
func (s *selection) name() string { return s.rules[0].Ref.Name }

// selections lists the rules for a host that hold for some workloads of the viewing namespace. A workload goes by the first one
// that selects it, and where none does, by what policies gives.
//
// As in Istio the older selector goes first, an exact host before a wildcard. Unlike in Istio, a workload that is not selected
// goes on to the rules of the service's namespace and of the root one, as if the selecting rules did not exist.
func (v destinationRules) selections(s *model.Service) []selection {
	return v.selectionsAmong(v.byLevel(s.Host))
}

func (v destinationRules) selectionsAmong(byLevel [][]*model.DestinationPolicy) []selection {
	var out []selection
	if v.ns == "" {
		return nil
	}
	for _, found := range byLevel {
		others := v.policiesOf(v.ns, found)
		for _, chosen := range selecting(v.ns, found) {
			chosen.rules = append(chosen.rules, others...)
			out = append(out, chosen)
		}
		if len(others) > 0 { // decides for all who got so far
			break
		}
	}
	return out
}

// selecting groups the rules of a namespace that select workloads by their selectors.
func selecting(namespace string, all []*model.DestinationPolicy) []selection {
	var rules []*model.DestinationPolicy
	for _, p := range all {
		if p.Selector != nil && p.Ref.Namespace == namespace {
			rules = append(rules, p)
		}
	}
	slices.SortFunc(rules, olderPolicy)
	var out []selection
	for _, p := range rules {
		i := slices.IndexFunc(out, func(s selection) bool { return maps.Equal(s.selector, p.Selector) })
		if i < 0 {
			i = len(out)
			out = append(out, selection{selector: p.Selector})
		}
		out[i].rules = append(out[i].rules, p)
	}
	return out
}

// by gives the same model through the eyes of workloads that go by a selection.
func (v view) by(selected string) view {
	v.selected = selected
	return v
}

// builtFor is what a backend is built from, so that it can be built again for the callers that a rule selects.
type builtFor struct {
	service *model.Service
	port    *model.ServicePort
	subset  string
	// from and ref are the reference of a route that names a subset; nil where none does.
	from *model.RouteSet
	ref  *model.WeightedBackend
}

// selections lists what the backends are to the workloads that rules select, in the order in which a proxy tries them.
func (b *backends) selections() []plan.SelectedBackend {
	var out []plan.SelectedBackend
	for i := range b.list {
		o := b.origins[i]
		if o.service == nil {
			continue
		}
		for _, chosen := range (destinationRules{b.view}).selections(o.service) {
			theirs := newBackends(b.by(chosen.name()), b.called)
			if o.ref != nil {
				theirs.add(o.from, o.ref)
			} else {
				theirs.service(o.service, o.port, o.subset)
			}
			out = append(out, plan.SelectedBackend{Backend: uint16(i), Selector: chosen.selector, Value: theirs.list[0]})
		}
	}
	return out
}
