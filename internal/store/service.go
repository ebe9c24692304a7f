package store

import (
	"net/netip"
	"slices"

	"fairlead.dev/fairlead/internal/model"
)

// The table of services, with what an ID is in each index.
const (
	// Services is keyed by origin and host; readers list it as a whole only.
	Services               Table = "services"
	ServicesByHost         Table = "services-by-host"
	ServicesByKey          Table = "services-by-key"     // "namespace/name"
	ServicesByOrigin       Table = "services-by-origin"  // "Kind/namespace/name" of the object that defines them
	ServicesByAddress      Table = "services-by-address" // a single address; prefixes are under ServicesByRange
	ServicesByRange        Table = "services-by-range"   // "": all services that have a prefix longer than one address
	ServicesWithoutAddress Table = "services-without-address"
	ServicesOfPartial      Table = "services-of-partial"    // "": all whose host is a wildcard inside a label
	ServicesByNameAlone    Table = "services-by-name-alone" // "": all hosts of ServiceEntries that have no address of their own
	NetworkGateways        Table = "network-gateways"       // "": all by which a network is called from others
)

func services() tableState { //nolint:ireturn // of whatever type
	return define(schema[model.Service]{
		table: Services, id: serviceID,
		indexes: []index[model.Service]{
			{table: ServicesByHost, ids: func(s *model.Service) []string { return []string{string(s.Host)} }},
			{table: ServicesByKey, ids: func(s *model.Service) []string { return []string{s.Key.String()} }},
			{table: ServicesByOrigin, ids: func(s *model.Service) []string { return []string{refID(s.Origin)} }},
			{table: ServicesByAddress, ids: singleAddresses},
			{table: ServicesByRange, ids: ranges},
			{table: ServicesWithoutAddress, ids: withoutAddress},
			{table: ServicesByNameAlone, ids: byNameAlone},
			{table: NetworkGateways, ids: ofGateway},
			{table: ServicesOfPartial, ids: func(s *model.Service) []string { return ofPartial(s.Host) }, part: func(s *model.Service) any { return s.Host }},
		},
	})
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

func ofGateway(s *model.Service) []string {
	if s.Gateway != nil {
		return []string{All}
	}
	return nil
}

// SetServices puts the services that the object origin defines in place of those it defined before; none removes
// them. Every service's Origin is set to origin.
//
// A Service of another cluster is a host only where the control plane's own cluster has none of its name.
func (tx *Txn) SetServices(origin model.Ref, defined ...model.Service) {
	if origin.Cluster != "" {
		tx.setRemoteService(origin, defined)
		return
	}
	keep := make(map[string]bool, len(defined))
	for _, s := range defined {
		s.Origin = origin
		keep[serviceID(&s)] = true
		to[model.Service](tx).set(&s)
	}
	for _, old := range to[model.Service](tx).by(ServicesByOrigin, refID(origin)) {
		if id := serviceID(old); !keep[id] {
			to[model.Service](tx).remove(id)
		}
	}
	if origin.Kind == "Service" {
		tx.adopt(origin.Key)
	}
}

// ServicesByHost lists the services that define exactly this host, or exactly this wildcard.
func (r *Reader) ServicesByHost(h model.Hostname) []*model.Service {
	return By[model.Service](r, ServicesByHost, string(h))
}

// ServicesByKey lists the services of this name: a Kubernetes Service, the hosts of a ServiceEntry.
func (r *Reader) ServicesByKey(k model.Key) []*model.Service {
	return By[model.Service](r, ServicesByKey, k.String())
}

// ServicesByAddress lists the services that have exactly this address.
func (r *Reader) ServicesByAddress(a netip.Addr) []*model.Service {
	id := addressID(a)
	return By[model.Service](r, ServicesByAddress, id)
}

// ServicesByRange lists all services that have a prefix longer than one address: there are few.
func (r *Reader) ServicesByRange() []*model.Service {
	return By[model.Service](r, ServicesByRange, All)
}

// ServicesByNameAlone lists the hosts of ServiceEntries that have no address of their own: there are few.
func (r *Reader) ServicesByNameAlone() []*model.Service {
	return By[model.Service](r, ServicesByNameAlone, All)
}

// Gateways lists all services of all clusters by which a network is called from others: there are few.
func Gateways(r *Reader) []*model.Service {
	out := By[model.Service](r, NetworkGateways, All)
	for _, s := range By[RemoteService](r, RemoteGateways, All) {
		out = append(out, &s.Service)
	}
	return out
}

// ServicesOf lists the services that an object defines.
func ServicesOf(r *Reader, origin model.Ref) []*model.Service {
	return By[model.Service](r, ServicesByOrigin, refID(origin))
}
