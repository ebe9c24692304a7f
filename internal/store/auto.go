package store

import (
	"cmp"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// The table of automatic addresses, and its index.
const (
	AutoAddresses   Table = "auto-addresses"    // "namespace/host": the automatic addresses of a service
	AutoAddressesAt Table = "auto-addresses-at" // an address: the service it was given to
)

func autoAddresses() tableState { //nolint:ireturn // of whatever type
	return define(schema[autoAddress]{
		table: AutoAddresses, id: func(a *autoAddress) string { return a.ID },
		indexes: []index[autoAddress]{
			{table: AutoAddressesAt, ids: func(a *autoAddress) []string { return []string{a.V4.String(), a.V6.String()} }},
		},
	})
}

// autoAddress are the automatic addresses of one host of one namespace.
type autoAddress struct {
	ID        string // "namespace/host"
	Namespace string
	Host      model.Hostname
	V4, V6    netip.Addr
}

// AutoAddress is an address of 240.240.0.0/16 or of 2001:2::/48 that stands for the host of a ServiceEntry without addresses.
type AutoAddress struct {
	Namespace string
	Host      model.Hostname
	Addr      netip.Addr
}

// Last octets run from 1 to 254: Istio never gives out .0 and .255, some clients take them for network addresses.
const (
	autoHosts = 254
	autoSlots = 256 * autoHosts
)

// wantsAutoAddress reports whether DNS could not answer for s otherwise: a ServiceEntry host that names one host,
// whose endpoints the proxy knows or finds, and that has no address of its own. Of Services that is one which only other
// clusters have, and a mirror that has none. What clusters have exported keeps its automatic address when it gets one from the
// cluster: an app may have been told the former a moment before.
func wantsAutoAddress(s *model.Service) bool {
	switch s.Resolution {
	case model.ResolveStatic, model.ResolveDNS, model.ResolveDNSRoundRobin:
		return len(s.VIPs) == 0 && !s.Headless && !s.Host.Wildcard() && s.ExternalName == ""
	case model.ResolveSlices:
		return (s.Origin.Cluster != "" || s.Imported() || s.Mirror != nil && len(s.VIPs) == 0) && !s.Headless
	case model.ResolveNone, model.ResolveDynamicDNS:
		return false
	}
	return false
}

type autoClaim struct {
	id        string
	namespace string
	host      model.Hostname
	since     time.Time
}

// assignAuto gives every claim its addresses: the slot that the hash of "namespace/host" points at, or the next free
// one. Claims are served oldest first, then by name, so the result is a function of the set alone: every replica
// and every restart computes the same, in whichever order objects arrived, and a new ServiceEntry never moves an
// older one. Only deleting an entry can move a younger one that collided with it (with 1,000 entries about 8 of
// them collide with any other). More than 65,024 claims get none.
func assignAuto(services []*model.Service) []*autoAddress {
	claims := autoClaims(services)
	taken := make(map[uint32]bool, len(claims))
	out := make([]*autoAddress, 0, len(claims))
	for _, c := range claims[:min(len(claims), autoSlots)] {
		slot := autoSlot(c.id)
		for taken[slot] {
			slot = (slot + 1) % autoSlots
		}
		taken[slot] = true
		out = append(out, &autoAddress{ID: c.id, Namespace: c.namespace, Host: c.host, V4: autoV4(slot), V6: autoV6(slot)})
	}
	return out
}

// autoClaims merges the services that share namespace and host and puts the claims in order.
func autoClaims(services []*model.Service) []autoClaim {
	byID := make(map[string]autoClaim, len(services))
	for _, s := range services {
		id := autoID(s.Key.Namespace, s.Host)
		c, ok := byID[id]
		if !ok || s.CreatedAt.Before(c.since) {
			byID[id] = autoClaim{id: id, namespace: s.Key.Namespace, host: s.Host, since: s.CreatedAt}
		}
	}
	claims := make([]autoClaim, 0, len(byID))
	for _, c := range byID {
		claims = append(claims, c)
	}
	slices.SortFunc(claims, func(a, b autoClaim) int {
		return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.id, b.id))
	})
	return claims
}

func autoID(namespace string, host model.Hostname) string { return namespace + "/" + string(host) }

func autoSlot(id string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // a hash never fails
	return h.Sum32() % autoSlots
}

func autoV4(slot uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{240, 240, byte(slot / autoHosts), byte(slot%autoHosts) + 1})
}

// autoV6 is of Istio's range, the one for benchmarks (RFC 5180 §8), which no network routes.
func autoV6(slot uint32) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 3: 0x02, 14: byte(slot / autoHosts), 15: byte(slot%autoHosts) + 1})
}

// assignAutoAddresses gives addresses anew where the set of services that need one has changed.
func (tx *Txn) assignAutoAddresses() {
	if !tx.changed.Has(Key{ServicesWithoutAddress, All}) {
		return
	}
	gone := make(map[string]bool)
	for _, row := range in[autoAddress](tx.base).all() {
		gone[row.ID] = true
	}
	for _, row := range assignAuto(to[model.Service](tx).by(ServicesWithoutAddress, All)) {
		delete(gone, row.ID)
		to[autoAddress](tx).set(row)
	}
	for id := range gone {
		to[autoAddress](tx).remove(id)
	}
}

// AutoAddress gives the automatic addresses of a host, one of each family, if it has them.
func (r *Reader) AutoAddress(namespace string, h model.Hostname) ([]netip.Addr, bool) {
	id := autoID(namespace, h)
	r.note(AutoAddresses, id)
	a, ok := in[autoAddress](r.state).get(id)
	if !ok {
		return nil, false
	}
	return []netip.Addr{a.V4, a.V6}, true
}

// AutoAddressAt gives the host to which an automatic address was given.
func (r *Reader) AutoAddressAt(addr netip.Addr) (AutoAddress, bool) {
	id := addressID(addr)
	rows := By[autoAddress](r, AutoAddressesAt, id)
	if len(rows) == 0 {
		return AutoAddress{}, false
	}
	return AutoAddress{Namespace: rows[0].Namespace, Host: rows[0].Host, Addr: addr.Unmap()}, true
}
