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
func networkGateway(r *model.Report, in *corev1.Service) *model.NetworkGateway {
	network := in.Labels[model.LabelNetwork]
	if network == "" {
		return nil
	}
	out := &model.NetworkGateway{Network: network, Port: gatewayPort(r, in)}
	if !slices.ContainsFunc(in.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == int32(out.Port) }) {
		r.Warn("spec.ports", fmt.Sprintf("the Service is a gateway of network %s at port %d, which it does not have", network, out.Port),
			"add the port, or name another one by the label "+model.GatewayPortLabel)
	}
	for i, written := range in.Spec.ExternalIPs {
		addAddress(r, out, fmt.Sprintf("spec.externalIPs[%d]", i), written)
	}
	for i, ingress := range in.Status.LoadBalancer.Ingress {
		field := fmt.Sprintf("status.loadBalancer.ingress[%d]", i)
		if ingress.IP == "" {
			r.Warn(field+".hostname", fmt.Sprintf("a gateway between networks is called by address: %#q is left out", ingress.Hostname),
				"give the load balancer an address, or write spec.externalIPs")
			continue
		}
		addAddress(r, out, field+".ip", ingress.IP)
	}
	slices.SortFunc(out.Addresses, netip.Addr.Compare)
	out.Addresses = slices.Compact(out.Addresses)
	if len(out.Addresses) == 0 {
		r.Warn("metadata.labels["+model.LabelNetwork+"]", fmt.Sprintf("the gateway of network %s has no address yet: other networks cannot call it", network),
			"type LoadBalancer, or spec.externalIPs")
	}
	return out
}

func addAddress(r *model.Report, to *model.NetworkGateway, field, written string) {
	addr, err := netip.ParseAddr(written)
	if err != nil {
		r.Warn(field, fmt.Sprintf("%#q is no IP address: it is left out", written), "")
		return
	}
	to.Addresses = append(to.Addresses, addr.Unmap())
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
