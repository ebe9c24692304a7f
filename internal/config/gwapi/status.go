package gwapi

import (
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/model"
)

// ControllerName is how the entries of Fairlead in a route's status.parents are told from those of others.
const ControllerName gatewayv1.GatewayController = "fairlead.dev/mesh-controller"

// Status words what became of a route as entries of its status.parents: one for each Service among parentRefs, in the
// order written, with the reference exactly as it is there. Parents of other kinds are not ours and get none. found says
// what became of the route (compile.RouteStatus, or Refused), generation is metadata.generation, now the time at which
// conditions change whose status is new; MergeStatus keeps the time of the others.
func Status(spec *gatewayv1.CommonRouteSpec, generation int64, found []model.ParentStatus, now metav1.Time) []gatewayv1.RouteParentStatus {
	var out []gatewayv1.RouteParentStatus
	for i := range spec.ParentRefs {
		p := &spec.ParentRefs[i]
		if !isService(parentKind(p)) {
			continue
		}
		at := slices.IndexFunc(found, func(s model.ParentStatus) bool { return s.Field == parentField(i) })
		if at < 0 {
			continue // not known yet: the next answer has it
		}
		out = append(out, gatewayv1.RouteParentStatus{
			ParentRef: *p.DeepCopy(), ControllerName: ControllerName, Conditions: conditions(&found[at], generation, now),
		})
	}
	return out
}

func conditions(s *model.ParentStatus, generation int64, now metav1.Time) []metav1.Condition {
	var out []metav1.Condition
	for _, c := range []struct {
		kind   gatewayv1.RouteConditionType
		answer *model.Condition
	}{
		{gatewayv1.RouteConditionAccepted, &s.Accepted},
		{gatewayv1.RouteConditionResolvedRefs, s.Resolved},
		{gatewayv1.RouteConditionPartiallyInvalid, s.Partial},
	} {
		if c.answer == nil {
			continue
		}
		status := metav1.ConditionFalse
		if c.answer.Holds {
			status = metav1.ConditionTrue
		}
		out = append(out, metav1.Condition{
			Type: string(c.kind), Status: status, Reason: c.answer.Reason, Message: bounded(c.answer.Message),
			ObservedGeneration: generation, LastTransitionTime: now,
		})
	}
	return out
}

// bounded cuts a message to what a condition may hold, 32768 bytes.
func bounded(s string) string {
	const most = 32 << 10
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}

// Refused says what became of a route that is not in force as written: it is accepted nowhere. Its last good version, if
// any, stays in force, which does not outlive the control plane and is therefore not what the status promises.
func Refused(spec *gatewayv1.CommonRouteSpec, problems []model.Problem) []model.ParentStatus {
	var why []string
	for i := range problems {
		if p := &problems[i]; p.Severity == model.Rejected {
			why = append(why, strings.TrimPrefix(p.Field+": "+p.Message, ": "))
		}
	}
	out := make([]model.ParentStatus, len(spec.ParentRefs))
	for i := range spec.ParentRefs {
		out[i] = model.ParentStatus{Field: parentField(i), Accepted: model.Condition{
			Reason: string(gatewayv1.RouteReasonUnsupportedValue), Message: "refused: " + strings.Join(why, "; "),
		}}
	}
	return out
}

// MergeStatus puts our entries into the status.parents that a route has: those of other controllers stay as and where
// they are, those of ours that are not among the new ones go. Conditions that others keep in our entries stay, as does
// the transition time of a condition whose status has not changed, and every condition made for a later generation than
// ours (the rules for implementations at RouteParentStatus.Conditions). The arguments are not changed; a result that
// equals existing needs no writing.
func MergeStatus(existing, ours []gatewayv1.RouteParentStatus, controller gatewayv1.GatewayController) []gatewayv1.RouteParentStatus {
	out := make([]gatewayv1.RouteParentStatus, 0, len(existing)+len(ours))
	used := make([]bool, len(ours))
	for i := range existing {
		old := &existing[i]
		if old.ControllerName != controller {
			out = append(out, *old.DeepCopy())
			continue
		}
		if j := unused(ours, used, &old.ParentRef); j >= 0 {
			used[j] = true
			merged := *ours[j].DeepCopy()
			merged.Conditions = mergeConditions(old.Conditions, ours[j].Conditions)
			out = append(out, merged)
		}
	}
	for j := range ours {
		if !used[j] {
			out = append(out, *ours[j].DeepCopy())
		}
	}
	return out
}

// unused finds the entry for a parent that has not been used yet: a route may name a parent twice.
func unused(entries []gatewayv1.RouteParentStatus, used []bool, parent *gatewayv1.ParentReference) int {
	for j := range entries {
		if !used[j] && reflect.DeepEqual(&entries[j].ParentRef, parent) {
			return j
		}
	}
	return -1
}

// ownConditions are the types that Fairlead answers for.
func ownConditions() []string {
	return []string{
		string(gatewayv1.RouteConditionAccepted), string(gatewayv1.RouteConditionResolvedRefs), string(gatewayv1.RouteConditionPartiallyInvalid),
	}
}

func mergeConditions(existing, ours []metav1.Condition) []metav1.Condition {
	out := make([]metav1.Condition, 0, len(existing)+len(ours))
	named := func(list []metav1.Condition, kind string) int {
		return slices.IndexFunc(list, func(c metav1.Condition) bool { return c.Type == kind })
	}
	newest := int64(0)
	for i := range ours {
		newest = max(newest, ours[i].ObservedGeneration)
	}
	for _, old := range existing {
		i := named(ours, old.Type)
		switch {
		case !slices.Contains(ownConditions(), old.Type), old.ObservedGeneration > newest:
			out = append(out, old)
		case i >= 0:
			c := ours[i]
			if c.Status == old.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			out = append(out, c)
		}
	}
	for _, c := range ours {
		if named(existing, c.Type) < 0 {
			out = append(out, c)
		}
	}
	return out
}
