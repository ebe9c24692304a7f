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

func TestTelemetryProblems(t *testing.T) {
	for _, tt := range []problemCase{
		{"an attribute that is none", `accessLogging: [{filter: {expression: "response.cod > 1"}}]`, []string{`error spec.accessLogging[0].filter.expression: column 9: undefined field 'cod'`}},
		{"a text that is no condition", `accessLogging: [{filter: {expression: "request.path"}}]`, []string{`error spec.accessLogging[0].filter.expression: the expression is string, not true or false`}},
		{"no expression", `accessLogging: [{filter: {}}]`, []string{`error spec.accessLogging[0].filter.expression: empty`}},
		{"a provider without name", `accessLogging: [{providers: [{}]}]`, []string{`error spec.accessLogging[0].providers[0].name: empty`}},
		{"two ways to select", `{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}]}`, []string{`error spec.targetRefs: cannot go with selector`}},
		{"a waypoint's", `targetRefs: [{kind: Service, name: a}]`, []string{`warning spec.targetRefs: no effect`}},
		{"what is not obeyed", `{metrics: [{}], tracing: [{}]}`, []string{`warning spec.metrics: not supported`, `warning spec.tracing: not supported`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, problems := telemetryOf(t, tt.spec)
			check(t, tt, got == nil, problems)
		})
	}
}
