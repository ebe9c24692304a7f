package istio

import (
	"fmt"

	networking "istio.io/api/networking/v1alpha3"
)

// What a traffic policy may hold and Fairlead does not obey is checked all the same: a mistake in it would otherwise wait
// for the day on which it is obeyed, or for the day on which the manifest meets Istio again.

// empty reports whether nothing is set that Istio counts.
func empty(in settings) bool {
	return in.GetLoadBalancer() == nil && in.GetConnectionPool() == nil && in.GetOutlierDetection() == nil && in.GetTls() == nil
}

// unobeyedPolicy checks the parts that stand beside those of [settings].
func (t destinationRule) unobeyedPolicy(field string, in *networking.TrafficPolicy) {
	if empty(in) && len(in.GetPortLevelSettings()) == 0 && in.GetTunnel() == nil && in.GetProxyProtocol() == nil && in.GetRetryBudget() == nil {
		t.Reject(field, "empty", "add loadBalancer, connectionPool, tls or portLevelSettings, or remove it")
	}
	if in.GetTunnel() != nil && in.GetProxyProtocol() != nil {
		t.Reject(field+".proxyProtocol", "cannot go with tunnel", "remove one of them")
	}
	if tunnel := in.GetTunnel(); tunnel != nil {
		if p := tunnel.GetProtocol(); p != "" && p != "CONNECT" && p != "POST" {
			t.Reject(field+".tunnel.protocol", fmt.Sprintf("%q is not a way to tunnel", p), "write CONNECT or POST")
		}
		if host := tunnel.GetTargetHost(); !isHost(host) && !isAddress(host) {
			t.Reject(field+".tunnel.targetHost", fmt.Sprintf("%q is neither a host nor an address", host), "name the host to reach")
		}
		t.port(field+".tunnel.targetPort", tunnel.GetTargetPort())
		t.Unsupported(field + ".tunnel")
	}
	if in.GetProxyProtocol() != nil {
		if v := in.GetProxyProtocol().GetVersion(); v != networking.TrafficPolicy_ProxyProtocol_V1 && v != networking.TrafficPolicy_ProxyProtocol_V2 {
			t.Reject(field+".proxyProtocol.version", fmt.Sprintf("%d is not a version", v), "write V1 or V2")
		}
		t.Unsupported(field + ".proxyProtocol")
	}
}

// unobeyedBalancing checks what stands beside simple.
func (t destinationRule) unobeyedBalancing(field string, in *networking.LoadBalancerSettings) {
	if in.GetZoneAwareLbSetting() != nil {
		t.Unsupported(field + ".zoneAwareLbSetting")
	}
}
