package controlplane

import (
	"net/netip"

	istionetv1 "istio.io/client-go/pkg/apis/networking/v1"
	istiosecv1 "istio.io/client-go/pkg/apis/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/config/core"
	"fairlead.dev/fairlead/internal/config/gwapi"
	"fairlead.dev/fairlead/internal/config/istio"
	"fairlead.dev/fairlead/internal/config/smi"
	"fairlead.dev/fairlead/internal/inject"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// translation is what one object means to the store.
type translation struct {
	// commit puts the object in force; nil where its last good version stays.
	commit   func(*store.Txn)
	problems []model.Problem
	// endpoints is the object's *model.Slice or *model.Workload, nil for the other kinds.
	endpoints any
}

// The kinds whose objects say which endpoints there are; all others are configuration.
const (
	kindSlice = "EndpointSlice"
	kindPod   = "Pod"
)

// translate dispatches on the type of an object. Kinds that mean nothing to the mesh (Deployment, ServiceAccount, …)
// give the empty translation.
func translate(ref model.Ref, value any, clusterDomain string) translation {
	switch v := value.(type) {
	case *corev1.Namespace:
		n := core.Namespace(v)
		return translation{commit: func(tx *store.Txn) { tx.SetNamespace(*n) }, problems: warnings(ref, "metadata.labels", inject.NamespaceWarnings(v.Labels))}
	case *appsv1.Deployment:
		return translation{problems: podMakerProblems(ref, v.Annotations, v.Spec.Template.Annotations)}
	case *appsv1.StatefulSet:
		return translation{problems: podMakerProblems(ref, v.Annotations, v.Spec.Template.Annotations)}
	case *corev1.Node:
		n := core.Node(v)
		return translation{commit: func(tx *store.Txn) { tx.SetNode(*n) }}
	case *corev1.Service:
		s, problems := core.Service(v, clusterDomain)
		return set(ref, s, problems, func(tx *store.Txn, s model.Service) { tx.SetServices(ref, s) })
	case *corev1.Pod:
		w, problems := core.Pod(v)
		t := set(ref, w, problems, (*store.Txn).SetWorkload)
		t.endpoints = w
		return t
	case *discoveryv1.EndpointSlice:
		s, problems := core.EndpointSlice(v)
		t := set(ref, s, problems, (*store.Txn).SetSlice)
		t.endpoints = s
		return t
	case *istionetv1.VirtualService:
		r, problems := istio.VirtualService(v, clusterDomain)
		return set(ref, r, problems, (*store.Txn).SetRouteSet)
	case *istionetv1.DestinationRule:
		p, problems := istio.DestinationRule(v, clusterDomain)
		return set(ref, p, problems, (*store.Txn).SetPolicy)
	case *istionetv1.ServiceEntry:
		return serviceEntry(ref, v, clusterDomain)
	case *istiosecv1.PeerAuthentication:
		p, problems := istio.PeerAuthentication(v)
		return set(ref, p, problems, (*store.Txn).SetPeerAuthentication)
	case *gatewayv1.HTTPRoute:
		r, problems := gwapi.HTTPRoute(v, clusterDomain)
		return set(ref, r, problems, (*store.Txn).SetRouteSet)
	case *gatewayv1.GRPCRoute:
		r, problems := gwapi.GRPCRoute(v, clusterDomain)
		return set(ref, r, problems, (*store.Txn).SetRouteSet)
	case *smi.TrafficSplit:
		r, problems := smi.Read(v, clusterDomain)
		return set(ref, r, problems, (*store.Txn).SetRouteSet)
	}
	return translation{}
}

// podMakerProblems warns of annotations about sidecars that nothing reads: on the object itself, and on its pods.
func podMakerProblems(ref model.Ref, own, ofPods map[string]string) []model.Problem {
	return append(warnings(ref, "metadata.annotations", inject.Misplaced(ref.Kind, own)),
		warnings(ref, "spec.template.metadata.annotations", inject.UnknownAnnotations(ofPods))...)
}

// warnings makes problems of lines.
func warnings(ref model.Ref, field string, lines []string) []model.Problem {
	var problems []model.Problem
	for _, line := range lines {
		problems = append(problems, model.Problem{Ref: ref, Severity: model.Warning, Field: field, Message: line})
	}
	return problems
}

// set is the translation of an object that became one value. No value and no rejection means that the object has
// nothing to say, such as a pod that has finished: then it counts as gone.
func set[T any](ref model.Ref, value *T, problems []model.Problem, put func(*store.Txn, T)) translation {
	t := translation{problems: problems}
	switch {
	case value != nil:
		t.commit = func(tx *store.Txn) { put(tx, *value) }
	case !rejected(problems):
		t.commit = remove(ref)
	}
	return t
}

func serviceEntry(ref model.Ref, v *istionetv1.ServiceEntry, clusterDomain string) translation {
	list, problems := istio.ServiceEntry(v, clusterDomain)
	t := translation{problems: problems}
	if rejected(problems) {
		return t
	}
	services := make([]model.Service, len(list))
	for i, s := range list {
		services[i] = *s
	}
	t.commit = func(tx *store.Txn) { tx.SetServices(ref, services...) }
	return t
}

func rejected(problems []model.Problem) bool {
	report := model.Report{Problems: problems}
	return report.Rejected()
}

// remove is what the end of an object means to the store, nil where it means nothing.
func remove(ref model.Ref) func(*store.Txn) {
	switch ref.Kind {
	case "Namespace":
		return func(tx *store.Txn) { tx.DeleteNamespace(ref.Name) }
	case "Node":
		return func(tx *store.Txn) { tx.DeleteNode(ref.Name) }
	case "Service", "ServiceEntry":
		return func(tx *store.Txn) { tx.SetServices(ref) }
	case kindPod:
		return func(tx *store.Txn) { tx.DeleteWorkload(ref.Key) }
	case kindSlice:
		return func(tx *store.Txn) { tx.DeleteSlice(ref.Key) }
	case "VirtualService", "HTTPRoute", "GRPCRoute", "TrafficSplit":
		return func(tx *store.Txn) { tx.DeleteRouteSet(ref) }
	case "DestinationRule":
		return func(tx *store.Txn) { tx.DeletePolicy(ref) }
	case "PeerAuthentication":
		return func(tx *store.Txn) { tx.DeletePeerAuthentication(ref) }
	}
	return nil
}

// worsens reports whether calls that go somewhere now would go wrong after the change: an endpoint less, or one that
// is not ready or not staying any more. Such changes wait for nothing.
func worsens(before, after any) bool {
	switch b := before.(type) {
	case *model.Slice:
		a, ok := after.(*model.Slice)
		return b != nil && (!ok || a == nil || losesEndpoint(b, a))
	case *model.Workload:
		a, ok := after.(*model.Workload)
		return b != nil && (!ok || a == nil || a.Terminating && !b.Terminating || b.Meshed != a.Meshed)
	}
	return false
}

func losesEndpoint(before, after *model.Slice) bool {
	remaining := usable(after)
	for addr := range usable(before) {
		if !remaining[addr] {
			return true
		}
	}
	return false
}

// usable gives the addresses of a slice that take new calls.
func usable(s *model.Slice) map[netip.Addr]bool {
	set := make(map[netip.Addr]bool, len(s.Endpoints))
	for i := range s.Endpoints {
		if e := &s.Endpoints[i]; e.Ready && !e.Terminating {
			for _, addr := range e.Addresses {
				set[addr] = true
			}
		}
	}
	return set
}
