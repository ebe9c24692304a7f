package traffic

import (
	"cmp"
	"strings"
)

// Direction says on which side of its edge a reporting sidecar is.
type Direction uint8

// The directions.
const (
	// Outbound edges lead from the reporter's workload to the peer.
	Outbound Direction = iota + 1
	// Inbound edges lead from the peer to the reporter's workload.
	Inbound
)

// String is the word for it in JSON.
func (d Direction) String() string {
	switch d {
	case Outbound:
		return "outbound"
	case Inbound:
		return "inbound"
	}
	return "unknown"
}

// The values of Edge.Protocol.
const (
	HTTP = "http"
	GRPC = "grpc"
	TCP  = "tcp"
)

// The values of Edge.NoTLS, as "linkerd viz edges" prints them (linkerd2 viz/cmd/edges.go).
const (
	// Disabled means that a policy of the caller's namespace turned mutual TLS off.
	Disabled = "Disabled"
	// NotProvidedByRemote means that a caller came in plaintext: it is not in the mesh.
	NotProvidedByRemote = "Not Provided By Remote"
	// NotProvidedByServiceDiscovery means that the called endpoint has no sidecar.
	NotProvidedByServiceDiscovery = "Not Provided By Service Discovery"
	// Loopback means that the workload called itself.
	Loopback = "Loopback"
	// Unknown is a reason that this program does not know.
	Unknown = "Unknown"
)

// Edge is what tells apart the calls that a sidecar counts. The reporter's own side is not in it: the control plane knows
// that from the reporter's token. What is not known is empty.
type Edge struct {
	Direction Direction `json:"-"`
	Peer      Peer      `json:"peer"`
	// Service is what was called, "name.namespace", or a host outside the cluster.
	Service string `json:"service,omitempty"`
	// Route and Backend are the names of the rule and of the group of endpoints that were chosen.
	Route   string `json:"route,omitempty"`
	Backend string `json:"backend,omitempty"`
	// Protocol is HTTP, GRPC or TCP.
	Protocol string `json:"protocol"`
	// NoTLS says why the hop is not secured by the mesh; empty where it is, and where no endpoint was reached.
	NoTLS string `json:"noTls,omitempty"`
}

// Peer is the other side of an edge.
type Peer struct {
	// Cluster is the cluster that its pod is of. A sidecar says it of peers that it knows, as it was told; the control plane, who says
	// it of others too, has the last word, and says nothing where the mesh has one cluster only.
	Cluster   string `json:"cluster,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	// Workload is the name of what owns the pod, such as a Deployment. Pod is empty where several were put together.
	Workload string `json:"workload,omitempty"`
	Pod      string `json:"pod,omitempty"`
	// Identity is the SPIFFE ID that the peer proved.
	Identity string `json:"identity,omitempty"`
	// Address is the IP of a peer whose workload is not known.
	Address string `json:"address,omitempty"`
}

// AccountOf gives the service account of which an identity is.
func AccountOf(identity string) (namespace, name string, ok bool) {
	_, rest, found := strings.Cut(identity, "/ns/")
	namespace, name, ok = strings.Cut(rest, "/sa/")
	return namespace, name, found && ok
}

// IsNone reports whether there was no peer: no endpoint was reached.
func (p *Peer) IsNone() bool { return *p == Peer{} }

// OtherName is what stands for the peers, services and routes of calls that were counted together because a bound was
// reached.
const OtherName = "other"

// Merged is the edge without what tells pods of a workload apart.
func (e *Edge) Merged() Edge {
	m := *e
	m.Peer.Pod = ""
	if m.Peer.Workload == "" && m.Peer.Address != "" {
		m.Peer.Address = OtherName
	}
	return m
}

// Other is the edge that stands for all others of the same direction and protocol.
func (e *Edge) Other() Edge {
	return Edge{Direction: e.Direction, Protocol: e.Protocol, NoTLS: e.NoTLS, Service: OtherName, Peer: Peer{Workload: OtherName}}
}

// IsOther reports whether the edge stands for several that were cut.
func (e *Edge) IsOther() bool { return e.Peer.Workload == OtherName && e.Service == OtherName }

// Compare orders edges, for output that stays the same.
func (e *Edge) Compare(o *Edge) int {
	return cmp.Or(
		cmp.Compare(e.Direction, o.Direction), cmp.Compare(e.Peer.Cluster, o.Peer.Cluster), cmp.Compare(e.Peer.Namespace, o.Peer.Namespace), cmp.Compare(e.Peer.Workload, o.Peer.Workload),
		cmp.Compare(e.Peer.Pod, o.Peer.Pod), cmp.Compare(e.Peer.Address, o.Peer.Address), cmp.Compare(e.Service, o.Service),
		cmp.Compare(e.Route, o.Route), cmp.Compare(e.Backend, o.Backend), cmp.Compare(e.Protocol, o.Protocol),
		cmp.Compare(e.NoTLS, o.NoTLS), cmp.Compare(e.Peer.Identity, o.Peer.Identity),
	)
}
