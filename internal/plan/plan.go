package plan

import (
	"net/netip"
	"slices"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// Resource is any value of this package that has a name on the wire.
type Resource interface {
	// ResourceName is the canonical name, see the package comment.
	ResourceName() string
}

// Encoded is a resource ready to be sent on some wire. It is immutable and shared by all clients.
type Encoded struct {
	// Name is canonical. Version is a hash of Body: equal bodies have equal versions on every replica.
	Name, Version string
	Body          []byte
	// Patch makes Body of the version Base, for those who have that one; nil where nothing does.
	Base  string
	Patch []byte
}

// Destination is everything needed to carry calls to one host and port.
type Destination struct {
	Name string
	Host model.Hostname
	Port uint16
	// Service is the object behind the host: the labels destination_service_name and _namespace.
	Service  model.Key
	Protocol model.Protocol
	// Routes are tried in order, the first whose Matches hold decides. Where none holds the answer is 404 (NR).
	// A host without routes of its own has one that matches everything.
	Routes []Route
	// TCP routes decide for connections that are not HTTP; the first that matches.
	TCP []TCPRoute
	// Backends is what routes refer to by index.
	Backends []Backend
	// Selected take the places of Backends where the caller has the labels that a DestinationRule's workloadSelector asks for.
	// For tells which.
	Selected []SelectedBackend
	// Addresses are the VIPs of the host; proxy-config prints them.
	Addresses []netip.Addr
	// Seal names the Seal of the routes that keep sessions; empty where none does.
	Seal string
}

// ResourceName implements Resource.
func (d *Destination) ResourceName() string { return d.Name }

// Backend is a group of endpoints called with one policy: Envoy's cluster.
type Backend struct {
	// Name is Istio's cluster name: "outbound|8080|v1|users-service.myapp.svc.cluster.local".
	Name   string
	Host   model.Hostname
	Port   uint16
	Subset string
	// Service labels metrics where the backend is another service than the destination.
	Service model.Key
	// Rule names the DestinationRules in force as they are merged ("users-service.myapp,users-tls.myapp"), empty where there is none.
	Rule string
	// Resolution says where endpoints come from: for ResolveNone the address that the app dialled is the only one. It is
	// unset where nothing is behind the reference. For ResolveDynamicDNS they are those of the host that a call names.
	Resolution model.Resolution
	// Missing says why there is nothing behind the reference, naming object and field; calls fail at once with
	// it. 503 NC for Istio's routes, 500 for Gateway API's (MissingStatus).
	Missing       string
	MissingStatus int
	// Shards names the EndpointShards that together hold the endpoints. Subset filters them.
	Shards []string
	// DNS holds names to resolve in the proxy (ServiceEntry resolution DNS). For ResolveDynamicDNS it is one, the wildcard, and
	// says the port at which the hosts are.
	DNS []DNSEndpoint

	LB      model.LBKind
	Hash    model.HashPolicy // of RingHash and Maglev
	WarmUp  *model.WarmUp    // of LeastRequest and RoundRobin
	Load    *model.BackendUtilization
	Outlier *model.OutlierDetection
	TLS     model.TLSSettings
	// Credential and Roots name the Credentials that TLS needs of Secrets. Where TLS names a Secret and these are empty, callers
	// are not given it.
	Credential, Roots string

	model.ConnectionPool
	RetryBudget *model.RetryBudget // nil = the default
	// Tunnel is how connections are asked for, nil where bytes go as they are; TunnelHTTP2 has it be asked for in HTTP/2.
	Tunnel      *model.Tunnel
	TunnelHTTP2 bool
	// ProxyProtocol is the version of the PROXY protocol's header with which connections begin, 0 for none.
	ProxyProtocol uint32
	// UpgradeApps has Upgrade be for endpoints with a sidecar as well.
	UpgradeApps bool

	// Proximity limits the endpoints to those near the caller, or prefers them. The caller knows where it is. Locality, nil
	// for none, has precedence over what is but preferred.
	Proximity model.Proximity
	Locality  *model.LocalityLB
	// ClientAffinity sends all calls of one caller to one endpoint while that is healthy; LB says nothing then.
	ClientAffinity bool
	// AffinityTimeout is after how long without a call the caller is forgotten; 0 = never.
	AffinityTimeout time.Duration
}

// SelectedBackend is what a backend is to callers with certain labels.
type SelectedBackend struct {
	Backend uint16 // its place in Destination.Backends
	// Selector are the labels that a caller must have, none for every one. Of several for one place the first that holds counts.
	Selector map[string]string
	Value    Backend
}

// For gives the destination as a caller with these labels has to call it: what is Selected for it is among Backends. Where
// nothing is, that is d itself.
func (d *Destination) For(labels map[string]string) *Destination {
	out := d
	taken := make(map[uint16]bool)
	for i := range d.Selected {
		s := &d.Selected[i]
		if int(s.Backend) >= len(d.Backends) || taken[s.Backend] || !hasLabels(labels, s.Selector) {
			continue
		}
		if out == d {
			c := *d
			c.Backends = slices.Clone(d.Backends)
			out = &c
		}
		taken[s.Backend], out.Backends[s.Backend] = true, s.Value
	}
	return out
}

func hasLabels(labels, wanted map[string]string) bool {
	for k, v := range wanted {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// DNSEndpoint is an endpoint given by name.
type DNSEndpoint struct {
	Host     model.Hostname
	Port     uint16
	Weight   uint32
	Locality model.Locality
	Labels   []string // as an Endpoint's
	// Meshed, Mutual and Identity are as an Endpoint's, for every address of the name.
	Meshed, Mutual bool
	Identity       string
}

// Route is one HTTP rule, ready to be matched.
type Route struct {
	// Name is the user's; Origin names the object and field: "VirtualService myapp/users-service http[0]".
	Name, Origin string
	// Matches are alternatives; none means "always".
	Matches []model.HTTPMatch
	// Stats are what requests are counted under, one for each of Matches, "" for nothing; nil where all are.
	Stats []string
	// Exactly one of Redirect, Direct and Backends says what to do.
	Redirect *model.Redirect
	Direct   *model.DirectResponse
	Backends []WeightedBackend
	Rewrite  *model.Rewrite
	Headers  model.HeaderOps
	// Timeout bounds the whole exchange, BackendTimeout each try, ResponseTimeout as well, which is the last one where that is
	// over; 0 = none. IdleTimeout takes the place of Limits.StreamIdle.
	Timeout, BackendTimeout, ResponseTimeout, IdleTimeout time.Duration

	Retry   model.Retry
	Fault   *model.Fault
	Mirrors []Mirror
	// CORS is for the route's own answers as well; nil adds nothing to any.
	CORS *model.CORS
	// Session keeps the calls of a client together; nil for no sessions.
	Session *Session
}

// WeightedBackend refers to Destination.Backends. One of weight 0 gets no new sessions, and those that it has.
type WeightedBackend struct {
	Backend uint16
	Weight  uint32
	Headers model.HeaderOps
	Rewrite *model.Rewrite
}

// Mirror refers to Destination.Backends; Percent is 0 to 100.
type Mirror struct {
	Backend uint16
	Percent float64
}

// TCPRoute is one rule for connections.
type TCPRoute struct {
	Origin   string
	Matches  []model.TCPMatch
	Backends []WeightedBackend
}

// EndpointShard is the endpoints of one host and port that came from one EndpointSlice.
type EndpointShard struct {
	Name      string
	Endpoints []Endpoint
}

// ResourceName implements Resource.
func (s *EndpointShard) ResourceName() string { return s.Name }

// Health is what discovery knows of an endpoint.
type Health uint8

// The states, with proxy-config's words. The zero value is invalid.
const (
	Healthy Health = iota + 1
	Unhealthy
	// Draining endpoints finish what they have and get nothing new while others exist.
	Draining
	// Failing endpoints are ready and fail the checks of a HealthCheckPolicy: they get nothing new while others exist, the
	// draining ones included. Endpoint.Failure says why.
	Failing
)

// String gives Envoy's word.
func (h Health) String() string {
	switch h {
	case Healthy:
		return "HEALTHY"
	case Unhealthy:
		return "UNHEALTHY"
	case Draining:
		return "DRAINING"
	case Failing:
		return "FAILED_ACTIVE_HC"
	}
	return "UNKNOWN"
}

// Failure is why checks took an endpoint away.
type Failure struct {
	// Policy is the object that asks for the check ("HealthCheckPolicy shop/reviews"), Why the error of the check that
	// decided so.
	Policy, Why string
	// Since is when that was, in Unix seconds.
	Since int
}

// Endpoint is one host to call.
type Endpoint struct {
	Addr netip.AddrPort
	// Other is the address of the other family at which the same host is, at the same port; invalid where it has none.
	Other  netip.Addr
	Weight uint32 // 1 = normal
	Health Health
	// Failure says why Health is Failing, zero where it is not.
	Failure Failure
	// Meshed endpoints take the mesh transport on port 15008 under mTLS.
	Meshed bool
	// Mutual endpoints have no sidecar of the mesh and take mutual TLS, by certificates of the mesh, at Addr itself.
	Mutual   bool
	Locality model.Locality
	// Identity is the SPIFFE ID that the peer must prove, empty where unknown.
	Identity string
	Workload WorkloadInfo
	// Subsets are the names of the DestinationRule subsets that the endpoint belongs to, sorted.
	Subsets []string
	// Labels are the workload's, "name=value", sorted: those that a LocalityLB asks for.
	Labels []string
	// ForZones are the zones whose callers the endpoint is for: the hints of its EndpointSlice.
	ForZones []string
	// Stable pods are followed by pods of the same name, as those of a StatefulSet are.
	Stable bool
	// Network is where Addr means something, empty where it means the same to all callers. Callers of other networks reach the
	// endpoint by one of Gateways, or not at all where there is none.
	Network  string
	Gateways []Gateway
}

// Gateway is where a network is called from others.
type Gateway struct {
	Addr netip.Addr
	Port uint16
	// Weight is its share of the connections, beside that of others.
	Weight uint32
	// Host is what the gateway knows the endpoint's host as, empty where that is the name by which it is called.
	Host model.Hostname
}

// WorkloadInfo labels metrics and logs. Empty parts print as "unknown". Node is also what Proximity compares; it may be
// known where the rest is not.
type WorkloadInfo struct {
	Namespace, Pod, Name, App, Version string
	CanonicalName, CanonicalRevision   string
	Cluster, Node                      string
}

// Workload is what a proxy needs to know of a pod by its address: itself, or a peer.
type Workload struct {
	IP             netip.Addr
	Network        string // of the IP, empty for the control plane's own
	Key            model.Key
	IPs            []netip.Addr
	ServiceAccount string
	Identity       string
	Meshed         bool
	Locality       model.Locality
	Info           WorkloadInfo
	Labels         map[string]string
	// NetworkName is what Endpoint.Network calls the network that it is in, empty where nothing names it.
	NetworkName string
	// Inbound names the InboundPolicy of the workload.
	Inbound string
}

// ResourceName implements Resource.
func (w *Workload) ResourceName() string { return WorkloadName(w.Network, w.IP) }

// InboundPolicy is what a sidecar does for calls to its own workload.
type InboundPolicy struct {
	Name string
	// Ports are those that a Service points at or that have an mTLS mode of their own.
	Ports []InboundPort
	// MTLS is what every other port accepts, never unset.
	MTLS model.MTLSMode
	// MTLSOrigin names the object that says so ("PeerAuthentication myapp/default"), empty for the default.
	MTLSOrigin string
	// Leaving means that the workload was told to end. Grace is how long it may take, from then on.
	Leaving bool
	Grace   time.Duration
	// Checks are made of the workload by its own sidecar, each policy once.
	Checks []Check
	// Probes are made by the sidecar of endpoints that it calls and that have no sidecar.
	Probes []Probe
	// ClientTracing is for the requests of the app, ServerTracing for those to it. Nil means that nothing is done.
	ClientTracing, ServerTracing *Tracing
	// Telemetry is what is recorded of calls, of those that the workload makes as well; nil is the mesh's default.
	Telemetry *Telemetry
}

// Probe is a check of an endpoint that has no sidecar.
type Probe struct {
	// Policy is the HealthCheckPolicy, as "namespace/name".
	Policy string
	Addr   netip.Addr
	// How says what is done; its port is set.
	How model.HealthCheck
}

// Check is a check of the workload.
type Check struct {
	// Policy is the name of the HealthCheckPolicy, in the workload's namespace.
	Policy string
	// How says what is done; its port is set.
	How model.HealthCheck
}

// ResourceName implements Resource.
func (p *InboundPolicy) ResourceName() string { return p.Name }

// Port gives what is known of a port of the workload. One that is not among Ports has the policy's mTLS mode and a
// protocol to be detected.
func (p *InboundPolicy) Port(port uint16) InboundPort {
	for i := range p.Ports {
		if p.Ports[i].Port == port {
			return p.Ports[i]
		}
	}
	return InboundPort{Port: port, MTLS: p.MTLS, MTLSOrigin: p.MTLSOrigin}
}

// InboundPort is one port of the workload.
type InboundPort struct {
	Port     uint16 // the container's
	Protocol model.Protocol
	// MTLS and MTLSOrigin are as in InboundPolicy.
	MTLS       model.MTLSMode
	MTLSOrigin string
	// Service labels metrics of the destination reporter; it and Host are empty where no Service points at the port.
	Service model.Key
	Host    model.Hostname
	// Rule names the DestinationRule that Pool is of, "users-service.myapp", where one is in force for Service.
	Rule string
	Pool AppPool
}

// AppPool is what a called sidecar obeys of the connectionPool of its own Service: the limits of what the app has to do, and
// how connections to the app are made and kept. The fields are those of [model.ConnectionPool].
type AppPool struct {
	MaxConnections, MaxPendingRequests, MaxRequests        uint32
	MaxRequestsPerConnection, MaxConcurrentStreams         uint32
	ConnectTimeout, HTTPIdleTimeout, MaxConnectionDuration time.Duration
	KeepAlive                                              model.TCPKeepAlive
	Ping                                                   model.HTTP2KeepAlive
}

// DNSName answers one name. A name that is not ours has no resource: the proxy forwards the question.
type DNSName struct {
	Host model.Hostname
	// Addresses are A and AAAA answers; CNAME is set instead for ExternalName Services. Both empty means the
	// name exists without addresses of the asked family (NOERROR, no data).
	Addresses []netip.Addr
	CNAME     model.Hostname
	TTL       time.Duration
}

// ResourceName implements Resource.
func (n *DNSName) ResourceName() string { return DNSQuestion(n.Host) }

// TrustBundle is the set of roots, PEM, newest first, and whose certificates count among those that they signed.
type TrustBundle struct {
	TrustDomain string
	// Aliases are further trust domains whose workloads are peers; those of any other domain are strangers.
	Aliases []string
	Roots   []string
	// RootDomains are, at the places of Roots, the trust domains for which roots of others were given: each vouches for workloads of that
	// one alone. Empty, or beyond the end, are the mesh's own roots, which vouch for all of its trust domains.
	RootDomains []string
}

// ResourceName implements Resource.
func (*TrustBundle) ResourceName() string { return NameTrust.String() }

// AccessLogFormat says how access records are written.
type AccessLogFormat uint8

// The formats. The zero value is off.
const (
	AccessLogOff AccessLogFormat = iota
	AccessLogText
	AccessLogJSON
)

// String gives the word of the control plane's flag.
func (f AccessLogFormat) String() string {
	switch f {
	case AccessLogOff:
		return "off"
	case AccessLogText:
		return "text"
	case AccessLogJSON:
		return "json"
	}
	return "invalid"
}

// PathNormalization says which spellings of a path are made one before rules look at it, and before it goes on.
type PathNormalization uint8

// The modes, Istio's. The zero value is its default.
const (
	// PathBase resolves dot segments, unescapes what needs no escape, and takes a backslash for a slash.
	PathBase PathNormalization = iota
	// PathNone leaves paths as they came.
	PathNone
	// PathMergeSlashes makes one slash of several as well.
	PathMergeSlashes
	// PathDecodeAndMergeSlashes takes escaped slashes and backslashes for slashes too.
	PathDecodeAndMergeSlashes
)

// String gives Istio's word.
func (n PathNormalization) String() string {
	switch n {
	case PathBase:
		return "BASE"
	case PathNone:
		return "NONE"
	case PathMergeSlashes:
		return "MERGE_SLASHES"
	case PathDecodeAndMergeSlashes:
		return "DECODE_AND_MERGE_SLASHES"
	}
	return "invalid"
}

// MeshGlobal holds what is the same for the whole mesh.
type MeshGlobal struct {
	// RefuseUnknown is outboundTrafficPolicy REGISTRY_ONLY.
	RefuseUnknown bool
	AccessLog     AccessLogFormat
	// LogFormat is how lines are written; where it says nothing, as Istio writes them.
	LogFormat model.LogFormat
	Paths     PathNormalization
	// NamedPorts are the ports, ascending, at which hosts without an address of their own are called: there, what goes to
	// an address that is not the mesh's is told by the host that it names.
	NamedPorts []uint16
	Limits     Limits
	// NoInboundRetries has called sidecars send no request a second time, of their own accord, that the app has not got.
	NoInboundRetries bool
	// NativeHistograms has latencies and sizes counted in Prometheus' native histograms, too.
	NativeHistograms bool
}

// ResourceName implements Resource.
func (*MeshGlobal) ResourceName() string { return NameMesh.String() }
