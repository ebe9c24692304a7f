package compile

import (
	"net/netip"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// dialled are the endpoints that callers dial by their own addresses, as the viewing namespace sees them.
type dialled struct{ view }

// podName names the workload at an address, as all namespaces see it or as one client namespace does.
func (v dialled) podName(at netip.AddrPort, client string) plan.Name {
	return plan.Name{Kind: plan.NamePod, Network: v.net, At: plan.HostPortOf(at), Client: client}
}

// pod compiles a plan.NamePod. Who dials an endpoint's own address wants that endpoint: users' routes do not apply, mesh
// mTLS does. The service that holds the endpoint labels the call and says its protocol; a headless service's
// DestinationRule applies, for there is no other way to call one.
func (v dialled) pod(n plan.Name) *plan.Destination {
	v = dialled{v.as(n.Client).in(n.Network)}
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
	if s != nil && s.Headless {
		for _, chosen := range destinationRules(v).selections(s) {
			theirs := dialled{v.by(chosen.name())}.podBackend(addr, s, p)
			out.Selected = append(out.Selected, plan.SelectedBackend{Selector: chosen.selector, Value: theirs})
		}
	}
	out.Routes = []plan.Route{{Name: "default", Backends: to}}
	reliability(&out.Routes[0], &model.HTTPRule{}, s)
	out.TCP = []plan.TCPRoute{{Backends: to}}
	return out
}

func (v dialled) podBackend(at netip.AddrPort, s *model.Service, p *model.ServicePort) plan.Backend {
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
		e := destinationRules(v).policy(s)
		out.Rule = e.ruleName()
		applyTraffic(&out, e.traffic(p.Port, ""))
		e.credentials(&out)
	}
	return out
}

func (v dialled) podShardName(at netip.AddrPort) plan.Name {
	return plan.Name{Kind: plan.NameShard, At: plan.HostPortOf(at), Source: plan.FromPod, Network: v.net, Part: 1, Client: v.ns}
}

// podShard gives the one endpoint of a pod's destination. It is called whatever discovery says, for the
// caller chose it: readiness does not count.
func (v dialled) podShard(n plan.Name) *plan.EndpointShard {
	v = dialled{v.in(n.Network)}
	at, _ := n.At.AddrPort()
	if !v.isEndpoint(at) {
		return nil
	}
	w := workloads(v).workloadAt(at.Addr())
	g := group{workloads: workloads(v)}
	if s, p := v.serviceAt(at); s != nil {
		g = endpointShards(v).group(s, p)
		if w == nil {
			w = workloads(v).sharedWorkload(at)
		}
	}
	ep := g.endpoint(at, w)
	if g.service != nil && g.service.DualStack {
		ep.Other = otherAddress(at.Addr(), w) // who was given both by DNS, and tries one after the other, finds each open
	}
	return &plan.EndpointShard{Name: n.String(), Endpoints: []plan.Endpoint{ep}}
}

// podFor names the destination of a dialled endpoint for the viewing namespace: with a variant where the service that
// holds the endpoint, or what is configured for it, is another one than other namespaces see.
func (v dialled) podFor(at netip.AddrPort) string {
	if v.ns == "" {
		return v.podName(at, "").String()
	}
	common := dialled{v.as("")}
	mine, _ := v.serviceAt(at)
	theirs, _ := common.serviceAt(at)
	if slices.Equal(v.podInputs(mine), common.podInputs(theirs)) {
		return v.podName(at, "").String()
	}
	return v.podName(at, v.ns).String()
}

// podInputs lists the objects that decide what a dialled endpoint of s is to the viewing namespace.
func (v dialled) podInputs(s *model.Service) []model.Ref {
	if s == nil {
		return nil
	}
	out := []model.Ref{s.Origin}
	if s.Headless {
		out = append(out, destinationRules(v).inputs(s)...)
	}
	return out
}

// isEndpoint reports whether the address is a pod's, or an endpoint of some service on that port.
func (v dialled) isEndpoint(at netip.AddrPort) bool {
	if workloads(v).workloadAt(at.Addr()) != nil {
		return true
	}
	s, _ := v.serviceAt(at)
	return s != nil
}

// serviceAt gives the visible Kubernetes Service that has the address and port among its endpoints, and its port: a
// headless one before others, for its clients dial endpoints; then the oldest.
func (v dialled) serviceAt(at netip.AddrPort) (*model.Service, *model.ServicePort) {
	var best *model.Service
	var port *model.ServicePort
	for _, k := range v.slicesAt(at.Addr()) {
		shape, ok := v.r.SliceShape(k)
		if !ok {
			continue
		}
		s := v.kubernetesService(shape.Service)
		if s == nil || !v.visible(s.ExportTo, s.Key.Namespace) {
			continue
		}
		p := servicePortFor(s, shape, at.Port())
		if p != nil && (best == nil || preferForPod(s, best) < 0) {
			best, port = s, p
		}
	}
	return best, port
}

// servicePortFor gives the port of s whose endpoints in the slice listen on number.
func servicePortFor(s *model.Service, shape store.SliceShape, number uint16) *model.ServicePort {
	for i := range s.Ports {
		p := &s.Ports[i]
		if p.Protocol != model.UDP && slicePort(shape.Ports, p.Name) == number {
			return p
		}
	}
	return nil
}

func preferForPod(a, b *model.Service) int {
	if a.Headless != b.Headless {
		if a.Headless {
			return -1
		}
		return 1
	}
	return olderService(a, b)
}
