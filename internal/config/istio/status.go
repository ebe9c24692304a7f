package istio

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	analysis "istio.io/api/analysis/v1alpha1"
	istiometa "istio.io/api/meta/v1alpha1"

	"fairlead.dev/fairlead/internal/model"
)

// conditionAccepted is the type of the one condition that Fairlead writes. Istio's own, "Reconciled", counts the proxies
// that have an object and is left to those who count them.
const conditionAccepted = "Accepted"

// Status words what is wrong with an object as Istio's status: a condition that says whether it is in force as written,
// with the problems as its message, and for programs a message of Istio's analyzers for each kind of problem (they carry
// no text). generation is metadata.generation, now the time at which the condition changes if its status is new;
// MergeStatus keeps the time if it is not.
func Status(generation int64, problems []model.Problem, now time.Time) *istiometa.IstioStatus {
	out := &istiometa.IstioStatus{ObservedGeneration: generation}
	c := &istiometa.IstioCondition{
		Type: conditionAccepted, Status: "True", Reason: "Accepted", Message: "in force",
		ObservedGeneration: generation, LastTransitionTime: timestamppb.New(now),
	}
	var refused, warnings []string
	var messages []*analysis.AnalysisMessageBase
	for i := range problems {
		p := &problems[i]
		line := strings.TrimPrefix(p.Field+": "+p.Message, ": ")
		if p.Severity == model.Rejected {
			refused = append(refused, line)
		} else {
			warnings = append(warnings, line)
		}
		messages = append(messages, analysisMessage(p))
	}
	switch {
	case len(refused) > 0:
		c.Status, c.Reason, c.Message = "False", "Invalid", "refused: "+strings.Join(refused, "; ")
	case len(warnings) > 0:
		c.Message = "in force, but: " + strings.Join(warnings, "; ")
	}
	out.Conditions = []*istiometa.IstioCondition{c}
	slices.SortFunc(messages, func(a, b *analysis.AnalysisMessageBase) int {
		return cmp.Or(cmp.Compare(a.GetLevel(), b.GetLevel()), cmp.Compare(a.GetType().GetCode(), b.GetType().GetCode()))
	})
	out.ValidationMessages = slices.CompactFunc(messages, func(a, b *analysis.AnalysisMessageBase) bool { return proto.Equal(a, b) })
	return out
}

// analysisMessage gives the message of Istio's analyzers (pkg/config/analysis/msg/messages.yaml) that is nearest.
func analysisMessage(p *model.Problem) *analysis.AnalysisMessageBase {
	name, code, level := "SchemaWarning", "IST0133", analysis.AnalysisMessageBase_WARNING
	switch {
	case p.Severity == model.Rejected:
		name, code, level = "SchemaValidationError", "IST0106", analysis.AnalysisMessageBase_ERROR
	case p.Missing:
		name, code, level = "ReferencedResourceNotFound", "IST0101", analysis.AnalysisMessageBase_ERROR
	}
	return &analysis.AnalysisMessageBase{
		Type: &analysis.AnalysisMessageBase_Type{Name: name, Code: code}, Level: level,
		DocumentationUrl: fmt.Sprintf("https://istio.io/docs/reference/config/analysis/%s/", strings.ToLower(code)),
	}
}

// MergeStatus puts our status into the one that an object has, which may be nil: conditions of other types stay, as does
// the transition time where the status of ours has not changed, and everything where existing is of a later generation.
// The arguments are not changed; a result that equals existing (proto.Equal) needs no writing.
func MergeStatus(existing, ours *istiometa.IstioStatus) *istiometa.IstioStatus {
	out := &istiometa.IstioStatus{}
	proto.Merge(out, ours)
	if existing.GetObservedGeneration() > ours.GetObservedGeneration() {
		proto.Reset(out)
		proto.Merge(out, existing)
		return out
	}
	out.Conditions = nil
	own := conditionsOf(ours, conditionAccepted)
	for _, old := range existing.GetConditions() {
		if old.GetType() != conditionAccepted {
			out.Conditions = append(out.Conditions, proto.CloneOf(old))
			continue
		}
		for _, c := range own {
			merged := proto.CloneOf(c)
			if merged.GetStatus() == old.GetStatus() && old.GetLastTransitionTime() != nil {
				merged.LastTransitionTime = proto.CloneOf(old.GetLastTransitionTime())
			}
			out.Conditions = append(out.Conditions, merged)
		}
		own = nil
	}
	for _, c := range own {
		out.Conditions = append(out.Conditions, proto.CloneOf(c))
	}
	return out
}

func conditionsOf(s *istiometa.IstioStatus, kind string) []*istiometa.IstioCondition {
	return slices.DeleteFunc(slices.Clone(s.GetConditions()), func(c *istiometa.IstioCondition) bool { return c.GetType() != kind })
}
