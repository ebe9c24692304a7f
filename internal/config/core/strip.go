package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"fairlead.dev/fairlead/internal/model"
)

// StripService takes from a Service what Service does not read.
func StripService(in *corev1.Service) {
	in.Status = corev1.ServiceStatus{LoadBalancer: in.Status.LoadBalancer}
}

// StripPod leaves of a Pod who it is, where it runs, its addresses, its ports, and whether it is ready.
func StripPod(in *corev1.Pod) {
	in.Spec = corev1.PodSpec{
		Containers: stripContainers(in.Spec.Containers), InitContainers: stripContainers(in.Spec.InitContainers),
		ServiceAccountName: in.Spec.ServiceAccountName, DeprecatedServiceAccount: in.Spec.DeprecatedServiceAccount,
		NodeName: in.Spec.NodeName, HostNetwork: in.Spec.HostNetwork, ReadinessGates: in.Spec.ReadinessGates,
	}
	in.Status = corev1.PodStatus{
		Phase: in.Status.Phase, HostIP: in.Status.HostIP, PodIP: in.Status.PodIP, PodIPs: in.Status.PodIPs, Conditions: stripConditions(in.Status.Conditions),
	}
}

// stripConditions leaves what conditions say, without when and why but for those of health checks.
func stripConditions(in []corev1.PodCondition) []corev1.PodCondition {
	var out []corev1.PodCondition
	for i := range in {
		c := corev1.PodCondition{Type: in[i].Type, Status: in[i].Status}
		if strings.HasPrefix(string(c.Type), model.HealthCondition) {
			c.Message, c.LastTransitionTime = in[i].Message, in[i].LastTransitionTime
		}
		out = append(out, c)
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

// StripEndpointSlice takes from an EndpointSlice what EndpointSlice does not read.
func StripEndpointSlice(in *discoveryv1.EndpointSlice) {
	for i := range in.Endpoints {
		e := &in.Endpoints[i]
		e.DeprecatedTopology = nil
		if e.TargetRef != nil {
			e.TargetRef = &corev1.ObjectReference{Kind: e.TargetRef.Kind, Namespace: e.TargetRef.Namespace, Name: e.TargetRef.Name}
		}
	}
}
