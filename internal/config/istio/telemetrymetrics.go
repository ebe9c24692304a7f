package istio

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	telemetryv1alpha1 "istio.io/api/telemetry/v1alpha1"

	"fairlead.dev/fairlead/internal/expression"
	"fairlead.dev/fairlead/internal/model"
)

// maxTags bounds the labels that one override may change.
const maxTags = 32

func (t telemetryReader) metrics(in []*telemetryv1alpha1.Metrics) []model.Metrics {
	var out []model.Metrics
	for i, rule := range in {
		field := fmt.Sprintf("spec.metrics[%d]", i)
		if rule == nil {
			t.Reject(field, "empty", "remove it")
			continue
		}
		if rule.GetReportingInterval() != nil {
			t.Warn(field+".reportingInterval", "no effect: what a connection carried is counted at its end", "remove it")
		}
		m := model.Metrics{Providers: t.providers(field+".providers", rule.GetProviders())}
		for j, o := range rule.GetOverrides() {
			if got, ok := t.metricOverride(fmt.Sprintf("%s.overrides[%d]", field, j), o); ok {
				m.Overrides = append(m.Overrides, got)
			}
		}
		out = append(out, m)
	}
	return out
}

func (t telemetryReader) metricOverride(field string, in *telemetryv1alpha1.MetricsOverrides) (out model.MetricOverride, ok bool) {
	out.Mode = t.mode(field+".match.mode", in.GetMatch().GetMode())
	switch match := in.GetMatch().GetMetricMatch().(type) {
	case *telemetryv1alpha1.MetricSelector_CustomMetric:
		t.Warn(field+".match.customMetric", fmt.Sprintf("no effect: %q is none of Istio's standard metrics", match.CustomMetric), "name one of them by match.metric")
		return out, false
	case *telemetryv1alpha1.MetricSelector_Metric:
		if match.Metric < 0 || match.Metric > telemetryv1alpha1.MetricSelector_GRPC_RESPONSE_MESSAGES {
			t.Reject(field+".match.metric", fmt.Sprintf("%d is not a metric", match.Metric), "write a name such as REQUEST_COUNT, or ALL_METRICS")
			return out, false
		}
		out.Metric = model.Metric(match.Metric)
	}
	if in.GetDisabled() != nil {
		out.Disabled, out.Enabled = in.GetDisabled().GetValue(), !in.GetDisabled().GetValue()
	}
	if len(in.GetTagOverrides()) > maxTags {
		t.Reject(field+".tagOverrides", fmt.Sprintf("%d labels", len(in.GetTagOverrides())), fmt.Sprintf("change at most %d", maxTags))
		return out, false
	}
	for _, name := range slices.Sorted(maps.Keys(in.GetTagOverrides())) {
		if tag, ok := t.tag(fmt.Sprintf("%s.tagOverrides[%s]", field, name), name, in.GetTagOverrides()[name]); ok {
			out.Tags = append(out.Tags, tag)
		}
	}
	return out, true
}

// labelName is what Prometheus takes for the name of a label.
var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func (t telemetryReader) tag(field, name string, in *telemetryv1alpha1.MetricsOverrides_TagOverride) (out model.MetricTag, ok bool) {
	out = model.MetricTag{Name: name, Text: in.GetValue()}
	switch {
	case !labelName.MatchString(name) || len(name) > 128:
		t.Reject(field, fmt.Sprintf("%q cannot be the name of a label", name), "write letters, digits and _ only, and begin with a letter")
		return out, false
	case strings.HasPrefix(name, "__") || name == "le":
		t.Reject(field, fmt.Sprintf("the label %q is Prometheus' own", name), "choose another name")
		return out, false
	}
	switch in.GetOperation() {
	case telemetryv1alpha1.MetricsOverrides_TagOverride_REMOVE:
		if in.GetValue() != "" {
			t.Reject(field+".value", "cannot go with REMOVE", "remove the value, or write operation: UPSERT")
			return out, false
		}
		return out, true
	case telemetryv1alpha1.MetricsOverrides_TagOverride_UPSERT:
		if in.GetValue() == "" {
			t.Reject(field+".value", "empty", `write a value in CEL, such as "request.method", or a text in quotes: "'a'"`)
			return out, false
		}
		value, err := expression.Text(in.GetValue())
		if err != nil {
			t.Reject(field+".value", err.Error(), `docs/reference/telemetry.md lists what an expression may say; a text stands in quotes: "'a'"`)
			return out, false
		}
		out.Value = value
		return out, true
	}
	t.Reject(field+".operation", fmt.Sprintf("%d is not an operation", in.GetOperation()), "write UPSERT or REMOVE")
	return out, false
}
