package model

import (
	"net/netip"
	"slices"
	"time"
)

// Protocol is what a port carries, as declared. The zero value means "not declared": the proxy detects it.
type Protocol uint8

// The protocols. Undeclared is a valid value: it asks for detection.
const (
	Undeclared Protocol = iota
	HTTP
	HTTP2
	GRPC
	GRPCWeb
	TLS
	TCP
	UDP
)

// String gives Istio's spelling of the protocol.
func (p Protocol) String() string {
	switch p {
	case Undeclared:
		return "auto"
	case HTTP:
		return "HTTP"
	case HTTP2:
		return "HTTP2"
	case GRPC:
		return "GRPC"
	case GRPCWeb:
		return "GRPC-Web"
	case TLS:
		return "TLS"
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	}
	return "invalid"
}

// Service is a name that apps call: a Kubernetes Service or one host of a ServiceEntry.
type Service struct {
	Key    Key
	Origin Ref
	Host   Hostname
	Ports  []ServicePort
	// VIPs are the addresses that clients dial: cluster IPs, or a ServiceEntry's addresses. Empty for headless
	// Services and for ServiceEntries without addresses (compile gives those an automatic one).
	VIPs []netip.Prefix
	// DualStack Services are of both address families: an endpoint is called by either of its addresses.
	DualStack bool
	// Headless Services have no VIP: DNS answers with the endpoints' own addresses.
	Headless bool
	// External is set for ServiceEntry location MESH_EXTERNAL: no mesh mTLS is attempted.
	External   bool
	Resolution Resolution
	// ExternalName is the CNAME of a Service of type ExternalName.
	ExternalName Hostname
	// Selector picks the pods behind the Service, by label; for a ServiceEntry its workloadSelector.
	Selector map[string]string
	// Endpoints are written out in a ServiceEntry; for Services they come as Slices.
	Endpoints       []StaticEndpoint
	PublishNotReady bool
	// SessionAffinity is ClientIP: all calls of one client go to one endpoint while that is healthy.
	SessionAffinity bool
	// AffinityTimeout is how long a client keeps its endpoint without calling; 0 = always. It says nothing without SessionAffinity.
	AffinityTimeout time.Duration
	// LB is that of LoadBalancerAnnotation. It goes before SessionAffinity, for it is the mesh's.
	LB LBKind
	// HashBalance is that of HashBalanceAnnotation, for callers whose DestinationRule has none.
	HashBalance uint32
	// Outlier is what its annotations say; nil for nothing. A DestinationRule goes before it.
	Outlier *OutlierDetection
	// Linkerd is what its annotations say of retries and times, for routes that say nothing of them.
	Linkerd LinkerdPolicy
	// Session keeps the calls of a client to the Service together where its route says nothing of it; nil for no sessions.
	Session *SessionPersistence
	// Proximity is internalTrafficPolicy and trafficDistribution in one; the former leaves nothing to the latter.
	Proximity          Proximity
	ExportTo           []string
	SubjectAltNames    []string
	CreatedAt          time.Time
	ResourceGeneration int64
	// Gateway is set for a Service by which its network is called from others.
	Gateway *NetworkGateway
	// OutsideAddrs are those at which it is called from outside its cluster: of its load balancer, and spec.externalIPs.
	OutsideAddrs []netip.Addr
	// Mirror is set for a Service whose endpoints are those of Services of other clusters.
	Mirror *MirrorOf
	// MadeHere is set for a mirror that the control plane has made itself.
	MadeHere bool
	// Federated is set for a Service that is part of the union of those of its name in several clusters.
	Federated bool
	// Consul is set for a Service that is to be in the catalog of a Consul.
	Consul *ConsulEntry
	// Facts are for imports of the Service by other clusters.
	Facts ServiceFacts
	// Clusters are those whose slices count, the control plane's own by an empty name: of what clusters have exported. Nil is
	// all.
	Clusters []string
}

// Counts reports whether a slice of the Service's name is one of the Service.
func (s *Service) Counts(slice ClusterKey) bool {
	return s.Clusters == nil || slices.Contains(s.Clusters, slice.Cluster)
}

// Imported reports whether it is what clusters have exported, rather than an object.
func (s *Service) Imported() bool { return s.Origin.Kind == ServiceImportKind }

// Resolution says how a Service's endpoints are found.
type Resolution uint8

// The resolutions. ResolveSlices is the one of Kubernetes Services; the others are a ServiceEntry's.
const (
	ResolveSlices Resolution = iota + 1
	ResolveNone
	ResolveStatic
	ResolveDNS
	ResolveDNSRoundRobin
	ResolveDynamicDNS
)

// String gives Istio's cluster type for the resolution, as proxy-config prints it.
func (r Resolution) String() string {
	switch r {
	case ResolveSlices:
		return "EDS"
	case ResolveNone:
		return "ORIGINAL_DST"
	case ResolveStatic:
		return "STATIC"
	case ResolveDNS:
		return "STRICT_DNS"
	case ResolveDNSRoundRobin:
		return "LOGICAL_DNS"
	case ResolveDynamicDNS:
		return "DFP"
	}
	return "unset"
}

// ServicePort is one port of a Service. TargetName is set where targetPort is a name of a container port;
// otherwise TargetPort is the number (equal to Port where nothing was written).
type ServicePort struct {
	Name       string
	Port       uint16
	TargetPort uint16
	TargetName string
	Protocol   Protocol
}

// StaticEndpoint is an endpoint written in a ServiceEntry, or as a WorkloadEntry. Exactly one of Address, DNS and Unix is set.
type StaticEndpoint struct {
	Name           string // of its WorkloadEntry; none where it stands in a ServiceEntry
	Address        netip.Addr
	DNS            Hostname
	Unix           string // the path of a socket of the caller's, see IsSocketPath
	Ports          map[string]uint16
	Labels         map[string]string
	Network        string
	Locality       Locality
	Weight         uint32
	ServiceAccount string
	Unhealthy      bool // says who checks it
}

// Proximity says which endpoints of a Service are called, by where they run as seen from the caller.
type Proximity uint8

// The proximities. The zero value makes no difference between near and far.
const (
	AnyDistance Proximity = iota
	// PreferSameZone: endpoints in the caller's zone while there is a healthy one, then all.
	PreferSameZone
	// PreferSameNode: endpoints on the caller's node while there is a healthy one, then those in its zone, then all.
	PreferSameNode
	// OnlySameNode: endpoints on the caller's node and no others (internalTrafficPolicy: Local).
	OnlySameNode
)

// String gives the words of a Service: the value of trafficDistribution, or "Local", that of internalTrafficPolicy.
func (p Proximity) String() string {
	switch p {
	case AnyDistance:
		return "Any"
	case PreferSameZone:
		return "PreferSameZone"
	case PreferSameNode:
		return "PreferSameNode"
	case OnlySameNode:
		return "Local"
	}
	return "invalid"
}

// Slice is one EndpointSlice: some endpoints of one Service that share a port list. Network is where their addresses
// mean something, empty for the control plane's own.
type Slice struct {
	Key       ClusterKey
	Network   string
	Service   Key
	Ports     []SlicePort
	Endpoints []SliceEndpoint
}

// SlicePort is one port of a Slice; Name pairs it with the ServicePort of that name.
type SlicePort struct {
	Name     string
	Port     uint16
	Protocol Protocol
}

// SliceEndpoint is one endpoint of a Slice. Pod is the target's key, empty where the endpoint is no pod.
type SliceEndpoint struct {
	Addresses                   []netip.Addr
	Ready, Serving, Terminating bool
	Pod                         ClusterKey
	Hostname                    string
	Node                        string
	Zone                        string
	// ForZones are the zones whose callers the endpoint is for, by the slice's hints.
	ForZones []string
}

// Workload is one pod (or VM) and what the mesh must know of it.
type Workload struct {
	Key            ClusterKey
	Network        string // of its addresses, as in Slice
	IPs            []netip.Addr
	Labels         map[string]string
	Annotations    map[string]string // only the mesh's own: fairlead.dev/, sidecar.istio.io/, traffic.sidecar.istio.io/, …
	ServiceAccount string
	Node           string
	// HostIP is the address of its node.
	HostIP netip.Addr
	// Locality is what a label of its own says, before the node's.
	Locality Locality
	// OwnerKind and OwnerName name the controlling workload ("Deployment", "users-service-v1"), the pod itself
	// where there is none.
	OwnerKind, OwnerName string
	// CanonicalName and CanonicalRevision are what telemetry calls the workload: Istio's labels service.istio.io/*,
	// or the usual app and version labels, or OwnerName and "latest".
	CanonicalName, CanonicalRevision string
	// Ports are the declared container ports by name; they resolve named target ports.
	Ports map[string]uint16
	// Meshed is set where a sidecar was injected: peers may speak mesh mTLS to it.
	Meshed bool
	// Agent is set where an agent was injected in the place of a sidecar: the app has the workload's certificate, and its
	// gRPC servers may end mutual TLS themselves.
	Agent       bool
	HostNetwork bool
	Terminating bool
	// Grace is how long a terminating pod may take, from the deletion to the kill; 0 where it is not terminating.
	Grace time.Duration
	// Checks are what its health checks have found, as written into its status; CheckGates the policies that one of its
	// readiness gates names.
	Checks     []CheckResult
	CheckGates []string
	// Well is set where the pod's containers were ready and its readiness gates passed when its kubelet last spoke. That
	// the pod is called not ready all the same means that its node is silent (kubernetes pkg/controller/nodelifecycle,
	// MarkPodsNotReady), or that the news of one of the two is still under way.
	Well bool
	// CreatedAt is zero where nothing says it.
	CreatedAt time.Time
}

// Node carries the locality of the pods on it.
type Node struct {
	Cluster  string // empty for the control plane's own
	Name     string
	Locality Locality
	// Network is that of the pods on it that say nothing of theirs, by a label.
	Network string
}

// Namespace carries the labels that select it.
type Namespace struct {
	Cluster     string // empty for the control plane's own
	Name        string
	Labels      map[string]string
	Annotations map[string]string
}
