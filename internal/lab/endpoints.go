package lab

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"fairlead.dev/fairlead/internal/model"
)

// maxEndpoints is how many endpoints one slice holds, as in Kubernetes.
const maxEndpoints = 100

// endpointPod is what endpoint slices may know of a pod.
type endpointPod struct {
	spec        *podSpec
	seq         int
	ready       bool
	terminating bool
}

// endpointSlices computes the slices of one Service. Pods that share the numbers behind its ports share slices; each
// address family has its own. A Service without a selector has none: its slices are the user's.
func endpointSlices(svc *corev1.Service, pods []endpointPod) []*discoveryv1.EndpointSlice {
	if len(svc.Spec.Selector) == 0 || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	pods = slices.DeleteFunc(slices.Clone(pods), func(p endpointPod) bool {
		return p.spec.key.Namespace != svc.Namespace || !matches(svc.Spec.Selector, p.spec.labels)
	})
	slices.SortFunc(pods, func(a, b endpointPod) int { return cmp.Compare(a.seq, b.seq) })
	var out []*discoveryv1.EndpointSlice
	for _, family := range svc.Spec.IPFamilies {
		groups, order := map[string][]endpointPod{}, []string{}
		for _, p := range pods {
			if !p.spec.addrs.of(family).IsValid() {
				continue
			}
			key := fmt.Sprint(slicePorts(svc, p.spec.template))
			if groups[key] == nil {
				order = append(order, key)
			}
			groups[key] = append(groups[key], p)
		}
		slices.Sort(order)
		for _, key := range order {
			for chunk := range slices.Chunk(groups[key], maxEndpoints) {
				out = append(out, newSlice(svc, family, chunk))
			}
		}
	}
	nameSlices(svc.Name, out)
	return out
}

// nameSlices gives slices names that stay the same while their number does.
func nameSlices(service string, out []*discoveryv1.EndpointSlice) {
	for i, s := range out {
		s.Name = fmt.Sprintf("%s-%s", service, safeHash(fmt.Append(nil, service, i))[:5])
	}
}

func matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if have, ok := labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// slicePorts resolves the Service's ports for one pod, as "name number protocol"; a named target port that the pod
// does not declare is left out.
func slicePorts(svc *corev1.Service, template *corev1.PodTemplateSpec) []slicePort {
	var out []slicePort
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		number, ok := targetPort(p, template)
		if !ok {
			continue
		}
		sp := slicePort{name: p.Name, number: number, protocol: p.Protocol}
		if p.AppProtocol != nil {
			sp.appProtocol = *p.AppProtocol
		}
		out = append(out, sp)
	}
	return out
}

type slicePort struct {
	name        string
	number      int32
	protocol    corev1.Protocol
	appProtocol string
}

func targetPort(p *corev1.ServicePort, template *corev1.PodTemplateSpec) (int32, bool) {
	if p.TargetPort.Type == intstr.Int {
		return p.TargetPort.IntVal, true
	}
	for i := range template.Spec.Containers {
		for _, cp := range template.Spec.Containers[i].Ports {
			if cp.Name == p.TargetPort.StrVal {
				return cp.ContainerPort, true
			}
		}
	}
	return 0, false
}

// newSlice builds one slice from pods that share their ports.
func newSlice(svc *corev1.Service, family corev1.IPFamily, pods []endpointPod) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		TypeMeta:    metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta:  metav1.ObjectMeta{Namespace: svc.Namespace, Labels: map[string]string{}},
		AddressType: discoveryv1.AddressType(family),
		Ports:       []discoveryv1.EndpointPort{},
	}
	maps.Copy(s.Labels, svc.Labels) // as Kubernetes does
	s.Labels[discoveryv1.LabelServiceName], s.Labels[discoveryv1.LabelManagedBy] = svc.Name, "endpointslice-controller.k8s.io"
	for _, p := range slicePorts(svc, pods[0].spec.template) {
		ep := discoveryv1.EndpointPort{Name: &p.name, Port: &p.number, Protocol: &p.protocol}
		if p.appProtocol != "" {
			ep.AppProtocol = &p.appProtocol
		}
		s.Ports = append(s.Ports, ep)
	}
	for _, p := range pods {
		s.Endpoints = append(s.Endpoints, newEndpoint(svc, family, p))
	}
	return s
}

// newEndpoint follows Kubernetes' meaning of the conditions: a terminating pod is never ready, but serves for as long
// as its probe says so.
func newEndpoint(svc *corev1.Service, family corev1.IPFamily, p endpointPod) discoveryv1.Endpoint {
	ready := (p.ready && !p.terminating) || svc.Spec.PublishNotReadyAddresses
	e := discoveryv1.Endpoint{
		Addresses: []string{p.spec.addrs.of(family).String()}, NodeName: &p.spec.node,
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &p.ready, Terminating: &p.terminating},
		TargetRef: &corev1.ObjectReference{
			Kind: "Pod", Namespace: p.spec.key.Namespace, Name: p.spec.key.Name,
		},
	}
	if p.spec.zone != "" {
		e.Zone = &p.spec.zone
	}
	if p.spec.hostname != "" && p.spec.subdomain == svc.Name {
		e.Hostname = &p.spec.hostname
	}
	return e
}

// serviceOf gives the Service that a slice belongs to.
func serviceOf(s *discoveryv1.EndpointSlice) model.Key {
	return model.Key{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
}

// podUID makes a stable identifier in the form of a UUID.
func podUID(key model.Key) string {
	h := safeHash([]byte(key.String()))
	hex := fmt.Sprintf("%x", h+h)
	return strings.Join([]string{hex[:8], hex[8:12], hex[12:16], hex[16:20], hex[20:32]}, "-")
}
