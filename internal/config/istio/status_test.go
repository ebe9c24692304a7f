package istio

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	istiometa "istio.io/api/meta/v1alpha1"

	"fairlead.dev/fairlead/internal/model"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	const (
		head    = `{"conditions":[{"type":"Accepted","status":`
		when    = `"lastTransitionTime":"1970-01-01T00:00:01Z",`
		schema  = `{"type":{"name":"SchemaValidationError","code":"IST0106"},"level":"ERROR","documentationUrl":"https://istio.io/docs/reference/config/analysis/ist0106/"}`
		missing = `{"type":{"name":"ReferencedResourceNotFound","code":"IST0101"},"level":"ERROR","documentationUrl":"https://istio.io/docs/reference/config/analysis/ist0101/"}`
		warning = `{"type":{"name":"SchemaWarning","code":"IST0133"},"level":"WARNING","documentationUrl":"https://istio.io/docs/reference/config/analysis/ist0133/"}`
	)
	tests := []struct {
		name     string
		problems []model.Problem
		want     string
	}{
		{
			"nothing is wrong", nil,
			head + `"True",` + when + `"reason":"Accepted","message":"in force","observedGeneration":"7"}],"observedGeneration":"7"}`,
		},
		{
			"warnings, one message of a kind",
			[]model.Problem{
				{Severity: model.Warning, Field: "spec.a", Message: "odd"},
				{Severity: model.Warning, Field: "spec.b", Message: "no such host", Missing: true},
				{Severity: model.Warning, Message: "odd as well"},
			},
			head + `"True",` + when + `"reason":"Accepted","message":"in force, but: spec.a: odd; spec.b: no such host; odd as well","observedGeneration":"7"}],` +
				`"validationMessages":[` + missing + "," + warning + `],"observedGeneration":"7"}`,
		},
		{
			"refused",
			[]model.Problem{{Severity: model.Warning, Field: "spec.a", Message: "odd"}, {Severity: model.Rejected, Field: "spec.b", Message: "wrong"}},
			head + `"False",` + when + `"reason":"Invalid","message":"refused: spec.b: wrong","observedGeneration":"7"}],` +
				`"validationMessages":[` + schema + "," + warning + `],"observedGeneration":"7"}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := Status(7, tt.problems, time.Unix(1, 0))
			want := &istiometa.IstioStatus{}
			if err := json.Unmarshal([]byte(tt.want), want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("Status (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMergeStatus(t *testing.T) {
	t.Parallel()
	condition := func(kind, status string, second int64) *istiometa.IstioCondition {
		return &istiometa.IstioCondition{Type: kind, Status: status, LastTransitionTime: &timestamppb.Timestamp{Seconds: second}}
	}
	status := func(generation int64, conditions ...*istiometa.IstioCondition) *istiometa.IstioStatus {
		return &istiometa.IstioStatus{ObservedGeneration: generation, Conditions: conditions}
	}
	ours := status(2, condition("Accepted", "True", 20))
	tests := []struct {
		name           string
		existing, want *istiometa.IstioStatus
	}{
		{"there is none", nil, ours},
		{"there is an empty one", &istiometa.IstioStatus{}, ours},
		{"conditions of others stay", status(1, condition("Reconciled", "True", 1)), status(2, condition("Reconciled", "True", 1), condition("Accepted", "True", 20))},
		{"the time of a status that did not change stays", status(1, condition("Accepted", "True", 1)), status(2, condition("Accepted", "True", 1))},
		{"the time of a status that changed is new", status(1, condition("Accepted", "False", 1)), status(2, condition("Accepted", "True", 20))},
		{"two conditions of ours become one", status(1, condition("Accepted", "True", 1), condition("Accepted", "False", 2)), status(2, condition("Accepted", "True", 1))},
		{"what is of a later generation stays", status(3, condition("Accepted", "False", 30)), status(3, condition("Accepted", "False", 30))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			before := proto.CloneOf(tt.existing)
			got := MergeStatus(tt.existing, ours)
			if diff := cmp.Diff(tt.want, got, protocmp.Transform()); diff != "" {
				t.Errorf("MergeStatus (-want +got):\n%s", diff)
			}
			if again := MergeStatus(got, ours); !proto.Equal(again, got) {
				t.Errorf("the second time it gives %v", again)
			}
			if tt.existing != nil && !proto.Equal(before, tt.existing) {
				t.Error("existing was changed")
			}
		})
	}
}
