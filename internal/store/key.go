package store

import (
	"cmp"
	"slices"
	"strconv"
)

// Table names one way to look values up: a table by its own key, or one of its indexes.
type Table uint8

// The tables and indexes, with what an ID is in each. The zero value is invalid.
const (
	// Services is keyed by origin and host; readers list it as a whole only.
	Services Table = iota + 1
	ServicesByHost
	ServicesByKey // "namespace/name"
	// ServicesByOrigin is keyed by Ref; commits use it, readers do not.
	ServicesByOrigin
	ServicesByAddress // a single address; prefixes are under ServicesByRange
	ServicesByRange   // "": all services that have a prefix longer than one address
	ServicesWithoutAddress
	ServicesByNameAlone // "": all hosts of ServiceEntries that have no address of their own
	AutoAddresses       // "namespace/host": the automatic address of a service
	AutoAddressesAt     // an address: the service it was given to
	Slices              // "[cluster/]namespace/name", as SliceShapes, pods and Workloads
	SliceShapes
	SlicesOfService // "namespace/name" of the service: the names of its slices, not their content
	SlicesOfPod     // the pod: the names of slices, not their content
	SlicesAtAddress // "[network/]address" of an endpoint: the names of slices, not their content
	Workloads
	WorkloadsAtAddress   // "[network/]address"
	WorkloadsInNamespace // the names, not the content
	WorkloadHundreds     // a namespace: how many workloads it has, in hundreds
	Nodes                // "[cluster/]name"
	Namespaces
	RouteSets // "Kind/namespace/name"
	RouteSetsByHost
	Policies // "Kind/namespace/name"
	PoliciesByHost
	PeerAuthentications // "Kind/namespace/name"
	PeerAuthenticationsInNamespace
)

// String gives the name that debug output uses.
func (t Table) String() string {
	names := [...]string{
		Services: "services", ServicesByHost: "services-by-host", ServicesByKey: "services-by-key",
		ServicesByOrigin: "services-by-origin", ServicesByAddress: "services-by-address",
		ServicesByRange: "services-by-range", ServicesWithoutAddress: "services-without-address",
		ServicesByNameAlone: "services-by-name-alone",
		AutoAddresses:       "auto-addresses", AutoAddressesAt: "auto-addresses-at",
		Slices: "slices", SliceShapes: "slice-shapes", SlicesOfService: "slices-of-service",
		SlicesOfPod: "slices-of-pod", SlicesAtAddress: "slices-at-address",
		Workloads: "workloads", WorkloadsAtAddress: "workloads-at-address",
		WorkloadsInNamespace: "workloads-in-namespace", WorkloadHundreds: "workload-hundreds",
		Nodes: "nodes", Namespaces: "namespaces",
		RouteSets: "route-sets", RouteSetsByHost: "route-sets-by-host",
		Policies: "policies", PoliciesByHost: "policies-by-host",
		PeerAuthentications: "peer-authentications", PeerAuthenticationsInNamespace: "peer-authentications-in-namespace",
	}
	if t == 0 || int(t) >= len(names) {
		return "table-" + strconv.Itoa(int(t))
	}
	return names[t]
}

// Key is one thing that can be read. The ID All stands for a table as a whole.
type Key struct {
	Table Table
	ID    string
}

// All is the ID of a read of a whole table: it changes with every row.
const All = ""

// String gives "table/id".
func (k Key) String() string { return k.Table.String() + "/" + k.ID }

// Compare orders keys by table, then ID.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Table, o.Table), cmp.Compare(k.ID, o.ID))
}

// Changed is the set of keys that a commit touched. It is not changed once handed out.
type Changed map[Key]struct{}

// Has reports whether k was touched.
func (c Changed) Has(k Key) bool {
	_, ok := c[k]
	return ok
}

// Any reports whether one of keys was touched.
func (c Changed) Any(keys []Key) bool { return slices.ContainsFunc(keys, c.Has) }

// Keys lists the set in order.
func (c Changed) Keys() []Key {
	keys := make([]Key, 0, len(c))
	for k := range c {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, Key.Compare)
	return keys
}
