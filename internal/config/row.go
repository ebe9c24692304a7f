package config

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/inject"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// pointer is a pointer to the Go type of a kind's objects.
type pointer[T any] interface {
	*T
	metav1.Object
}

// of completes a row with the functions of its Go type. A nil strip leaves everything.
func of[T any, P pointer[T]](k Kind, translate func(P, Place) Translation, strip func(P)) Kind {
	if k.Status == 0 {
		k.Status = NoStatus
	}
	k.New = func() metav1.Object { return P(new(T)) }
	k.Is = func(object any) bool { _, ok := object.(P); return ok }
	k.Strip = func(object any) {
		if in, ok := object.(P); ok && strip != nil {
			strip(in)
		}
	}
	k.Translate = func(object any, at Place) Translation {
		in, ok := object.(P)
		if !ok {
			return Translation{}
		}
		return translate(in, at)
	}
	return k
}

// routeSpec completes Kind.RouteSpec.
func routeSpec[P any](get func(P) *gatewayv1.CommonRouteSpec) func(any) *gatewayv1.CommonRouteSpec {
	return func(object any) *gatewayv1.CommonRouteSpec {
		in, ok := object.(P)
		if !ok {
			return nil
		}
		return get(in)
	}
}

// needs completes Kind.Needs.
func needs[P, V any](translate func(P, Place) (*V, []model.Problem), list func(*V) []model.Ref) func(any, Place) ([]model.Ref, bool) {
	return func(object any, at Place) ([]model.Ref, bool) {
		in, ok := object.(P)
		if !ok {
			return nil, false
		}
		value, problems := translate(in, at)
		switch {
		case Rejected(problems):
			return nil, false
		case value == nil:
			return nil, true
		}
		return list(value), true
	}
}

// set is the translation of an object that became one value. No value and no rejection means that the object has
// nothing to say, such as a pod that has finished: then it counts as gone.
func set[T any](at Place, value *T, problems []model.Problem, put func(*store.Txn, T), remove func(*store.Txn, model.Ref)) Translation {
	t := Translation{Problems: problems}
	switch {
	case value != nil:
		t.Commit = func(tx *store.Txn) { put(tx, *value) }
	case !Rejected(problems):
		t.Commit = func(tx *store.Txn) { remove(tx, at.Ref) }
	}
	return t
}

// object is set for a value that is known by the object it came from.
func object[T any, P store.Object[T]](at Place, value P, problems []model.Problem) Translation {
	return set(at, value, problems, store.Set[T, P], store.Delete[T, P])
}

func removeServices(tx *store.Txn, ref model.Ref) { tx.SetServices(ref) }

// ServiceOf gives the Service that an object is, or belongs to; ok is false where it is and does neither.
func ServiceOf(ref model.Ref, object any) (_ model.Key, ok bool) {
	switch in := object.(type) {
	case *corev1.Service:
		return ref.Key, true
	case *discoveryv1.EndpointSlice:
		name := in.Labels[discoveryv1.LabelServiceName]
		return model.Key{Namespace: ref.Namespace, Name: name}, name != ""
	}
	return model.Key{}, false
}

// OfNetworkGateway reports whether an object is a Service by which its network is called from others, or one of its slices, which
// have the labels of their Services.
func OfNetworkGateway(object any) bool {
	o, ok := object.(metav1.Object)
	return ok && o.GetLabels()[model.LabelNetwork] != ""
}

// Rejected reports whether one of the problems refuses its object.
func Rejected(problems []model.Problem) bool {
	report := model.Report{Problems: problems}
	return report.Rejected()
}

// podMaker is the translation of an object that makes pods: it warns of annotations about sidecars that nothing reads, on
// the object itself and on its pods.
func podMaker(ref model.Ref, own, ofPods map[string]string) Translation {
	return Translation{Problems: append(warnings(ref, "metadata.annotations", inject.Misplaced(ref.Kind, own)),
		warnings(ref, "spec.template.metadata.annotations", inject.UnknownAnnotations(ofPods))...)}
}

// warnings makes problems of lines.
func warnings(ref model.Ref, field string, lines []string) []model.Problem {
	var problems []model.Problem
	for _, line := range lines {
		problems = append(problems, model.Problem{Ref: ref, Severity: model.Warning, Field: field, Message: line})
	}
	return problems
}
