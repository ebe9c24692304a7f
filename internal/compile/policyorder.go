package compile

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
)

// mergeOrder sorts the DestinationRules of one namespace for one host into the order in which they are merged: of what two of
// them say, the first counts. Rules for the same namespaces go together, the oldest first. Where exportTo differs, Istio
// keeps the rules apart and has callers that see several go by the last of them (pilot/pkg/model: mergeDestinationRule,
// SidecarScope.DestinationRule); here that one goes first, and the others add what it does not say.
func mergeOrder(rules []*model.DestinationPolicy) {
	slices.SortFunc(rules, olderPolicy)
	if len(rules) < 2 {
		return
	}
	oldest := make(map[string]*model.DestinationPolicy)
	group := func(p *model.DestinationPolicy) string { return strings.Join(exportedTo(p), ",") }
	for _, p := range rules {
		if oldest[group(p)] == nil {
			oldest[group(p)] = p
		}
	}
	slices.SortStableFunc(rules, func(a, b *model.DestinationPolicy) int { return olderPolicy(oldest[group(b)], oldest[group(a)]) })
}

// exportedTo lists the namespaces that a rule is for, sorted, each once: equal lists, equal namespaces.
func exportedTo(p *model.DestinationPolicy) []string {
	if len(p.ExportTo) == 0 || slices.Contains(p.ExportTo, "*") {
		return []string{"*"}
	}
	out := slices.Clone(p.ExportTo)
	for i, n := range out {
		if n == "." {
			out[i] = p.Ref.Namespace
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// replaces reports whether the first of two rules takes what it says away from all namespaces that the second is for, or
// from some that it was not written for: a rule for fewer namespaces is written to differ.
func replaces(first, second *model.DestinationPolicy) bool {
	a, b := exportedTo(first), exportedTo(second)
	if a[0] == "*" || b[0] == "*" {
		return a[0] == "*"
	}
	common := slices.ContainsFunc(a, func(n string) bool { return slices.Contains(b, n) })
	fewer := len(a) < len(b) && !slices.ContainsFunc(a, func(n string) bool { return !slices.Contains(b, n) })
	return common && !fewer
}

// ruleConflicts finds DestinationRules for one host that contradict each other.
type ruleConflicts struct{ *checker }

// report says, on both, what one DestinationRule says in vain because another one of its namespace says it for the
// same host. That several rules add up is no conflict: Istio documents it.
func (c ruleConflicts) report(policies []*model.DestinationPolicy) {
	type place struct {
		namespace string
		host      model.Hostname
	}
	byHost := make(map[place][]*model.DestinationPolicy)
	for _, p := range policies {
		at := place{p.Ref.Namespace, p.Host}
		if !p.Host.Wildcard() {
			at.host, _ = c.as(p.Ref.Namespace).resolveHost(p.Host, p.Ref.Namespace)
		}
		byHost[at] = append(byHost[at], p)
	}
	for at, rules := range byHost {
		others := slices.DeleteFunc(slices.Clone(rules), func(p *model.DestinationPolicy) bool { return p.Selector != nil })
		mergeOrder(others)
		chosen := selecting(at.namespace, rules)
		for _, merged := range append(chosen, selection{rules: others}) {
			for i, loser := range merged.rules {
				c.lost(at.host, loser, merged.rules[:i])
			}
		}
		c.selectedTwice(at.host, at.namespace, chosen)
	}
}

// selectedTwice reports, on both, rules for a host whose selectors hold for the same workload.
func (c ruleConflicts) selectedTwice(host model.Hostname, namespace string, chosen []selection) {
	const field = "spec.workloadSelector"
	if len(chosen) < 2 {
		return
	}
	keys := c.r.WorkloadsInNamespace(namespace)
	common := func(selectors ...map[string]string) (pod string) {
		for _, k := range keys {
			w := c.r.Workload(k)
			if w != nil && !slices.ContainsFunc(selectors, func(s map[string]string) bool { return !selects(s, w.Labels) }) {
				return w.Key.Key.String()
			}
		}
		return ""
	}
	for i, later := range chosen {
		for _, first := range chosen[:i] {
			pod := common(first.selector, later.selector)
			if pod == "" {
				continue
			}
			a, b := first.rules[0], later.rules[0]
			const fix = "write selectors that are never true together"
			c.warn(b.Ref, field, fmt.Sprintf("no effect for pod %s: %s for %s selects it too, and %s", pod, a.Ref, host, precedence(a, b)), fix)
			c.warn(a.Ref, field, fmt.Sprintf("pod %s is selected by %s for %s too, which has no effect there: this rule %s", pod, b.Ref, host, precedence(a, b)), fix)
		}
	}
}

// lost reports what a rule says in vain because one of those before it says it.
func (c ruleConflicts) lost(host model.Hostname, loser *model.DestinationPolicy, before []*model.DestinationPolicy) {
	before = slices.DeleteFunc(slices.Clone(before), func(p *model.DestinationPolicy) bool { return !replaces(p, loser) })
	say := func(winner *model.DestinationPolicy, what, won, lost string) {
		const fix = "write one DestinationRule for the host"
		why := precedence(winner, loser)
		c.warn(loser.Ref, lost, fmt.Sprintf("no effect: %s also has %s, which %s, and whose %s counts", host, winner.Ref, why, what), fix)
		c.warn(winner.Ref, won, fmt.Sprintf("%s also has %s, whose %s has no effect: this rule %s", host, loser.Ref, what, why), fix)
	}
	if saysPolicy(loser) {
		if winner := firstOf(before, saysPolicy); winner != nil {
			say(winner, "trafficPolicy", "spec.trafficPolicy", "spec.trafficPolicy")
		}
	}
	for i := range loser.Subsets {
		lost := &loser.Subsets[i]
		winner := firstOf(before, func(p *model.DestinationPolicy) bool { return subsetOf(p, lost.Name) != nil })
		if winner == nil {
			continue
		}
		if won := subsetOf(winner, lost.Name); !sameSubset(*won, *lost) {
			say(winner, fmt.Sprintf("subset %q", lost.Name), won.Field, lost.Field)
		}
	}
}

// precedence says why the first of two rules goes before the second.
func precedence(first, second *model.DestinationPolicy) string {
	switch {
	case !slices.Equal(exportedTo(first), exportedTo(second)):
		return "has another exportTo and is younger"
	case first.CreatedAt.Equal(second.CreatedAt):
		return "is as old and first by name"
	}
	return "is older"
}

func subsetOf(p *model.DestinationPolicy, name string) *model.Subset {
	for i := range p.Subsets {
		if p.Subsets[i].Name == name {
			return &p.Subsets[i]
		}
	}
	return nil
}

func firstOf[T any](list []T, is func(T) bool) (none T) {
	if i := slices.IndexFunc(list, is); i >= 0 {
		return list[i]
	}
	return none
}

// saysPolicy reports whether a rule has a policy for all its subsets.
func saysPolicy(p *model.DestinationPolicy) bool {
	return !reflect.DeepEqual(p.Default, model.TrafficPolicy{}) || len(p.PerPort) > 0
}

// sameSubset reports whether both say the same, wherever they stand.
func sameSubset(a, b model.Subset) bool {
	a.Field, b.Field = "", ""
	return reflect.DeepEqual(a, b)
}
