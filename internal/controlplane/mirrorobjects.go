package controlplane

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"fairlead.dev/fairlead/internal/mirror"
	"fairlead.dev/fairlead/internal/model"
)

// mirrorService is a mirror as an object.
func mirrorService(s *mirror.Service) *corev1.Service {
	out := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Name: s.Key.Name, Namespace: s.Key.Namespace, Labels: s.Labels, Annotations: s.Annotations},
	}
	if s.Headless {
		out.Spec.ClusterIP = corev1.ClusterIPNone
	}
	for _, p := range s.Ports {
		protocol, app := p.Wire()
		port := corev1.ServicePort{Name: p.Name, Port: int32(p.Port), Protocol: corev1.Protocol(protocol), TargetPort: intstr.FromInt32(int32(p.Port))}
		if app != "" {
			port.AppProtocol = &app
		}
		out.Spec.Ports = append(out.Spec.Ports, port)
	}
	return out
}

// mirrorSlices are the EndpointSlices of a mirror: its pods where it is headless, else its gateways where it is called by these.
func mirrorSlices(s *mirror.Service) []*discoveryv1.EndpointSlice {
	switch {
	case s.Headless:
		return podsSlices(s)
	case s.ByGateway:
		return []*discoveryv1.EndpointSlice{gatewaysSlice(s)}
	}
	return nil
}

// mirrorSlice is an EndpointSlice without endpoints and ports.
func mirrorSlice(s *mirror.Service, name string, family discoveryv1.AddressType) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.Key.Namespace, Labels: map[string]string{
			discoveryv1.LabelServiceName: s.Key.Name, discoveryv1.LabelManagedBy: model.ManagedBy,
			model.MirroredLabel: "true", model.MirrorClusterLabel: s.Cluster, model.ManagedByLabel: model.ManagedBy,
		}},
		AddressType: family, Endpoints: []discoveryv1.Endpoint{},
	}
}

// gatewaysSlice has the gateways of a mirror, at the same port for all ports of the Service, as with Linkerd.
func gatewaysSlice(s *mirror.Service) *discoveryv1.EndpointSlice {
	out := mirrorSlice(s, mirror.GatewaysSlice(s.Key.Name), discoveryv1.AddressTypeIPv4)
	port := int32(model.DefaultGatewayPort)
	ready := true
	for _, g := range s.Gateways {
		if !g.Addr().Is4() {
			continue // one slice has one family
		}
		port = int32(g.Port())
		out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{Addresses: []string{g.Addr().String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
	}
	tcp := corev1.ProtocolTCP
	for _, p := range s.Ports {
		if p.Protocol != model.UDP {
			out.Ports = append(out.Ports, discoveryv1.EndpointPort{Name: &p.Name, Port: &port, Protocol: &tcp})
		}
	}
	return out
}

// podsSlices have the pods of a headless mirror, so that each is found by its hostname: at the address of its own mirror, by the ports of the
// Service. A family of which there is no address has no slice.
func podsSlices(s *mirror.Service) (out []*discoveryv1.EndpointSlice) {
	nameOf4, nameOf6 := mirror.PodsSlices(s.Key.Name)
	four, six := mirrorSlice(s, nameOf4, discoveryv1.AddressTypeIPv4), mirrorSlice(s, nameOf6, discoveryv1.AddressTypeIPv6)
	for _, p := range s.Pods {
		for _, a := range p.Addresses {
			to := four
			if !a.Is4() {
				to = six
			}
			to.Endpoints = append(to.Endpoints, discoveryv1.Endpoint{Addresses: []string{a.String()}, Hostname: &p.Hostname, Conditions: discoveryv1.EndpointConditions{Ready: &p.Ready}})
		}
	}
	for _, slice := range []*discoveryv1.EndpointSlice{four, six} {
		if len(slice.Endpoints) == 0 {
			continue
		}
		for _, p := range s.Ports {
			protocol, _ := p.Wire()
			wire, number := corev1.Protocol(protocol), int32(p.Port)
			slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &p.Name, Port: &number, Protocol: &wire})
		}
		out = append(out, slice)
	}
	return out
}
