package kube

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// stripMeta leaves what identifies, selects, orders and owns an object. All labels stay, for any may be selected by.
func stripMeta(in *metav1.ObjectMeta) {
	in.ManagedFields, in.Finalizers, in.GenerateName = nil, nil, ""
	delete(in.Annotations, corev1.LastAppliedConfigAnnotation)
	if len(in.Annotations) == 0 {
		in.Annotations = nil
	}
	owner := metav1.GetControllerOf(in)
	in.OwnerReferences = nil
	if owner != nil {
		owner.BlockOwnerDeletion = nil
		in.OwnerReferences = []metav1.OwnerReference{*owner}
	}
}

func readNamespace(o runtime.Object) (any, error) {
	meta, err := metaOf(o)
	if err != nil {
		return nil, err
	}
	return &corev1.Namespace{ObjectMeta: *meta}, nil
}

func readNode(o runtime.Object) (any, error) {
	meta, err := metaOf(o)
	if err != nil {
		return nil, err
	}
	return &corev1.Node{ObjectMeta: *meta}, nil
}

func metaOf(o runtime.Object) (*metav1.ObjectMeta, error) {
	in, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return nil, unexpected(o)
	}
	stripMeta(&in.ObjectMeta)
	return &in.ObjectMeta, nil
}

func stripService(in *corev1.Service) {
	stripMeta(&in.ObjectMeta)
	in.Status = corev1.ServiceStatus{}
}

// stripPod leaves who a pod is, where it runs, its addresses, its ports, and whether it is ready.
func stripPod(in *corev1.Pod) {
	stripMeta(&in.ObjectMeta)
	in.Spec = corev1.PodSpec{
		Containers: stripContainers(in.Spec.Containers), InitContainers: stripContainers(in.Spec.InitContainers),
		ServiceAccountName: in.Spec.ServiceAccountName, DeprecatedServiceAccount: in.Spec.DeprecatedServiceAccount,
		NodeName: in.Spec.NodeName, HostNetwork: in.Spec.HostNetwork, ReadinessGates: in.Spec.ReadinessGates,
	}
	in.Status = corev1.PodStatus{
		Phase: in.Status.Phase, PodIP: in.Status.PodIP, PodIPs: in.Status.PodIPs, Conditions: stripConditions(in.Status.Conditions),
	}
}

// stripConditions leaves what conditions say, without when and why.
func stripConditions(in []corev1.PodCondition) []corev1.PodCondition {
	var out []corev1.PodCondition
	for i := range in {
		out = append(out, corev1.PodCondition{Type: in[i].Type, Status: in[i].Status})
	}
	return out
}

func stripContainers(in []corev1.Container) []corev1.Container {
	if len(in) == 0 {
		return nil
	}
	out := make([]corev1.Container, len(in))
	for i := range in {
		out[i] = corev1.Container{Name: in[i].Name, Ports: in[i].Ports, RestartPolicy: in[i].RestartPolicy}
	}
	return out
}

func stripEndpointSlice(in *discoveryv1.EndpointSlice) {
	stripMeta(&in.ObjectMeta)
	for i := range in.Endpoints {
		e := &in.Endpoints[i]
		e.DeprecatedTopology, e.Hints = nil, nil
		if e.TargetRef != nil {
			e.TargetRef = &corev1.ObjectReference{Kind: e.TargetRef.Kind, Namespace: e.TargetRef.Namespace, Name: e.TargetRef.Name}
		}
	}
}
