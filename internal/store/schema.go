package store

import (
	"net/netip"
	"slices"

	"fairlead.dev/fairlead/internal/model"
)

// definitions lists the tables, all of them empty. A kind of configuration has its place in [configuration].
func definitions() []tableState {
	return append(configuration(), services(), remoteServices(), remoteClusters(), autoAddresses(), endpointSlices(), workloads(), sharedAddresses(), nodes(), namespaces(), podHealth(), endpointHealth(), podProbes())
}

// nameOnly is the part of a row that an index of names shows: nothing.
func nameOnly[T any](*T) any { return nil }

// within says that what is named is of another cluster or network than the control plane's own.
func within(where, id string) string {
	if where == "" {
		return id
	}
	return where + "/" + id
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
