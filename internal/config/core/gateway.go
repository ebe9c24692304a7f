package core

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/model"
)

// networkGateway reads of a Service that it is a gateway of a network, as Istio's label says; nil for others. One without an
// address that others could call is a gateway all the same: its network is one that is called by gateways.
func networkGateway(r *model.Report, in *corev1.Service, external []netip.Addr) *model.NetworkGateway {
	network := in.Labels[model.LabelNetwork]
	if network == "" {
		return nil
	}
	out := &model.NetworkGateway{Network: network, Port: gatewayPort(r, in)}
	at := slices.IndexFunc(in.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == int32(out.Port) })
	switch {
	case at < 0:
		r.Warn("spec.ports", fmt.Sprintf("the Service is a gateway of network %s at port %d, which it does not have", network, out.Port),
			"add the port, or name another one by the label "+model.GatewayPortLabel)
	case in.Spec.Type == corev1.ServiceTypeNodePort && in.Spec.Ports[at].NodePort > 0 && in.Spec.Ports[at].NodePort <= maxPort:
		out.NodePort = uint16(in.Spec.Ports[at].NodePort)
	}
	for i := range in.Status.LoadBalancer.Ingress {
		if ingress := &in.Status.LoadBalancer.Ingress[i]; ingress.IP == "" {
			r.Warn(fmt.Sprintf("status.loadBalancer.ingress[%d].hostname", i),
				fmt.Sprintf("a gateway between networks is called by address: %#q is left out", ingress.Hostname),
				"give the load balancer an address, or write spec.externalIPs")
		}
	}
	if len(external) == 0 && out.NodePort == 0 {
		r.Warn("metadata.labels["+model.LabelNetwork+"]", fmt.Sprintf("the gateway of network %s has no address yet: other networks cannot call it", network),
			"type LoadBalancer or NodePort, or spec.externalIPs")
	}
	return out
}

// externalAddresses gives where a Service is called from outside its cluster. What is no address is nobody's concern but that of
// who calls it there.
func externalAddresses(r *model.Report, in *corev1.Service) []netip.Addr {
	var out []netip.Addr
	add := func(field, written string) {
		addr, err := netip.ParseAddr(written)
		if err != nil {
			if in.Labels[model.LabelNetwork] != "" {
				r.Warn(field, fmt.Sprintf("%#q is no IP address: it is left out", written), "")
			}
			return
		}
		out = append(out, addr.Unmap())
	}
	for i, written := range in.Spec.ExternalIPs {
		add(fmt.Sprintf("spec.externalIPs[%d]", i), written)
	}
	for i := range in.Status.LoadBalancer.Ingress {
		if ip := in.Status.LoadBalancer.Ingress[i].IP; ip != "" {
			add(fmt.Sprintf("status.loadBalancer.ingress[%d].ip", i), ip)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

func gatewayPort(r *model.Report, in *corev1.Service) uint16 {
	field, written := "metadata.labels["+model.GatewayPortLabel+"]", in.Labels[model.GatewayPortLabel]
	if written == "" {
		field = "metadata.annotations[" + model.GatewayPortLabel + "]"
		written = cmp.Or(in.Annotations[model.GatewayPortLabel], strconv.Itoa(model.DefaultGatewayPort))
	}
	port, err := strconv.ParseUint(written, 10, 16)
	if err != nil || port == 0 {
		r.Warn(field, fmt.Sprintf("%#q is no port: %d counts", written, model.DefaultGatewayPort), "1 to 65535")
		return model.DefaultGatewayPort
	}
	return uint16(port)
}
