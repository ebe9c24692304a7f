package smi

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/model"
)

// TrafficSplit is the object of all versions: they differ in the notation of weights only, and in Matches, which the
// older ones do not have.
type TrafficSplit struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec TrafficSplitSpec `json:"spec"`
}

// TrafficSplitSpec says where the calls to a Service go.
type TrafficSplitSpec struct {
	// Service is the root: its name, or its full name.
	Service  string                `json:"service"`
	Backends []TrafficSplitBackend `json:"backends"`
	// Matches narrows the split to requests that HTTPRouteGroups describe (since v1alpha3).
	Matches []corev1.TypedLocalObjectReference `json:"matches,omitempty"`
}

// TrafficSplitBackend is a Service and its share.
type TrafficSplitBackend struct {
	Service string `json:"service"`
	// Weight is a whole number since v1alpha2 and a quantity ("10m") in v1alpha1; canary controllers mix the two.
	Weight resource.Quantity `json:"weight"`
}

// Read gives what a TrafficSplit means.
func Read(in *TrafficSplit, clusterDomain string) (*model.RouteSet, []model.Problem) {
	key := model.Key{Namespace: cmp.Or(in.Namespace, metav1.NamespaceDefault), Name: in.Name}
	t := &split{Report: model.Report{Ref: model.Ref{Kind: "TrafficSplit", Key: key}}, domain: clusterDomain}
	set := &model.RouteSet{
		Ref: t.Ref, CreatedAt: in.CreationTimestamp.Time,
		Hosts: []model.Hostname{t.service("spec.service", in.Spec.Service)},
	}
	backends := t.backends(in.Spec.Backends)
	set.HTTP = []model.HTTPRule{{Field: "spec.backends", Backends: backends, Groups: t.groups(in.Spec.Matches)}}
	if len(in.Spec.Matches) == 0 { // groups describe requests, and no connections
		set.TCP = []model.TCPRule{{Field: "spec.backends", Backends: backends}}
	}
	if t.Rejected() {
		return nil, t.Problems
	}
	return set, t.Problems
}

// split reads the parts of a TrafficSplit.
type split struct {
	model.Report

	domain string
}

// service reads the name of a Service. It may only be one of the split's own namespace: the API's object is for the
// owner of a Service, and no other rule of it says whose calls are meant.
func (t *split) service(field, written string) model.Hostname {
	host := model.HostCandidates(written, t.Ref.Namespace, t.domain)
	full := host[len(host)-1]
	name, rest, _ := strings.Cut(string(full), ".")
	switch {
	case name == "":
		t.Reject(field, "no name", "name the Service")
	case rest != t.Ref.Namespace+".svc."+t.domain:
		t.Reject(field, fmt.Sprintf("%q is not a Service of namespace %s", written, t.Ref.Namespace), "write the name of a Service beside the TrafficSplit")
	}
	return full
}

// groups reads which requests are split.
func (t *split) groups(in []corev1.TypedLocalObjectReference) []model.RouteGroupRef {
	var out []model.RouteGroupRef
	for i := range in {
		ref, field := &in[i], fmt.Sprintf("spec.matches[%d]", i)
		switch {
		case ref.Kind != "HTTPRouteGroup" || ref.APIGroup != nil && *ref.APIGroup != "" && *ref.APIGroup != "specs.smi-spec.io":
			t.Reject(field+".kind", fmt.Sprintf("%q is not what a split can be narrowed to", ref.Kind), "refer to an HTTPRouteGroup of specs.smi-spec.io")
		case ref.Name == "":
			t.Reject(field+".name", "no name", "name an HTTPRouteGroup beside the TrafficSplit")
		}
		out = append(out, model.RouteGroupRef{Field: field, Key: model.Key{Namespace: t.Ref.Namespace, Name: ref.Name}})
	}
	return out
}

func (t *split) backends(in []TrafficSplitBackend) []model.WeightedBackend {
	out := make([]model.WeightedBackend, 0, len(in))
	weights := make([]int64, 0, len(in))
	sum := int64(0)
	for i := range in {
		field := fmt.Sprintf("spec.backends[%d]", i)
		out = append(out, model.WeightedBackend{Field: field, Host: t.service(field+".service", in[i].Service)})
		weights = append(weights, t.weight(field+".weight", &in[i].Weight))
		sum += weights[i]
	}
	if sum == 0 && !t.Rejected() {
		t.Reject("spec.backends", "no backend has a weight above 0", "give one of them a weight")
	}
	if !slices.ContainsFunc(weights, func(w int64) bool { return w%thousandths != 0 }) {
		for i := range weights {
			weights[i] /= thousandths
		}
	}
	for i := range out {
		out[i].Weight = uint32(weights[i])
	}
	return out
}

const (
	thousandths = 1000
	// mostWeight is the largest weight: in thousandths it is just below 1<<31, and the sum of several stays a uint64.
	mostWeight = 2_000_000
)

// weight gives a weight in thousandths, because of "10m".
func (t *split) weight(field string, q *resource.Quantity) int64 {
	if q.Sign() < 0 || q.CmpInt64(mostWeight) > 0 {
		t.Reject(field, q.String()+" is not a weight", fmt.Sprintf("write a number from 0 to %d", mostWeight))
		return 0
	}
	return q.MilliValue()
}
