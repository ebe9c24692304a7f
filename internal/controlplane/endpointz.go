package controlplane

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// endpointPage is /debug/endpointz.
type endpointPage struct {
	engine        *engine
	clusterDomain string
}

// sent shows what proxies were told about endpoints: the bytes sent, decoded.
func (p endpointPage) sent() []admin.Shard {
	list := []admin.Shard{}
	shards := nativeSource{&p.engine.watches}.shards()
	for _, name := range slices.Sorted(maps.Keys(shards)) {
		value, err := discovery.Decode(shards[name].Body)
		shard, ok := value.(*plan.EndpointShard)
		if err != nil || !ok {
			continue // it was encoded here: cannot be
		}
		list = append(list, shownShard(shard, shards[name].Version))
	}
	return list
}

func shownShard(shard *plan.EndpointShard, version string) admin.Shard {
	v := admin.Shard{Name: shard.Name, Version: version, Endpoints: []admin.Endpoint{}}
	for i := range shard.Endpoints {
		e := &shard.Endpoints[i]
		v.Endpoints = append(v.Endpoints, admin.Endpoint{
			Address: e.Addr.String(), Health: e.Health.String(), Weight: e.Weight, Meshed: e.Meshed,
			Locality: e.Locality.String(), Identity: e.Identity, Pod: e.Workload.Pod, Namespace: e.Workload.Namespace, Subsets: e.Subsets,
		})
	}
	return v
}

// of compiles the endpoints of one host and port, as a sidecar in the namespace of each object that defines the host
// would get them. The host may be one of a Service without the part that all Services share, or an address that is dialled.
func (p endpointPage) of(authority string) ([]admin.Shard, error) {
	at, ok := plan.ParseHostPort(authority)
	if !ok {
		return nil, fmt.Errorf("%q: write HOST:PORT, such as users.myapp.svc.%s:8080", authority, p.clusterDomain)
	}
	services := p.named(at.Host)
	if len(services) == 0 {
		return nil, fmt.Errorf("no Service and no ServiceEntry defines %s", at.Host)
	}
	list, ports := []admin.Shard{}, []uint16{}
	found := false
	for _, s := range services {
		for _, port := range s.Ports {
			ports = append(ports, port.Port)
			if port.Port != at.Port {
				continue
			}
			found = true
			list = append(list, p.shardsOf(s, at.Port)...)
		}
	}
	if !found {
		slices.Sort(ports)
		return nil, fmt.Errorf("%s has no port %d: there are %v", at.Host, at.Port, slices.Compact(ports))
	}
	return list, nil
}

// named finds what defines a host.
func (p endpointPage) named(host model.Hostname) []*model.Service {
	r := p.engine.reader()
	if address, err := netip.ParseAddr(string(host)); err == nil {
		return r.ServicesByAddress(address)
	}
	for _, rest := range []string{"", "." + p.clusterDomain, ".svc." + p.clusterDomain} {
		if found := r.ServicesByHost(host + model.Hostname(rest)); len(found) > 0 {
			return found
		}
	}
	return nil
}

// shardsOf compiles the endpoints of a port.
func (p endpointPage) shardsOf(s *model.Service, port uint16) (list []admin.Shard) {
	r := p.engine.reader()
	asked := plan.Name{Kind: plan.NameDestination, Namespace: s.Key.Namespace, At: plan.HostPort{Host: s.Host, Port: port}}
	name, ok := compile.Resolve(r, p.engine.global, compile.Client{Namespace: s.Key.Namespace}, asked.String())
	if !ok {
		return nil
	}
	d, ok := compile.Compile(r, p.engine.global, name).(*plan.Destination)
	if !ok {
		return nil
	}
	for _, part := range partNames(d) {
		shard, ok := compile.Compile(r, p.engine.global, part).(*plan.EndpointShard)
		if !ok {
			continue
		}
		v := shownShard(shard, "")
		v.Service = s.Origin.Key.String()
		list = append(list, v)
	}
	return list
}
