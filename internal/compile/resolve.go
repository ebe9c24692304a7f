package compile

import (
	"net/netip"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// resolver finds what names lead to for the viewing namespace.
type resolver struct{ view }

// resolve dispatches on the kind of a name.
func (v resolver) resolve(name string) (string, bool) {
	n, ok := plan.ParseName(name)
	if !ok || !readableIn(v.ns, n) {
		return "", false
	}
	switch n.Kind {
	case plan.NameWorkload:
		return n.String(), workloads{v.in(n.Network)}.workloadAt(n.IP) != nil
	case plan.NameAddress:
		at, _ := n.At.AddrPort()
		return v.resolveAddrPort(at)
	case plan.NameHost:
		return v.resolveTarget(n.At)
	case plan.NameDNS:
		return dnsNames(v).resolveDNS(n.Host)
	case plan.NameDestination, plan.NamePod, plan.NameInbound, plan.NameMesh, plan.NameTrust, plan.NamePassage:
		return name, true
	case plan.NameShard, plan.NameSeal, plan.NameCredential, plan.NameRoots, plan.NameUnknown:
	}
	return "", false
}

// resolveAddrPort finds out what a dialled address stands for: a service's own address, an automatic one, a pod or
// another endpoint, an address range of a ServiceEntry, in this order. A service's address with a port that the
// service does not have leads nowhere.
func (v resolver) resolveAddrPort(at netip.AddrPort) (string, bool) {
	if found := v.r.ServicesByAddress(at.Addr()); len(found) > 0 {
		hosts := make([]model.Hostname, 0, len(found))
		for _, s := range v.sorted(found) {
			hosts = append(hosts, s.Host)
		}
		return v.resolveHosts(hosts, at.Port())
	}
	if auto, ok := v.r.AutoAddressAt(at.Addr()); ok {
		return v.resolveHosts([]model.Hostname{auto.Host}, at.Port())
	}
	if dialled(v).isEndpoint(at) {
		return dialled(v).podFor(at), true
	}
	if s := v.byRange(at); s != nil {
		return v.destinationFor(plan.HostPort{Host: s.Host, Port: at.Port()}, s), true
	}
	return "", false
}

// resolveHosts gives the destination of the first of the hosts for which the viewing namespace sees a service with the
// port. The address that led here names a host; where several objects define the host, the namespace may see another
// one than the owner of the address.
func (v resolver) resolveHosts(hosts []model.Hostname, port uint16) (string, bool) {
	for _, h := range hosts {
		if s, p := withPort(v.servicesAt(h), port); p != nil {
			return v.destinationFor(plan.HostPort{Host: h, Port: port}, s), true
		}
	}
	return "", false
}

// byRange gives the service with the longest address range around the address that has the port.
func (v resolver) byRange(at netip.AddrPort) *model.Service {
	var best *model.Service
	bits := -1
	for _, s := range v.sees(v.r.ServicesByRange()) {
		if portOf(s, at.Port()) == nil {
			continue
		}
		for _, p := range s.VIPs {
			if p.Contains(at.Addr()) && p.Bits() > bits {
				best, bits = s, p.Bits()
			}
		}
	}
	return best
}

// destinationFor names the destination of a service's port for the viewing namespace: with a variant where its
// configuration differs from that of other namespaces.
func (v resolver) destinationFor(t plan.HostPort, s *model.Service) string {
	namespace := s.Key.Namespace
	if v.ns == "" {
		return destinationName(namespace, t, "").String()
	}
	common := resolver{v.as("")}
	theirs, p := common.findIn(namespace, t)
	if p != nil && slices.Equal(v.inputs(t, s), common.inputs(t, theirs)) {
		return destinationName(namespace, t, "").String()
	}
	return destinationName(namespace, t, v.ns).String()
}

// resolveTarget finds the destination of a name and port, as a Host header or SNI gives it: first a service that
// defines one of the names it may stand for, then a wildcard that covers one, then a host that has routes only.
func (v resolver) resolveTarget(written plan.HostPort) (string, bool) {
	candidates := v.candidates(string(written.Host))
	known := false
	for _, find := range []func(model.Hostname) []*model.Service{v.servicesAt, v.services} {
		for _, h := range candidates {
			found := find(h)
			known = known || len(found) > 0
			if s, p := withPort(found, written.Port); p != nil {
				return v.destinationFor(plan.HostPort{Host: v.mostSpecific(h, s), Port: written.Port}, s), true
			}
		}
	}
	if known {
		return "", false
	}
	for _, h := range candidates {
		t := plan.HostPort{Host: h, Port: written.Port}
		if first := firstRouteSet(routing(v).outside(t)); first != nil {
			return v.virtualHostName(t, first), true
		}
	}
	return "", false
}

// mostSpecific gives the longest name between h and the host of s, a wildcard that covers it, that a VirtualService or
// HTTPRoute is for: names below a wildcard come in any number, and share one destination as far as nothing tells them apart.
func (v resolver) mostSpecific(h model.Hostname, s *model.Service) model.Hostname {
	for _, level := range v.levels(h) {
		if level == s.Host || len(v.r.RouteSetsByHost(level)) > 0 {
			return level
		}
	}
	return s.Host
}

// virtualHostName names the destination of a host that has routes only.
func (v resolver) virtualHostName(t plan.HostPort, first *model.RouteSet) string {
	common := resolver{v.as("")}
	if v.ns == "" || slices.Equal(v.inputs(t, nil), common.inputs(t, nil)) {
		return destinationName(first.Ref.Namespace, t, "").String()
	}
	return destinationName(first.Ref.Namespace, t, v.ns).String()
}

// inputs lists the objects that decide what t is to the viewing namespace. Two namespaces with equal inputs share
// one Destination.
func (v resolver) inputs(t plan.HostPort, s *model.Service) []model.Ref {
	var out []model.Ref
	known := make(map[*model.Service]bool)
	addService := func(s *model.Service) {
		out = append(out, s.Origin)
		if known[s] {
			return
		}
		known[s] = true
		out = append(out, destinationRules(v).inputs(s)...)
	}
	if s != nil {
		addService(s)
	}
	a := routing(v).routes(t)
	for _, rs := range slices.Concat(a.http, a.tcp) {
		out = append(out, rs.Ref)
		for _, h := range backendHosts(rs) {
			_, found := v.resolveHost(h, rs.Ref.Namespace)
			for _, s := range found {
				addService(s)
			}
		}
	}
	return out
}
