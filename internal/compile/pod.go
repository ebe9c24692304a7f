package compile

import (
	"net/netip"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// podName names the workload at an address, as everybody sees it or as one client namespace does.
func (v view) podName(at netip.AddrPort, client string) plan.Name {
	return plan.Name{Kind: plan.NamePod, Network: v.net, At: plan.HostPortOf(at), Client: client}
}

// pod compiles a plan.NamePod. Who dials an endpoint's own address wants that endpoint: users' routes do not apply, mesh
// mTLS does. The service that holds the endpoint labels the call and says its protocol; a headless service's
// DestinationRule applies, for there is no other way to call one.
func (v view) pod(n plan.Name) *plan.Destination {
	v = v.as(n.Client).in(n.Network)
	addr, _ := n.At.AddrPort()
	if !v.isEndpoint(addr) {
		return nil
	}
	s, p := v.serviceAt(addr)
	out := &plan.Destination{
		Name: n.String(), Host: model.Hostname(addr.Addr().String()), Port: addr.Port(),
		Addresses: []netip.Addr{addr.Addr()},
	}
	b := v.podBackend(addr, s, p)
	if s != nil {
		out.Host, out.Service, out.Protocol = s.Host, s.Key, p.Protocol
	}
	to := []plan.WeightedBackend{{Backend: 0, Weight: 1}}
	out.Backends = []plan.Backend{b}
	out.Routes = []plan.Route{{Name: "default", Backends: to, Retry: defaultRetry()}}
	out.TCP = []plan.TCPRoute{{Backends: to}}
	return out
}

func (v view) podBackend(at netip.AddrPort, s *model.Service, p *model.ServicePort) plan.Backend {
	shards := []string{v.podShardName(at).String()}
	if s == nil {
		host := model.Hostname(at.Addr().String())
		return plan.Backend{
			Name: clusterName(at.Port(), "", host), Host: host, Port: at.Port(),
			Resolution: model.ResolveSlices, LB: model.LeastRequest, Shards: shards,
		}
	}
	out := plan.Backend{
		Name: clusterName(p.Port, "", s.Host), Host: s.Host, Port: p.Port, Service: s.Key,
		Resolution: model.ResolveSlices, LB: model.LeastRequest, Shards: shards,
	}
	if s.Headless {
		e := destinationRules{v}.policy(s)
		out.Rule = e.ruleName()
		applyTraffic(&out, e.traffic(p.Port, ""))
	}
	return out
}

func (v view) podShardName(at netip.AddrPort) plan.Name {
	return plan.Name{Kind: plan.NameShard, At: plan.HostPortOf(at), Source: plan.FromPod, Network: v.net, Part: 1, Client: v.ns}
}

// podShard gives the one endpoint of a pod's destination. It is healthy whatever discovery says: the caller chose it.
func (v view) podShard(n plan.Name) *plan.EndpointShard {
	v = v.in(n.Network)
	at, _ := n.At.AddrPort()
	if !v.isEndpoint(at) {
		return nil
	}
	w := workloads{v}.workloadAt(at.Addr())
	g := group{workloads: workloads{v}}
	if s, p := v.serviceAt(at); s != nil {
		g = v.group(s, p)
		if w == nil {
			w = workloads{v}.sharedWorkload(at)
		}
	}
	return &plan.EndpointShard{
		Name: n.String(), Endpoints: []plan.Endpoint{g.endpoint(at, w)},
	}
}
