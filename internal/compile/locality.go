package compile

import (
	"slices"

	"fairlead.dev/fairlead/internal/model"
)

// reach says how calls to a service depend on where they go, as Istio decides it: a localityLbSetting of the
// DestinationRule before what the Service says, and that before the mesh's setting. internalTrafficPolicy is no preference
// and stands whatever is preferred.
func (v view) reach(s *model.Service, rule *model.LocalityLB) (*model.LocalityLB, model.Proximity) {
	switch {
	case s.Proximity == model.OnlySameNode:
		return nil, model.OnlySameNode
	case rule != nil:
		return rule, model.AnyDistance
	case s.Proximity != model.AnyDistance:
		return nil, s.Proximity
	}
	return v.g.Locality, model.AnyDistance
}

// priorityLabels are the labels of endpoints, sorted, that some failoverPriority in force for a host compares.
func (v view) priorityLabels(e effectivePolicy) []string {
	out := slices.Concat(v.g.Locality.PriorityLabels(), e.base.Locality.PriorityLabels())
	for _, p := range e.perPort {
		out = append(out, p.Locality.PriorityLabels()...)
	}
	for i := range e.subsets {
		s := &e.subsets[i]
		out = append(out, s.Policy.Locality.PriorityLabels()...)
		for _, p := range s.PerPort {
			out = append(out, p.Locality.PriorityLabels()...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// labelsAmong gives the labels of those names, "name=value" in their order. Without a label of its own for it, something is
// in the network of its address.
func labelsAmong(names []string, labels map[string]string, network string) []string {
	var out []string
	for _, name := range names {
		value := labels[name]
		if name == model.LabelNetwork && value == "" {
			value = network
		}
		if value != "" {
			out = append(out, name+"="+value)
		}
	}
	return out
}
