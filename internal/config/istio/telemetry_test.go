package istio

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"

	"fairlead.dev/fairlead/internal/model"
)

func telemetryOf(t *testing.T, spec string) (*model.Telemetry, []model.Problem) {
	t.Helper()
	in := &telemetryv1.Telemetry{ObjectMeta: meta}
	decode(t, spec, &in.Spec)
	return Telemetry(in)
}

func TestTelemetryAccessLogging(t *testing.T) {
	got, problems := telemetryOf(t, `
selector: {matchLabels: {app: users}}
accessLogging:
- providers: [{name: envoy}]
  match: {mode: SERVER}
  filter: {expression: "response.code >= 400"}
- match: {mode: CLIENT}
  disabled: true`)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := []model.AccessLogging{
		{
			Mode: model.ServerOnly, Providers: []model.Provider{{Name: "envoy", Field: "spec.accessLogging[0].providers[0].name"}},
			FilterText: "response.code >= 400",
			Filter: model.Expression{
				{Op: model.ExprAttribute, Text: "response.code"}, {Op: model.ExprInt, Number: 400}, {Op: model.ExprGreaterEqual},
			},
		},
		{Mode: model.ClientOnly, Disabled: true},
	}
	if diff := cmp.Diff(want, got.AccessLogging); diff != "" {
		t.Errorf("AccessLogging (-want +got):\n%s", diff)
	}
	if got.IsForAll() || got.Selector["app"] != "users" {
		t.Errorf("selector %v", got.Selector)
	}
}

func TestTelemetryTracing(t *testing.T) {
	got, problems := telemetryOf(t, `
tracing:
- providers: [{name: otel}]
  match: {mode: CLIENT}
  randomSamplingPercentage: 12.5
  disableSpanReporting: true
  useRequestIdForTraceSampling: false
  enableIstioTags: false
  disableContextPropagation: true
  customTags: {team: {literal: {value: blue}}, who: {header: {name: X-Who, defaultValue: none}}, zone: {environment: {name: ZONE}}}
- customTags: {}
- {}`)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	yes, no, percent := true, false, 12.5
	want := []model.TraceRule{
		{
			Mode: model.ClientOnly, Providers: []model.Provider{{Name: "otel", Field: "spec.tracing[0].providers[0].name"}},
			Sampling: &percent, NoReport: &yes, ByRequestID: &no, IstioTags: &no, NoPropagation: &yes,
			Tags: []model.TraceTag{
				{Name: "team", From: model.TagLiteral, Value: "blue"},
				{Name: "who", From: model.TagHeader, Value: "x-who", Default: "none"},
				{Name: "zone", From: model.TagEnvironment, Value: "ZONE"},
			},
		},
		{Tags: []model.TraceTag{}},
		{},
	}
	if diff := cmp.Diff(want, got.Tracing); diff != "" {
		t.Errorf("Tracing (-want +got):\n%s", diff)
	}
}

func TestTelemetryProblems(t *testing.T) {
	for _, tt := range []problemCase{
		{"an attribute that is none", `accessLogging: [{filter: {expression: "response.cod > 1"}}]`, []string{`error spec.accessLogging[0].filter.expression: column 9: undefined field 'cod'`}},
		{"a text that is no condition", `accessLogging: [{filter: {expression: "request.path"}}]`, []string{`error spec.accessLogging[0].filter.expression: the expression is string, not true or false`}},
		{"no expression", `accessLogging: [{filter: {}}]`, []string{`error spec.accessLogging[0].filter.expression: empty`}},
		{"a provider without name", `accessLogging: [{providers: [{}]}]`, []string{`error spec.accessLogging[0].providers[0].name: empty`}},
		{"two ways to select", `{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}]}`, []string{`error spec.targetRefs: cannot go with selector`}},
		{"a waypoint's", `targetRefs: [{kind: Service, name: a}]`, []string{`warning spec.targetRefs: no effect`}},
		{"a percentage that is none", `tracing: [{randomSamplingPercentage: 100.5}]`, []string{`error spec.tracing[0].randomSamplingPercentage: 100.5 is not a percentage`}},
		{"less than none", `tracing: [{randomSamplingPercentage: -1}]`, []string{`error spec.tracing[0].randomSamplingPercentage: -1 is not a percentage`}},
		{"a tag from nowhere", `tracing: [{customTags: {a: {}}}]`, []string{`error spec.tracing[0].customTags[a]: no source`}},
		{"two collectors", `tracing: [{providers: [{name: a}, {name: b}]}]`, []string{`warning spec.tracing[0].providers[1].name: no effect`}},
		{"a collector without name", `tracing: [{providers: [{}]}]`, []string{`error spec.tracing[0].providers[0].name: empty`}},
		{"what is not obeyed", `metrics: [{reportingInterval: 5s}]`, []string{`warning spec.metrics[0].reportingInterval: no effect`}},
		{"a metric of somebody else", `metrics: [{overrides: [{match: {customMetric: mine}}]}]`, []string{`warning spec.metrics[0].overrides[0].match.customMetric: no effect`}},
		{"a name that is no label's", `metrics: [{overrides: [{tagOverrides: {a-b: {operation: REMOVE}}}]}]`, []string{`error spec.metrics[0].overrides[0].tagOverrides[a-b]: "a-b" cannot be the name of a label`}},
		{"Prometheus' own label", `metrics: [{overrides: [{tagOverrides: {le: {operation: REMOVE}}}]}]`, []string{`error spec.metrics[0].overrides[0].tagOverrides[le]: the label "le" is Prometheus' own`}},
		{"a label without value", `metrics: [{overrides: [{tagOverrides: {a: {}}}]}]`, []string{`error spec.metrics[0].overrides[0].tagOverrides[a].value: empty`}},
		{"a value that is removed", `metrics: [{overrides: [{tagOverrides: {a: {operation: REMOVE, value: "'b'"}}}]}]`, []string{`error spec.metrics[0].overrides[0].tagOverrides[a].value: cannot go with REMOVE`}},
		{"a value that is not CEL", `metrics: [{overrides: [{tagOverrides: {a: {value: my text}}}]}]`, []string{`error spec.metrics[0].overrides[0].tagOverrides[a].value: column 4`}},
		{"a value that is not one", `metrics: [{overrides: [{tagOverrides: {a: {value: request.headers}}}]}]`, []string{`error spec.metrics[0].overrides[0].tagOverrides[a].value: the expression is map`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, problems := telemetryOf(t, tt.spec)
			check(t, tt, got == nil, problems)
		})
	}
}
