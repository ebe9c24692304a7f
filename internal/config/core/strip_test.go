package core

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/randfill"

	"fairlead.dev/fairlead/internal/model"
)

// What is kept of an object means what the whole object meant: no field that a translator reads is stripped.
func TestStrippedObjectsMeanTheSame(t *testing.T) {
	fill := randfill.NewWithSeed(1).NilChance(0.1).NumElements(1, 3).MaxDepth(12).Funcs(
		func(ip *corev1.PodIP, c randfill.Continue) { ip.IP = randomIP(c) },
		func(e *discoveryv1.Endpoint, c randfill.Continue) {
			c.FillNoCustom(e)
			e.Addresses = []string{randomIP(c)}
		},
		func(t *corev1.PodConditionType, c randfill.Continue) {
			*t = []corev1.PodConditionType{corev1.ContainersReady, corev1.PodReady, model.HealthCondition + "users"}[c.Intn(3)]
		},
		func(s *corev1.ConditionStatus, c randfill.Continue) {
			*s = []corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse}[c.Intn(2)]
		},
		func(p *corev1.ContainerRestartPolicy, c randfill.Continue) {
			*p = []corev1.ContainerRestartPolicy{corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever}[c.Intn(2)]
		},
	)
	for range 300 {
		var pod corev1.Pod
		fill.Fill(&pod)
		meansTheSame(t, &pod, pod.DeepCopy(), StripPod, func(p *corev1.Pod) any { w, _ := Pod(p); return w })
		var service corev1.Service
		fill.Fill(&service)
		meansTheSame(t, &service, service.DeepCopy(), StripService, func(s *corev1.Service) any { w, _ := Service(s, "cluster.local"); return w })
		var slice discoveryv1.EndpointSlice
		fill.Fill(&slice)
		slice.Labels, slice.AddressType = map[string]string{discoveryv1.LabelServiceName: "users"}, discoveryv1.AddressTypeIPv4
		meansTheSame(t, &slice, slice.DeepCopy(), StripEndpointSlice, func(s *discoveryv1.EndpointSlice) any { w, _ := EndpointSlice(s); return w })
	}
}

func meansTheSame[T any](t *testing.T, whole, stripped *T, strip func(*T), translate func(*T) any) {
	t.Helper()
	strip(stripped)
	if want, got := translate(whole), translate(stripped); !reflect.DeepEqual(got, want) {
		t.Fatalf("of the stripped object comes\n%+v\nof the whole one\n%+v", got, want)
	}
}

func randomIP(c randfill.Continue) string {
	return []string{"10.0.0.1", "10.0.0.2", "fd00::1", "no address"}[c.Intn(4)]
}
