package gwapi

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/model"
)

func read[T any](t *testing.T, text string) T {
	t.Helper()
	var out T
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("test input: %v\n%s", err, text)
	}
	return out
}

func at(second int64) metav1.Time { return metav1.NewTime(time.Unix(second, 0).UTC()) }

func TestStatusEchoesParents(t *testing.T) {
	t.Parallel()
	// Every spelling of a parent stays what it is: defaults are not filled in, "core" is not "".
	spec := read[gatewayv1.CommonRouteSpec](t, `
parentRefs:
- {name: ingress}
- {group: core, kind: Service, name: users}
- {group: "", kind: Service, name: users, namespace: myapp, port: 8080, sectionName: http}
- {group: networking.istio.io, kind: ServiceEntry, name: users}
- {kind: Service, name: users}
`)
	ok := model.Condition{Holds: true, Reason: "Accepted", Message: "in force"}
	found := []model.ParentStatus{
		{Field: "spec.parentRefs[1]", Accepted: ok},
		{Field: "spec.parentRefs[2]", Accepted: model.Condition{Reason: "NoMatchingParent", Message: "not known"}, Resolved: &ok, Partial: &ok},
	}
	got := Status(&spec, 3, found, at(1))
	condition := func(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: 3, LastTransitionTime: at(1)}
	}
	want := []gatewayv1.RouteParentStatus{{
		ParentRef: spec.ParentRefs[1], ControllerName: "fairlead.dev/mesh-controller",
		Conditions: []metav1.Condition{condition("Accepted", "True", "Accepted", "in force")},
	}, {
		ParentRef: spec.ParentRefs[2], ControllerName: "fairlead.dev/mesh-controller",
		Conditions: []metav1.Condition{
			condition("Accepted", "False", "NoMatchingParent", "not known"),
			condition("ResolvedRefs", "True", "Accepted", "in force"), condition("PartiallyInvalid", "True", "Accepted", "in force"),
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Status (-want +got):\n%s", diff)
	}
	text, err := json.Marshal(got[0].ParentRef)
	if err != nil || string(text) != `{"group":"core","kind":"Service","name":"users"}` {
		t.Errorf("parentRef = %s %v", text, err)
	}
}

func TestStatusOfARefusedRoute(t *testing.T) {
	t.Parallel()
	spec := read[gatewayv1.CommonRouteSpec](t, `{parentRefs: [{name: ingress}, {group: "", kind: Service, name: users}]}`)
	found := Refused(&spec, []model.Problem{
		{Severity: model.Warning, Field: "spec.a", Message: "odd"},
		{Severity: model.Rejected, Field: "spec.b", Message: "wrong"},
		{Severity: model.Rejected, Message: "all wrong"},
	})
	got := Status(&spec, 1, found, at(1))
	want := []gatewayv1.RouteParentStatus{{
		ParentRef: spec.ParentRefs[1], ControllerName: ControllerName,
		Conditions: []metav1.Condition{{
			Type: "Accepted", Status: "False", Reason: "UnsupportedValue", Message: "refused: spec.b: wrong; all wrong",
			ObservedGeneration: 1, LastTransitionTime: at(1),
		}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Status (-want +got):\n%s", diff)
	}
}

func TestMergeStatus(t *testing.T) {
	t.Parallel()
	const (
		theirs   = `{controllerName: example.com/gateway, parentRef: {name: ingress}, conditions: [{type: Accepted, status: "True", reason: A, message: m, lastTransitionTime: "2026-01-01T00:00:00Z"}]}`
		accepted = `{type: Accepted, status: "True", reason: Accepted, message: in force, observedGeneration: 2, lastTransitionTime: "2026-01-02T00:00:00Z"}`
		refs     = `{type: ResolvedRefs, status: "True", reason: ResolvedRefs, message: "", observedGeneration: 2, lastTransitionTime: "2026-01-02T00:00:00Z"}`
	)
	entry := func(name, conditions string) string {
		return "{controllerName: " + string(ControllerName) + `, parentRef: {group: "", kind: Service, name: ` + name + "}, conditions: [" + conditions + "]}"
	}
	tests := []struct{ name, existing, ours, want string }{
		{"the first entry", "", entry("a", accepted), entry("a", accepted)},
		{"the entries of others stay where they are", theirs + "," + entry("a", accepted) + "," + theirs, entry("a", accepted), theirs + "," + entry("a", accepted) + "," + theirs},
		{"a new entry comes last", entry("a", accepted) + "," + theirs, entry("b", accepted) + "," + entry("a", accepted), entry("a", accepted) + "," + theirs + "," + entry("b", accepted)},
		{"an entry that is ours no longer goes", entry("b", accepted) + "," + theirs, entry("a", accepted), theirs + "," + entry("a", accepted)},
		{"all of ours go", theirs + "," + entry("a", accepted), "", theirs},
		{"a parent written twice has two entries", entry("a", accepted) + "," + entry("a", accepted), entry("a", accepted) + "," + entry("a", accepted), entry("a", accepted) + "," + entry("a", accepted)},
		{
			"the time of a status that did not change stays",
			entry("a", `{type: Accepted, status: "True", reason: Old, message: old, observedGeneration: 1, lastTransitionTime: "2026-01-01T00:00:00Z"}`), entry("a", accepted),
			entry("a", `{type: Accepted, status: "True", reason: Accepted, message: in force, observedGeneration: 2, lastTransitionTime: "2026-01-01T00:00:00Z"}`),
		},
		{
			"the time of a status that changed is new",
			entry("a", `{type: Accepted, status: "False", reason: Old, message: old, observedGeneration: 1, lastTransitionTime: "2026-01-01T00:00:00Z"}`), entry("a", accepted),
			entry("a", accepted),
		},
		{
			"conditions of others in our entry stay, ours that do not hold go",
			entry("a", `{type: example.com/Seen, status: "True", reason: S, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}, {type: PartiallyInvalid, status: "True", reason: P, message: "", observedGeneration: 1, lastTransitionTime: "2026-01-01T00:00:00Z"}, `+accepted),
			entry("a", accepted+", "+refs),
			entry("a", `{type: example.com/Seen, status: "True", reason: S, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}, `+accepted+", "+refs),
		},
		{
			"a condition of a later generation stays",
			entry("a", `{type: Accepted, status: "False", reason: Later, message: later, observedGeneration: 3, lastTransitionTime: "2026-01-01T00:00:00Z"}`), entry("a", accepted),
			entry("a", `{type: Accepted, status: "False", reason: Later, message: later, observedGeneration: 3, lastTransitionTime: "2026-01-01T00:00:00Z"}`),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			list := func(text string) []gatewayv1.RouteParentStatus {
				return read[[]gatewayv1.RouteParentStatus](t, "["+text+"]")
			}
			existing, ours := list(tt.existing), list(tt.ours)
			got := MergeStatus(existing, ours, ControllerName)
			if diff := cmp.Diff(list(tt.want), got); diff != "" {
				t.Errorf("MergeStatus (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(got, MergeStatus(got, ours, ControllerName)); diff != "" {
				t.Errorf("the second time it changes something:\n%s", diff)
			}
			if !cmp.Equal(existing, list(tt.existing)) || !cmp.Equal(ours, list(tt.ours)) {
				t.Error("an argument was changed")
			}
		})
	}
}
