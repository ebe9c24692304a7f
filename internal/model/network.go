package model

import (
	"net/netip"
	"slices"
)

// GatewayPortLabel says at which port of its Service a gateway between networks listens, DefaultGatewayPort where it does not. It
// may be an annotation too.
const GatewayPortLabel = "networking.istio.io/gatewayPort"

// DefaultGatewayPort is Istio's.
const DefaultGatewayPort = 15443

// NetworkGateway is a Service by which a network is called from others (LabelNetwork on a Service).
type NetworkGateway struct {
	Network string
	Port    uint16
	// NodePort is at which port of the nodes it listens that run its pods, where it is called by those; 0 where it is not.
	NodePort uint16
}

// MeshNetworks is what the mesh's settings say of networks, besides labels.
type MeshNetworks []MeshNetwork

// MeshNetwork is one of them.
type MeshNetwork struct {
	Name string
	// Clusters are those that are in it, Prefixes the addresses of what is in it where nothing else says it.
	Clusters []string
	Prefixes []netip.Prefix
	Gateways []MeshGateway
}

// MeshGateway is where a network is called from others: at an address, or at those that a Service has outside its cluster.
type MeshGateway struct {
	Address netip.Addr // invalid where Service is set
	Service Hostname
	Port    uint16
}

// OfCluster gives the network of a cluster, empty where nothing says it.
func (m MeshNetworks) OfCluster(cluster string) string {
	for i := range m {
		if slices.Contains(m[i].Clusters, cluster) {
			return m[i].Name
		}
	}
	return ""
}

// OfAddress gives the network that an address is in, that of the longest prefix, empty where nothing says it.
func (m MeshNetworks) OfAddress(a netip.Addr) string {
	best, bits := "", -1
	for i := range m {
		for _, p := range m[i].Prefixes {
			if p.Contains(a.Unmap()) && p.Bits() > bits {
				best, bits = m[i].Name, p.Bits()
			}
		}
	}
	return best
}
