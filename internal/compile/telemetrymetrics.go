package compile

import (
	"cmp"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// metricRules merges the rules about metrics as Istio's mergeMetrics does, for the one provider that there is: the narrowest rule
// that names providers says whether it is theirs; the overrides of all levels are put on top of each other, label by label; and what takes all
// metrics away is forgotten where a later override does not.
func metricRules(levels []*model.Telemetry, side model.WorkloadMode) []plan.MetricRule {
	ours := true
	for _, t := range levels {
		for i := range t.Metrics {
			if rule := &t.Metrics[i]; len(rule.Providers) > 0 {
				ours = isPrometheus(rule)
			}
		}
	}
	merged := mergedMetrics{}
	if !ours {
		merged.none = true
		return merged.rules()
	}
	current := true
	for _, t := range levels {
		for i := range t.Metrics {
			rule := &t.Metrics[i]
			if len(rule.Providers) > 0 {
				current = isPrometheus(rule)
			}
			if current {
				merged.override(rule, side)
			}
		}
	}
	return merged.rules()
}

func isPrometheus(rule *model.Metrics) bool {
	return slices.ContainsFunc(rule.Providers, func(p model.Provider) bool { return strings.EqualFold(p.Name, plan.Prometheus) })
}

// mergedMetrics is what rules say so far.
type mergedMetrics struct {
	none bool // every metric is taken away
	by   [model.GRPCResponseMessages + 1]plan.MetricRule
}

func (m *mergedMetrics) override(rule *model.Metrics, side model.WorkloadMode) {
	for i := range rule.Overrides {
		o := &rule.Overrides[i]
		switch {
		case !o.Mode.Covers(side):
			continue
		case o.Metric == model.AllMetrics && o.Disabled:
			m.none = true
			continue
		case !o.Disabled:
			m.none = false
		}
		for metric := range m.by {
			if o.Metric == model.AllMetrics || o.Metric == model.Metric(metric) {
				apply(&m.by[metric], o)
			}
		}
	}
}

func (m *mergedMetrics) rules() (out []plan.MetricRule) {
	for metric := model.RequestCount; metric <= model.GRPCResponseMessages; metric++ {
		rule := m.by[metric]
		if m.none {
			rule = plan.MetricRule{Disabled: true}
		}
		if rule.Metric = metric; rule.Disabled || len(rule.Tags) > 0 {
			out = append(out, rule)
		}
	}
	return out
}

// apply puts an override on top of what there is.
func apply(rule *plan.MetricRule, o *model.MetricOverride) {
	if o.Disabled || o.Enabled {
		rule.Disabled = o.Disabled
	}
	for _, tag := range o.Tags {
		at, found := slices.BinarySearchFunc(rule.Tags, tag, func(a, b model.MetricTag) int { return cmp.Compare(a.Name, b.Name) })
		if found {
			rule.Tags[at] = tag
		} else {
			rule.Tags = slices.Insert(rule.Tags, at, tag)
		}
	}
}
