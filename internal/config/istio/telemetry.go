package istio

import (
	"fmt"

	"google.golang.org/protobuf/types/known/wrapperspb"
	telemetryv1alpha1 "istio.io/api/telemetry/v1alpha1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"

	"fairlead.dev/fairlead/internal/expression"
	"fairlead.dev/fairlead/internal/model"
)

// Telemetry reads a Telemetry. Whether its namespace is the root one, and which providers there are, is for internal/compile
// to know.
func Telemetry(in *telemetryv1.Telemetry) (*model.Telemetry, []model.Problem) {
	t := telemetryReader{newReport("Telemetry", &in.ObjectMeta, "")}
	spec := &in.Spec
	selector := spec.GetSelector().GetMatchLabels()
	t.labels("spec.selector.matchLabels", selector)
	out := &model.Telemetry{Ref: t.Ref, CreatedAt: in.CreationTimestamp.Time, Selector: selectorOf(selector)}
	out.Attached = t.targets(spec)
	out.AccessLogging = t.accessLogging(spec.GetAccessLogging())
	out.Metrics = t.metrics(spec.GetMetrics())
	out.Tracing = t.tracing(spec.GetTracing())
	if t.Rejected() {
		return nil, t.Problems
	}
	return out, t.Problems
}

// telemetryReader reads the parts of a Telemetry.
type telemetryReader struct{ *report }

// targets reports whether the object is for gateways and waypoints, as Istio's rules have it of any that has targetRefs.
func (t telemetryReader) targets(spec *telemetryv1alpha1.Telemetry) bool {
	field := "spec.targetRefs"
	if spec.GetTargetRef() != nil {
		field = "spec.targetRef"
	}
	switch {
	case spec.GetTargetRef() == nil && len(spec.GetTargetRefs()) == 0:
		return false
	case spec.GetSelector() != nil:
		t.Reject(field, "cannot go with selector", "remove one of them")
	case spec.GetTargetRef() != nil && len(spec.GetTargetRefs()) > 0:
		t.Reject(field, "cannot go with targetRefs", "remove it")
	default:
		t.Warn(field, "no effect: such a Telemetry is for gateways and waypoints, and no sidecar obeys it", "pick workloads by spec.selector.matchLabels")
	}
	return true
}

func (t telemetryReader) accessLogging(in []*telemetryv1alpha1.AccessLogging) []model.AccessLogging {
	var out []model.AccessLogging
	for i, rule := range in {
		field := fmt.Sprintf("spec.accessLogging[%d]", i)
		if rule == nil {
			t.Reject(field, "empty", "remove it")
			continue
		}
		l := model.AccessLogging{
			Mode:      t.mode(field+".match.mode", rule.GetMatch().GetMode()),
			Providers: t.providers(field+".providers", rule.GetProviders()), Disabled: rule.GetDisabled().GetValue(),
		}
		if rule.GetFilter() != nil {
			l.FilterText = rule.GetFilter().GetExpression()
			l.Filter = t.condition(field+".filter.expression", l.FilterText)
		}
		out = append(out, l)
	}
	return out
}

func (t telemetryReader) tracing(in []*telemetryv1alpha1.Tracing) []model.TraceRule {
	var out []model.TraceRule
	for i, rule := range in {
		field := fmt.Sprintf("spec.tracing[%d]", i)
		if rule == nil {
			t.Reject(field, "empty", "remove it")
			continue
		}
		r := model.TraceRule{
			Mode:      t.mode(field+".match.mode", rule.GetMatch().GetMode()),
			Providers: t.providers(field+".providers", rule.GetProviders()),
			NoReport:  said(rule.GetDisableSpanReporting()), ByRequestID: said(rule.GetUseRequestIdForTraceSampling()),
			IstioTags: said(rule.GetEnableIstioTags()), NoPropagation: said(rule.GetDisableContextPropagation()),
		}
		if len(r.Providers) > 1 {
			t.Warn(r.Providers[1].Field, "no effect: spans go to one provider, the first", "keep one of them")
		}
		if p := rule.GetRandomSamplingPercentage(); p != nil {
			r.Sampling = &p.Value
			if !(p.GetValue() >= 0 && p.GetValue() <= 100) {
				t.Reject(field+".randomSamplingPercentage", fmt.Sprintf("%v is not a percentage", p.GetValue()), "write a number from 0 to 100")
			}
		}
		if tags := rule.GetCustomTags(); tags != nil {
			r.Tags = t.traceTags(field+".customTags", tags)
			if r.Tags == nil {
				r.Tags = []model.TraceTag{}
			}
		}
		out = append(out, r)
	}
	return out
}

// said gives what an optional field says, nil where it is not there.
func said(v *wrapperspb.BoolValue) *bool {
	if v == nil {
		return nil
	}
	return &v.Value
}

func (t telemetryReader) condition(field, text string) model.Expression {
	if text == "" {
		t.Reject(field, "empty", `write a condition in CEL, such as "response.code >= 400"`)
		return nil
	}
	out, err := expression.Condition(text)
	if err != nil {
		t.Reject(field, err.Error(), "docs/reference/telemetry.md lists what an expression may say")
	}
	return out
}

func (t telemetryReader) providers(field string, in []*telemetryv1alpha1.ProviderRef) []model.Provider {
	var out []model.Provider
	for i, p := range in {
		at := fmt.Sprintf("%s[%d].name", field, i)
		if p.GetName() == "" {
			t.Reject(at, "empty", "name one of the mesh's providers")
			continue
		}
		out = append(out, model.Provider{Name: p.GetName(), Field: at})
	}
	return out
}

func (t telemetryReader) mode(field string, in telemetryv1alpha1.WorkloadMode) model.WorkloadMode {
	switch in {
	case telemetryv1alpha1.WorkloadMode_CLIENT_AND_SERVER:
		return model.ClientAndServer
	case telemetryv1alpha1.WorkloadMode_CLIENT:
		return model.ClientOnly
	case telemetryv1alpha1.WorkloadMode_SERVER:
		return model.ServerOnly
	}
	t.Reject(field, fmt.Sprintf("%d is not a mode", in), "write CLIENT, SERVER or CLIENT_AND_SERVER")
	return model.ClientAndServer
}
