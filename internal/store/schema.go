package store

import (
	"net/netip"
	"slices"

	"fairlead.dev/fairlead/internal/model"
)

// ShardSize is how many endpoints of a slice go into one EndpointShard. Kubernetes keeps slices at 100 as well, so
// nearly every slice is one shard.
const ShardSize = 100

// SliceShape is what a slice looks like from afar: enough to name its shards, and unchanged while endpoints come
// and go.
type SliceShape struct {
	Key     model.ClusterKey
	Service model.Key
	Ports   []model.SlicePort
	// Shards is how many times ShardSize endpoints the slice holds, rounded up, at least 1.
	Shards int
}

func shapeOf(s *model.Slice) SliceShape {
	return SliceShape{Key: s.Key, Service: s.Service, Ports: s.Ports, Shards: hundreds(len(s.Endpoints))}
}

// hundreds rounds n up to full shards.
func hundreds(n int) int { return max(1, (n+ShardSize-1)/ShardSize) }

// slot is the place of a table in a state and in a transaction; its type says what the rows are.
type slot[T any] int

const (
	services   slot[model.Service]            = iota
	auto       slot[autoAddress]              = iota
	endpoints  slot[model.Slice]              = iota
	workloads  slot[model.Workload]           = iota
	nodes      slot[model.Node]               = iota
	namespaces slot[model.Namespace]          = iota
	routeSets  slot[model.RouteSet]           = iota
	policies   slot[model.DestinationPolicy]  = iota
	peers      slot[model.PeerAuthentication] = iota
)

// Positions of the indexes in their schemas.
const (
	serviceByHost = iota
	serviceByKey
	serviceByOrigin
	serviceByAddress
	serviceByRange
	serviceWithoutAddress
	serviceByNameAlone
)

const (
	sliceShape = iota
	sliceOfService
	sliceOfPod
	sliceAtAddress
)

const (
	workloadAtAddress = iota
	workloadInNamespace
)

const (
	routeSetByHost = iota
)

const (
	policyByHost = iota
)

const (
	peerAuthenticationInNamespace = iota
)

const (
	autoAddressAt = iota
)

// definitions lists the tables, all of them empty. What a new one needs besides its slot and a line here is its names in
// key.go, and the functions of Reader and Txn by which others use it.
func definitions() []tableState {
	return []tableState{
		services: define(schema[model.Service]{
			table: Services, id: serviceID,
			indexes: []index[model.Service]{
				serviceByHost:         {table: ServicesByHost, ids: func(s *model.Service) []string { return []string{string(s.Host)} }},
				serviceByKey:          {table: ServicesByKey, ids: func(s *model.Service) []string { return []string{s.Key.String()} }},
				serviceByOrigin:       {table: ServicesByOrigin, ids: func(s *model.Service) []string { return []string{refID(s.Origin)} }},
				serviceByAddress:      {table: ServicesByAddress, ids: singleAddresses},
				serviceByRange:        {table: ServicesByRange, ids: ranges},
				serviceWithoutAddress: {table: ServicesWithoutAddress, ids: withoutAddress},
				serviceByNameAlone:    {table: ServicesByNameAlone, ids: byNameAlone},
			},
		}),
		auto: define(schema[autoAddress]{
			table: AutoAddresses, id: func(a *autoAddress) string { return a.ID },
			indexes: []index[autoAddress]{
				autoAddressAt: {table: AutoAddressesAt, ids: func(a *autoAddress) []string { return []string{a.Addr.String()} }},
			},
		}),
		endpoints: define(schema[model.Slice]{
			table: Slices, id: func(s *model.Slice) string { return s.Key.String() },
			indexes: []index[model.Slice]{
				sliceShape: {
					table: SliceShapes, ids: func(s *model.Slice) []string { return []string{s.Key.String()} },
					part: func(s *model.Slice) any { return shapeOf(s) },
				},
				sliceOfService: {
					table: SlicesOfService, ids: func(s *model.Slice) []string { return []string{s.Service.String()} },
					part: nameOnly[model.Slice],
				},
				sliceOfPod:     {table: SlicesOfPod, ids: podsOf, part: nameOnly[model.Slice]},
				sliceAtAddress: {table: SlicesAtAddress, ids: addressesOf, part: nameOnly[model.Slice]},
			},
		}),
		workloads: define(schema[model.Workload]{
			table: Workloads, id: func(w *model.Workload) string { return w.Key.String() },
			indexes: []index[model.Workload]{
				workloadAtAddress: {table: WorkloadsAtAddress, ids: func(w *model.Workload) []string { return addressIDs(w.Network, w.IPs) }},
				workloadInNamespace: {
					table: WorkloadsInNamespace, ids: func(w *model.Workload) []string { return []string{w.Key.Namespace} },
					part: nameOnly[model.Workload],
				},
			},
		}),
		nodes:      define(schema[model.Node]{table: Nodes, id: func(n *model.Node) string { return nodeID(n.Cluster, n.Name) }}),
		namespaces: define(schema[model.Namespace]{table: Namespaces, id: func(n *model.Namespace) string { return n.Name }}),
		routeSets: define(schema[model.RouteSet]{
			table: RouteSets, id: func(r *model.RouteSet) string { return refID(r.Ref) },
			indexes: []index[model.RouteSet]{
				routeSetByHost: {table: RouteSetsByHost, ids: func(r *model.RouteSet) []string { return hostIDs(r.Hosts) }},
			},
		}),
		policies: define(schema[model.DestinationPolicy]{
			table: Policies, id: func(p *model.DestinationPolicy) string { return refID(p.Ref) },
			indexes: []index[model.DestinationPolicy]{
				policyByHost: {table: PoliciesByHost, ids: func(p *model.DestinationPolicy) []string { return []string{string(p.Host)} }},
			},
		}),
		peers: define(schema[model.PeerAuthentication]{
			table: PeerAuthentications, id: func(p *model.PeerAuthentication) string { return refID(p.Ref) },
			indexes: []index[model.PeerAuthentication]{
				peerAuthenticationInNamespace: {
					table: PeerAuthenticationsInNamespace, ids: func(p *model.PeerAuthentication) []string { return []string{p.Ref.Namespace} },
				},
			},
		}),
	}
}

// nameOnly is the part of a row that an index of names shows: nothing.
func nameOnly[T any](*T) any { return nil }

func refID(r model.Ref) string { return r.Kind + "/" + r.InCluster().String() }

// nodeID puts a cluster before the name of one of its nodes; it has no namespace to tell them apart by.
func nodeID(cluster, name string) string { return within(cluster, name) }

// within says that what is named is of another cluster or network than the control plane's own.
func within(where, id string) string {
	if where == "" {
		return id
	}
	return where + "/" + id
}

// serviceID tells apart the hosts of one ServiceEntry, and objects of two kinds that share a name.
func serviceID(s *model.Service) string { return refID(s.Origin) + "/" + string(s.Host) }

func singleAddresses(s *model.Service) []string {
	var out []string
	for _, p := range s.VIPs {
		if p.IsSingleIP() {
			out = append(out, addressID(p.Addr()))
		}
	}
	return unique(out)
}

func ranges(s *model.Service) []string {
	if slices.ContainsFunc(s.VIPs, func(p netip.Prefix) bool { return !p.IsSingleIP() }) {
		return []string{All}
	}
	return nil
}

func withoutAddress(s *model.Service) []string {
	if wantsAutoAddress(s) {
		return []string{All}
	}
	return nil
}

func byNameAlone(s *model.Service) []string {
	if len(s.VIPs) == 0 && s.Origin.Kind == "ServiceEntry" {
		return []string{All}
	}
	return nil
}

func podsOf(s *model.Slice) []string {
	var out []string
	for i := range s.Endpoints {
		if pod := s.Endpoints[i].Pod; pod.Name != "" {
			out = append(out, pod.String())
		}
	}
	return unique(out)
}

func addressesOf(s *model.Slice) []string {
	var out []string
	for i := range s.Endpoints {
		for _, a := range s.Endpoints[i].Addresses {
			out = append(out, within(s.Network, addressID(a)))
		}
	}
	return unique(out)
}

func addressIDs(network string, addrs []netip.Addr) []string {
	out := make([]string, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, within(network, addressID(a)))
	}
	return unique(out)
}

// addressID spells an IPv4 address one way, however it came in.
func addressID(a netip.Addr) string { return a.Unmap().WithZone("").String() }

func hostIDs(hosts []model.Hostname) []string {
	out := make([]string, 0, len(hosts))
	for _, h := range hosts {
		out = append(out, string(h))
	}
	return unique(out)
}

func unique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
