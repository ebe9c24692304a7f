package istio

import (
	"fmt"
	"net"
	"strconv"

	networking "istio.io/api/networking/v1alpha3"

	"fairlead.dev/fairlead/internal/model"
)

// empty reports whether nothing is set that Istio counts.
func empty(in settings) bool {
	return in.GetLoadBalancer() == nil && in.GetConnectionPool() == nil && in.GetOutlierDetection() == nil && in.GetTls() == nil
}

// forwarded reads the parts of a traffic policy that stand beside those of [settings] and say how connections begin: the tunnel
// through a forward proxy, and the version of the PROXY protocol.
func (t destinationRule) forwarded(field string, in *networking.TrafficPolicy) (tunnel *model.Tunnel, header uint32) {
	if empty(in) && len(in.GetPortLevelSettings()) == 0 && in.GetTunnel() == nil && in.GetProxyProtocol() == nil && in.GetRetryBudget() == nil {
		t.Reject(field, "empty", "add loadBalancer, connectionPool, tls or portLevelSettings, or remove it")
	}
	if in.GetTunnel() != nil && in.GetProxyProtocol() != nil {
		t.Reject(field+".proxyProtocol", "cannot go with tunnel", "remove one of them")
	}
	if in.GetTunnel() != nil {
		tunnel = t.tunnel(field+".tunnel", in.GetTunnel())
	}
	if in.GetProxyProtocol() != nil {
		switch v := in.GetProxyProtocol().GetVersion(); v {
		case networking.TrafficPolicy_ProxyProtocol_V1:
			header = 1
		case networking.TrafficPolicy_ProxyProtocol_V2:
			header = 2
		default:
			t.Reject(field+".proxyProtocol.version", fmt.Sprintf("%d is not a version", v), "write V1 or V2")
		}
	}
	return tunnel, header
}

func (t destinationRule) tunnel(field string, in *networking.TrafficPolicy_TunnelSettings) *model.Tunnel {
	if p := in.GetProtocol(); p != "" && p != "CONNECT" && p != "POST" {
		t.Reject(field+".protocol", fmt.Sprintf("%q is not a way to tunnel", p), "write CONNECT or POST")
	}
	host := in.GetTargetHost()
	if !isHost(host) && !isAddress(host) {
		t.Reject(field+".targetHost", fmt.Sprintf("%q is neither a host nor an address", host), "name the host to reach")
	}
	port := t.port(field+".targetPort", in.GetTargetPort())
	return &model.Tunnel{Post: in.GetProtocol() == "POST", Target: net.JoinHostPort(host, strconv.Itoa(int(port)))}
}
