package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	istiometa "istio.io/api/meta/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"fairlead.dev/fairlead/internal/config/linkerd"
)

// Status is what a status should become, given what it is: a [RouteParents], a [PolicyAncestors], [ExportConditions] or an [IstioStatus]. It is called once
// per attempt, with what the API server holds at that time, and must keep what others wrote. It must be pure.
type Status interface {
	// merged gives the status as it is and as it should be, both in the same notation.
	merged(existing []byte) (is, want any, err error)
}

// RouteParents makes the status of a route of the Gateway API: it gets the entries of all controllers.
type RouteParents func(existing []gatewayv1.RouteParentStatus) []gatewayv1.RouteParentStatus

func (f RouteParents) merged(existing []byte) (is, want any, err error) {
	var status gatewayv1.RouteStatus
	if err := json.Unmarshal(existing, &status); err != nil {
		return nil, nil, err
	}
	is = *status.DeepCopy() // for f may change what it is given
	status.Parents = f(status.Parents)
	if status.Parents == nil {
		status.Parents = []gatewayv1.RouteParentStatus{} // the field is required
	}
	return is, status, nil
}

// PolicyAncestors makes the status of a policy: it gets the entries of all controllers.
type PolicyAncestors func(existing []gatewayv1.PolicyAncestorStatus) []gatewayv1.PolicyAncestorStatus

func (f PolicyAncestors) merged(existing []byte) (is, want any, err error) {
	var status gatewayv1.PolicyStatus
	if err := json.Unmarshal(existing, &status); err != nil {
		return nil, nil, err
	}
	is = *status.DeepCopy() // for f may change what it is given
	status.Ancestors = f(status.Ancestors)
	if status.Ancestors == nil {
		status.Ancestors = []gatewayv1.PolicyAncestorStatus{} // the field is required
	}
	return is, status, nil
}

// ExportConditions makes the conditions of a ServiceExport. It may change and return what it is given.
type ExportConditions func(existing []metav1.Condition) []metav1.Condition

func (f ExportConditions) merged(existing []byte) (is, want any, err error) {
	var status mcsv1beta1.ServiceExportStatus
	if err := json.Unmarshal(existing, &status); err != nil {
		return nil, nil, err
	}
	is = *status.DeepCopy() // for f may change what it is given
	status.Conditions = f(status.Conditions)
	return is, status, nil
}

// LinkStatus makes the status of a Link.
type LinkStatus func(existing linkerd.LinkStatus) linkerd.LinkStatus

func (f LinkStatus) merged(existing []byte) (is, want any, err error) {
	var before, after linkerd.LinkStatus
	if err := errors.Join(json.Unmarshal(existing, &before), json.Unmarshal(existing, &after)); err != nil {
		return nil, nil, err
	}
	return before, f(after), nil
}

// IstioStatus makes the status of an Istio kind. It may change and return what it is given, which is never nil.
type IstioStatus func(existing *istiometa.IstioStatus) *istiometa.IstioStatus

func (f IstioStatus) merged(existing []byte) (is, want any, err error) {
	before, after := &istiometa.IstioStatus{}, &istiometa.IstioStatus{}
	if err := json.Unmarshal(existing, before); err != nil {
		return nil, nil, err
	}
	before.DeepCopyInto(after)
	return before, f(after), nil
}

// mergePatch gives the JSON merge patch (RFC 7386) from the object that is to the one that is wanted, nil where there
// is no difference. Members that differ are replaced as a whole.
func mergePatch(is, want any) (map[string]any, error) {
	before, err := members(is)
	if err != nil {
		return nil, err
	}
	after, err := members(want)
	if err != nil {
		return nil, err
	}
	patch := make(map[string]any)
	for name, value := range after {
		if !reflect.DeepEqual(before[name], value) && (before[name] != nil || !isEmpty(value)) {
			patch[name] = value
		}
	}
	for name := range before {
		if _, kept := after[name]; !kept {
			patch[name] = nil
		}
	}
	if len(patch) == 0 {
		return nil, nil //nolint:nilnil // no difference is no mistake
	}
	return patch, nil
}

func isEmpty(value any) bool {
	list, ok := value.([]any)
	return ok && len(list) == 0
}

// members gives the members of the JSON object that v is.
func members(v any) (map[string]any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("the status cannot be written as JSON: %w", err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, fmt.Errorf("the status is no JSON object: %w", err)
	}
	return out, nil
}
