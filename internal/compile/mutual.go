package compile

import (
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// tlsModeLabel says of a pod, in Istio's words, whether its callers in the mesh come by mutual TLS.
const tlsModeLabel, tlsModeIstio = "security.istio.io/tlsMode", "istio"

// istioSidecar is what Istio's injector leaves on a pod. Whom its sidecar trusts is another control plane's affair.
const istioSidecar = "sidecar.istio.io/status"

// secure says how callers in the mesh come to an endpoint that a workload is: to its sidecar, by mutual TLS at its own port, or
// plainly. What is declared to be outside of the mesh is called plainly, unless a rule demands ISTIO_MUTUAL of it.
func (g group) secure(out *plan.Endpoint, w *model.Workload) {
	if g.service == nil || !g.service.External {
		mode := g.modeOf(w, out.Addr.Port())
		out.Meshed = meshed(w) && mode != model.MTLSDisable
		out.Mutual = !out.Meshed && g.endsMutual(w, mode)
	}
	if out.Meshed || out.Mutual || !w.HostNetwork && g.policy.demandsMutual() {
		out.Identity = g.spiffeID(w.Key.Namespace, w.ServiceAccount)
		if g.service != nil {
			out.Identity = demandedIdentity(g.service, out.Identity)
		}
	}
}

// modeOf is what PeerAuthentications say of a port of a workload.
func (g group) modeOf(w *model.Workload, port uint16) model.MTLSMode {
	levels := g.peers
	if levels.namespace != w.Key.Namespace {
		levels = peerPolicies{g.snapshot}.peerLevels(w.Key.Namespace)
	}
	policy := levels.of(w)
	return policy.port(port).mode
}

// endsMutual reports whether a workload without a sidecar ends mutual TLS itself at the port: because its label says so, as with
// Istio, or because it has an agent, and the port is one for gRPC at which it is told to take nothing else. Where the label
// says something else it does not.
func (g group) endsMutual(w *model.Workload, mode model.MTLSMode) bool {
	if w.HostNetwork || meshed(w) || mode == model.MTLSDisable || w.Annotations[istioSidecar] != "" {
		return false
	}
	if said, ok := w.Labels[tlsModeLabel]; ok {
		return said == tlsModeIstio
	}
	return w.Agent && mode == model.MTLSStrict && g.port != nil && (g.port.Protocol == model.GRPC || g.port.Protocol == model.HTTP2)
}

// demandsMutual reports whether anything in the rules says ISTIO_MUTUAL.
func (e *effectivePolicy) demandsMutual() bool {
	if e.base.TLS.Mode == model.TLSIstioMutual || anyDemandsMutual(e.perPort) {
		return true
	}
	return slices.ContainsFunc(e.subsets, func(s model.Subset) bool {
		return s.Policy.TLS.Mode == model.TLSIstioMutual || anyDemandsMutual(s.PerPort)
	})
}

func anyDemandsMutual(ports map[uint16]model.TrafficPolicy) bool {
	for port := range ports {
		if ports[port].TLS.Mode == model.TLSIstioMutual {
			return true
		}
	}
	return false
}
