package compile

import (
	"cmp"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

func inboundName(pod model.ClusterKey) plan.Name {
	return plan.Name{Kind: plan.NameInbound, Cluster: pod.Cluster, Namespace: pod.Namespace, Pod: pod.Name}
}

// inboundPolicies are what pods do with the connections that come to them. Who looks makes no difference.
type inboundPolicies struct{ snapshot }

// inbound compiles a plan.NameInbound. Ports come from the slices that hold the pod, ready or not, so that the policy is
// there before the first call is, and from the policies that name a port.
func (m inboundPolicies) inbound(n plan.Name) *plan.InboundPolicy {
	key := model.ClusterKey{Cluster: n.Cluster, Key: model.Key{Namespace: n.Namespace, Name: n.Pod}}
	w := m.r.Workload(key)
	if w == nil {
		return nil
	}
	levels := peerPolicies(m).peerLevels(key.Namespace)
	peers := levels.of(w)
	ofClient, ofServer := tracings(m).of(w)
	return &plan.InboundPolicy{
		Name: n.String(), Ports: m.inboundPorts(key, peers), MTLS: peers.base.mode, MTLSOrigin: peers.base.origin,
		Leaving: w.Terminating, Grace: w.Grace,
		Checks: m.checks(w), Probes: m.probes(w), ClientTracing: ofClient, ServerTracing: ofServer,
		Telemetry: telemetries(m).of(w),
	}
}

// inboundPorts lists the ports that Services point at. Where several Services share a port, the one with cluster IPs
// labels it before a headless one, the older before the younger; a protocol that any of them declares is used where
// the first leaves it open.
func (m inboundPolicies) inboundPorts(pod model.ClusterKey, peers peerPolicy) []plan.InboundPort {
	byPort := make(map[uint16]plan.InboundPort)
	for number := range peers.perPort {
		byPort[number] = plan.InboundPort{Port: number}
	}
	for _, sp := range m.servicesOfPod(pod) {
		in := byPort[sp.number]
		if in.Host == "" {
			in = plan.InboundPort{Port: sp.number, Service: sp.service.Key, Host: sp.service.Host}
			in.Rule, in.Pool = m.appPool(pod.Namespace, sp)
		}
		if in.Protocol == model.Undeclared {
			in.Protocol = sp.port.Protocol
		}
		byPort[sp.number] = in
	}
	out := make([]plan.InboundPort, 0, len(byPort))
	for number, in := range byPort {
		m := peers.port(number)
		in.MTLS, in.MTLSOrigin = m.mode, m.origin
		out = append(out, in)
	}
	slices.SortFunc(out, func(a, b plan.InboundPort) int { return cmp.Compare(a.Port, b.Port) })
	return out
}

// podPort is a port of a pod that a service points at.
type podPort struct {
	number  uint16
	service *model.Service
	port    *model.ServicePort
}

// appPool is what the connectionPool of the Service's DestinationRule asks of the called sidecar, as pods of the namespace see
// the rule. As in Istio (buildInboundCluster, applyTrafficPolicy in its pilot/pkg/networking/core) that is the connectionPool
// alone, of the port or of the host; subsets are the callers' view of the endpoints, and the policies of theirs are the
// callers' too.
func (m inboundPolicies) appPool(namespace string, sp podPort) (rule string, pool plan.AppPool) {
	e := destinationRules{view{snapshot: m.snapshot, ns: namespace}}.policy(sp.service)
	t := e.traffic(sp.port.Port, "")
	if t.ConnectionPool == (model.ConnectionPool{}) {
		return "", plan.AppPool{}
	}
	return e.ruleName(), plan.AppPool{
		MaxConnections: t.MaxConnections, MaxPendingRequests: t.MaxPendingRequests, MaxRequests: t.MaxRequests,
		MaxRequestsPerConnection: t.MaxRequestsPerConnection, MaxConcurrentStreams: t.MaxConcurrentStreams,
		ConnectTimeout: t.ConnectTimeout, HTTPIdleTimeout: t.HTTPIdleTimeout, MaxConnectionDuration: t.MaxConnectionDuration,
		KeepAlive: t.KeepAlive, Ping: t.Ping,
	}
}

func (m inboundPolicies) servicesOfPod(pod model.ClusterKey) []podPort {
	var out []podPort
	for _, k := range m.r.SlicesOfPod(pod) {
		shape, ok := m.r.SliceShape(k)
		if !ok {
			continue
		}
		s := m.kubernetesService(shape.Service)
		if s == nil {
			continue
		}
		for i := range s.Ports {
			p := &s.Ports[i]
			if n := slicePort(shape.Ports, p.Name); n != 0 && p.Protocol != model.UDP {
				out = append(out, podPort{number: n, service: s, port: p})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b podPort) int {
		return cmp.Or(headlessRank(a.service)-headlessRank(b.service), olderService(a.service, b.service))
	})
	return out
}

func headlessRank(s *model.Service) int {
	if s.Headless {
		return 1
	}
	return 0
}
