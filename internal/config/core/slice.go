package core

import (
	"cmp"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"fairlead.dev/fairlead/internal/model"
)

// EndpointSlice translates an EndpointSlice. One that belongs to no Service, or holds names instead of addresses,
// gives nil and a warning.
func EndpointSlice(in *discoveryv1.EndpointSlice) (*model.Slice, []model.Problem) {
	r := newReport("EndpointSlice", &in.ObjectMeta)
	service := in.Labels[discoveryv1.LabelServiceName]
	if service == "" {
		r.Warn("metadata.labels["+discoveryv1.LabelServiceName+"]", "missing: the slice belongs to no Service", "name the Service")
		return nil, r.Problems
	}
	if in.AddressType == discoveryv1.AddressTypeFQDN {
		r.Warn("addressType", "FQDN endpoints are not supported: the slice has no effect", "use a ServiceEntry with `resolution: DNS`")
		return nil, r.Problems
	}
	out := &model.Slice{Key: r.Ref.InCluster(), Service: model.Key{Namespace: r.Ref.Namespace, Name: service}}
	for i := range in.Ports {
		if port, ok := slicePort(r, i, &in.Ports[i]); ok {
			out.Ports = append(out.Ports, port)
		}
	}
	for i := range in.Endpoints {
		if e := sliceEndpoint(r, i, &in.Endpoints[i]); len(e.Addresses) > 0 {
			out.Endpoints = append(out.Endpoints, e)
		}
	}
	return out, r.Problems
}

func slicePort(r *model.Report, i int, p *discoveryv1.EndpointPort) (model.SlicePort, bool) {
	if p.Port == nil { // every port of the endpoint: there is none to pair with a Service's
		return model.SlicePort{}, false
	}
	if *p.Port < 1 || *p.Port > maxPort {
		r.Warn(fmt.Sprintf("ports[%d].port", i), fmt.Sprintf("`%d` is no port: it is left out", *p.Port), "1 to 65535")
		return model.SlicePort{}, false
	}
	name, transport := deref(p.Name), deref(p.Protocol)
	if transport == corev1.ProtocolSCTP {
		return model.SlicePort{}, false // the Service's own port has the warning
	}
	return model.SlicePort{
		Name: name, Port: uint16(*p.Port), Protocol: PortProtocol(*p.Port, name, p.AppProtocol, transport),
	}, true
}

func sliceEndpoint(r *model.Report, i int, e *discoveryv1.Endpoint) model.SliceEndpoint {
	out := model.SliceEndpoint{
		Hostname: deref(e.Hostname), Node: deref(e.NodeName), Zone: deref(e.Zone),
		// What is not said: ready, and serving as long as it is ready (discovery/v1, EndpointConditions).
		Ready: orDefault(e.Conditions.Ready, true), Terminating: orDefault(e.Conditions.Terminating, false),
	}
	out.Serving = orDefault(e.Conditions.Serving, out.Ready)
	for j, address := range e.Addresses {
		addr, err := netip.ParseAddr(address)
		if err != nil {
			r.Warn(fmt.Sprintf("endpoints[%d].addresses[%d]", i, j), fmt.Sprintf("%#q is no IP address: it is left out", address), "")
			continue
		}
		out.Addresses = append(out.Addresses, addr.Unmap())
	}
	if e.Hints != nil {
		for _, z := range e.Hints.ForZones {
			out.ForZones = append(out.ForZones, z.Name)
		}
	}
	if target := e.TargetRef; target != nil && target.Kind == "Pod" {
		out.Pod.Key = model.Key{Namespace: cmp.Or(target.Namespace, r.Ref.Namespace), Name: target.Name}
	}
	return out
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func orDefault(p *bool, otherwise bool) bool {
	if p == nil {
		return otherwise
	}
	return *p
}
