package fairlead

import (
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/model"
)

// ControllerName is how the entries of Fairlead in a policy's status.ancestors are told from those of others.
const ControllerName gatewayv1.GatewayController = "fairlead.dev/mesh-controller"

// Status words what became of a policy as entries of its status.ancestors: one for each target, in the order written.
// found says what became of each (compile.HealthCheckStatus, or Refused), generation is metadata.generation, now the time
// at which conditions change whose status is new; MergeStatus keeps the time of the others.
func Status(in *HealthCheckPolicy, found []model.ParentStatus, now metav1.Time) []gatewayv1.PolicyAncestorStatus {
	var out []gatewayv1.PolicyAncestorStatus
	for i, t := range in.Spec.TargetRefs {
		at := slices.IndexFunc(found, func(s model.ParentStatus) bool { return s.Field == TargetField(i) })
		if at < 0 {
			continue // not known yet: the next answer has it
		}
		c := &found[at].Accepted
		status := metav1.ConditionFalse
		if c.Holds {
			status = metav1.ConditionTrue
		}
		out = append(out, gatewayv1.PolicyAncestorStatus{
			AncestorRef:    gatewayv1.ParentReference{Group: &t.Group, Kind: &t.Kind, Name: t.Name},
			ControllerName: ControllerName,
			Conditions: []metav1.Condition{{
				Type: string(gatewayv1.PolicyConditionAccepted), Status: status, Reason: c.Reason, Message: c.Message,
				ObservedGeneration: in.Generation, LastTransitionTime: now,
			}},
		})
	}
	return out
}

// Refused says what became of a policy that is not in force as written: no target accepts it. Its last good version, if
// any, stays in force, which does not outlive the control plane and is therefore not what the status promises.
func Refused(in *HealthCheckPolicy, problems []model.Problem) []model.ParentStatus {
	var why []string
	for i := range problems {
		if p := &problems[i]; p.Severity == model.Rejected {
			why = append(why, strings.TrimPrefix(p.Field+": "+p.Message, ": "))
		}
	}
	out := make([]model.ParentStatus, len(in.Spec.TargetRefs))
	for i := range out {
		out[i] = model.ParentStatus{Field: TargetField(i), Accepted: model.Condition{
			Reason: string(gatewayv1.PolicyReasonInvalid), Message: "refused: " + strings.Join(why, "; "),
		}}
	}
	return out
}

// MergeStatus puts our entries into the status.ancestors that a policy has: those of other controllers stay as and where
// they are, those of ours that are not among the new ones go. The transition time of a condition whose status has not
// changed stays. The arguments are not changed; a result that equals existing needs no writing.
func MergeStatus(existing, ours []gatewayv1.PolicyAncestorStatus) []gatewayv1.PolicyAncestorStatus {
	out := make([]gatewayv1.PolicyAncestorStatus, 0, len(existing)+len(ours))
	for i := range existing {
		if existing[i].ControllerName != ControllerName {
			out = append(out, *existing[i].DeepCopy())
		}
	}
	for i := range ours {
		entry := *ours[i].DeepCopy()
		at := slices.IndexFunc(existing, func(e gatewayv1.PolicyAncestorStatus) bool {
			return e.ControllerName == ControllerName && reflect.DeepEqual(e.AncestorRef, entry.AncestorRef)
		})
		if at >= 0 {
			conditions := existing[at].DeepCopy().Conditions
			for _, c := range entry.Conditions {
				meta.SetStatusCondition(&conditions, c)
			}
			entry.Conditions = conditions
		}
		out = append(out, entry)
	}
	return out
}
