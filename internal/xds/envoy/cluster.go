package envoy

import (
	"cmp"
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Clusters that every Envoy has, beside those of services: for calls to what the mesh does not know, and for none.
const (
	passthroughCluster = "PassthroughCluster"
	blackHoleCluster   = "BlackHoleCluster"
	// unknownCluster is where routes lead that refer to what is not there, or must not be called. No cluster has this name.
	unknownCluster = "UnknownService"
)

const (
	defaultConnectTimeout = 10 * time.Second
	// http2Window and http2Connection are the windows of HTTP/2 as Istio has them: Envoy's own are 256 MiB.
	http2Streams = math.MaxInt32
)

// clusters are the groups of endpoints that a class calls.
type clusters struct{ look }

// class reduces a class to what makes a difference for a cluster.
func (l clusters) class(name string) (Class, bool) {
	if l.c.Kind == Envoy && (name == passthroughCluster || name == blackHoleCluster || name == Everything) {
		c := Class{Kind: Envoy}
		if name == Everything && l.c.Own {
			return l.ownList()
		}
		if name == Everything {
			c.Namespace, c.Capture, c.Inbound = l.c.Namespace, l.c.Capture, l.inbound()
		}
		return c, true
	}
	if c, ok := l.inboundClusters()[name]; ok {
		return c, true
	}
	n, ok := parseClusterName(name)
	if !ok {
		return Class{}, false
	}
	c := Class{Kind: l.c.Kind, Namespace: compile.GroupVariant(l.r, l.g, l.c.Namespace, n.at), Capture: l.c.Kind == Envoy && l.c.Capture}
	b, _ := compile.Group(l.r, l.g, c.Namespace, n.at, n.subset)
	return c, b != nil && servable(b, c.Kind)
}

// servable reports whether clients of a kind can call a group of endpoints.
func servable(b *plan.Backend, k Kind) bool {
	if k == GRPC && (b.TLS.Mode == model.TLSSimple || b.TLS.Mode == model.TLSMutual) {
		return false // its certificates are the mesh's, and to call plainly is not what the rule says
	}
	switch b.Resolution {
	case model.ResolveSlices, model.ResolveStatic:
		return true
	case model.ResolveNone:
		return k == Envoy
	case model.ResolveDNS, model.ResolveDNSRoundRobin:
		// A client of gRPC's knows clusters of one name only (gRFC A37).
		return k == Envoy || len(b.DNS) == 1 && len(b.Shards) == 0
	case model.ResolveDynamicDNS:
	}
	return false
}

// names lists the canonical names of the clusters that an Envoy is told of.
func (l clusters) names() []string {
	var out []string
	add := func(name string) {
		if c, ok := l.class(name); ok {
			out = append(out, canonicalName(Cluster, c, name))
		}
	}
	for name := range l.inboundClusters() {
		add(name)
	}
	if l.c.Own {
		return out
	}
	add(blackHoleCluster)
	add(passthroughCluster)
	for _, at := range compile.Callable(l.r, l.g, l.c.Namespace) {
		add(clusterName{at: at.HostPort}.String())
		for _, subset := range compile.Subsets(l.r, l.g, l.c.Namespace, at.Host) {
			add(clusterName{at.HostPort, subset}.String())
		}
	}
	return out
}

// cluster compiles the cluster of a name, nil where there is none.
func (l clusters) cluster(name string) *clusterv3.Cluster {
	switch name {
	case blackHoleCluster:
		return &clusterv3.Cluster{
			Name: name, ClusterDiscoveryType: clusterType(clusterv3.Cluster_STATIC), ConnectTimeout: durationpb.New(defaultConnectTimeout),
		}
	case passthroughCluster:
		out := originalDestination(name)
		out.CircuitBreakers = circuitBreakers(&plan.Backend{})
		out.TypedExtensionProtocolOptions = protocolOptions(&plan.Backend{}, model.Undeclared)
		return out
	}
	if l.c.Inbound != "" {
		return l.app(name)
	}
	n, ok := parseClusterName(name)
	if !ok {
		return nil
	}
	b, protocol := compile.Group(l.r, l.g, l.c.Namespace, n.at, n.subset)
	if b == nil || !servable(b, l.c.Kind) {
		return nil
	}
	if b.TLS.KeySecret()+b.TLS.RootsSecret() != "" { // Envoys are given no Secrets; calls fail rather than go on without
		return &clusterv3.Cluster{
			Name: name, ClusterDiscoveryType: clusterType(clusterv3.Cluster_STATIC), ConnectTimeout: durationpb.New(defaultConnectTimeout),
		}
	}
	out := l.located(b)
	out.ConnectTimeout = durationpb.New(cmp.Or(b.ConnectTimeout, defaultConnectTimeout))
	out.CircuitBreakers = circuitBreakers(b)
	out.OutlierDetection = outlierDetection(b.Outlier)
	if l.c.Kind == GRPC {
		balanceGRPC(out, b)
		l.secureGRPC(out, b)
		return out
	}
	if out.GetType() != clusterv3.Cluster_ORIGINAL_DST {
		balance(out, b)
	}
	out.TypedExtensionProtocolOptions = protocolOptions(b, protocol)
	out.UpstreamConnectionOptions = keepAlive(b.KeepAlive)
	out.TransportSocket, out.TransportSocketMatches = origination(b.TLS), l.meshSockets(b, protocol)
	announced(out, b)
	out.Metadata = serviceMetadata(b)
	return out
}

func clusterType(t clusterv3.Cluster_DiscoveryType) *clusterv3.Cluster_Type {
	return &clusterv3.Cluster_Type{Type: t}
}

// originalDestination calls whom the app has dialled.
func originalDestination(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name: name, ClusterDiscoveryType: clusterType(clusterv3.Cluster_ORIGINAL_DST), LbPolicy: clusterv3.Cluster_CLUSTER_PROVIDED,
		ConnectTimeout: durationpb.New(defaultConnectTimeout),
	}
}

// located says where the endpoints of a cluster come from.
func (l clusters) located(b *plan.Backend) *clusterv3.Cluster {
	switch b.Resolution {
	case model.ResolveNone:
		return originalDestination(b.Name)
	case model.ResolveDNS, model.ResolveDNSRoundRobin:
		t := clusterv3.Cluster_STRICT_DNS
		if b.Resolution == model.ResolveDNSRoundRobin || l.c.Kind == GRPC {
			t = clusterv3.Cluster_LOGICAL_DNS
		}
		return &clusterv3.Cluster{
			Name: b.Name, ClusterDiscoveryType: clusterType(t), LoadAssignment: l.named(b), DnsLookupFamily: clusterv3.Cluster_ALL,
		}
	case model.ResolveSlices, model.ResolveStatic, model.ResolveDynamicDNS:
	}
	return &clusterv3.Cluster{
		Name: b.Name, ClusterDiscoveryType: clusterType(clusterv3.Cluster_EDS),
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads(), ServiceName: b.Name},
	}
}

// ads is the stream that the resource itself comes by.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		InitialFetchTimeout:   durationpb.New(0),
	}
}

// circuitBreakers limits what is under way. Where nothing is said, nothing is limited, as with Istio: Envoy's own limits are
// 1024 of everything and three retries.
func circuitBreakers(b *plan.Backend) *clusterv3.CircuitBreakers {
	limit := func(n uint32) *wrapperspb.UInt32Value {
		return wrapperspb.UInt32(cmp.Or(n, math.MaxUint32))
	}
	t := &clusterv3.CircuitBreakers_Thresholds{
		MaxConnections: limit(b.MaxConnections), MaxPendingRequests: limit(b.MaxPendingRequests), MaxRequests: limit(b.MaxRequests),
		MaxRetries: limit(b.MaxRetries), TrackRemaining: true,
	}
	if budget := b.RetryBudget; budget != nil {
		t.MaxRetries = nil
		t.RetryBudget = &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
			BudgetPercent: &typev3.Percent{Value: budget.Percent}, MinRetryConcurrency: wrapperspb.UInt32(budget.MinConcurrency),
		}
		if budget.Interval > 0 {
			t.RetryBudget.BudgetInterval = durationpb.New(budget.Interval)
		}
	}
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{t}}
}

// outlierDetection sets everything: Envoy's defaults are others than what is meant where a rule says nothing.
func outlierDetection(o *model.OutlierDetection) *clusterv3.OutlierDetection {
	if o == nil || o.Accrual != nil {
		return nil // a failure accrual is Linkerd's, and Envoy has nothing like it
	}
	consecutive := func(n uint32) (count, enforcing *wrapperspb.UInt32Value) {
		if n == 0 {
			return nil, wrapperspb.UInt32(0)
		}
		return wrapperspb.UInt32(n), wrapperspb.UInt32(100)
	}
	out := &clusterv3.OutlierDetection{
		EnforcingSuccessRate: wrapperspb.UInt32(0), MaxEjectionPercent: wrapperspb.UInt32(o.MaxEjectionPercent),
		SplitExternalLocalOriginErrors: o.SplitLocal,
	}
	if o.Interval > 0 {
		out.Interval = durationpb.New(o.Interval)
	}
	if o.BaseEjectionTime > 0 {
		out.BaseEjectionTime = durationpb.New(o.BaseEjectionTime)
		out.MaxEjectionTime = durationpb.New(max(o.BaseEjectionTime, 300*time.Second))
	}
	out.Consecutive_5Xx, out.EnforcingConsecutive_5Xx = consecutive(o.Consecutive5xx)
	out.ConsecutiveGatewayFailure, out.EnforcingConsecutiveGatewayFailure = consecutive(o.ConsecutiveGateway)
	if o.SplitLocal {
		out.ConsecutiveLocalOriginFailure, out.EnforcingConsecutiveLocalOriginFailure = consecutive(o.ConsecutiveLocal)
		out.EnforcingLocalOriginSuccessRate = wrapperspb.UInt32(0)
	}
	if o.FailurePercent > 0 {
		out.FailurePercentageThreshold, out.EnforcingFailurePercentage = consecutive(o.FailurePercent)
		if o.SplitLocal {
			out.EnforcingFailurePercentageLocalOrigin = wrapperspb.UInt32(100)
		}
	}
	return out
}

// protocolOptions says how requests go on: HTTP/2 where the port is declared so or the rule upgrades, else as they came.
func protocolOptions(b *plan.Backend, p model.Protocol) map[string]*anypb.Any {
	h2 := &corev3.Http2ProtocolOptions{}
	if b.MaxConcurrentStreams > 0 {
		h2.MaxConcurrentStreams = wrapperspb.UInt32(min(b.MaxConcurrentStreams, http2Streams))
	}
	if b.Ping.Interval > 0 {
		h2.ConnectionKeepalive = &corev3.KeepaliveSettings{
			Interval: durationpb.New(b.Ping.Interval), Timeout: durationpb.New(cmp.Or(b.Ping.Timeout, b.Ping.Interval)),
		}
	}
	common := &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(cmp.Or(b.HTTPIdleTimeout, plan.DefaultIdle))}
	if b.MaxRequestsPerConnection > 0 {
		common.MaxRequestsPerConnection = wrapperspb.UInt32(b.MaxRequestsPerConnection)
	}
	if b.MaxConnectionDuration > 0 {
		common.MaxConnectionDuration = durationpb.New(b.MaxConnectionDuration)
	}
	out := &httpv3.HttpProtocolOptions{CommonHttpProtocolOptions: common}
	switch codecOf(b, p) {
	case codecHTTP2:
		out.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: h2},
			},
		}
	case codecHTTP1:
		out.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
			},
		}
	case codecAsItCame:
		out.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
				HttpProtocolOptions: &corev3.Http1ProtocolOptions{}, Http2ProtocolOptions: h2,
			},
		}
	}
	return map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": packed(out)}
}

// codec is how requests go on.
type codec uint8

const (
	codecAsItCame codec = iota
	codecHTTP1
	codecHTTP2
)

func codecOf(b *plan.Backend, p model.Protocol) codec {
	switch {
	case b.Upgrade && b.Tunnel == nil || p == model.HTTP2 || p == model.GRPC || p == model.GRPCWeb:
		return codecHTTP2
	case p == model.HTTP, b.Tunnel != nil: // for which "as it came" would be HTTP/2: a connection has no version
		return codecHTTP1
	}
	return codecAsItCame
}

func keepAlive(k model.TCPKeepAlive) *clusterv3.UpstreamConnectionOptions {
	if k == (model.TCPKeepAlive{}) {
		return nil
	}
	out := &corev3.TcpKeepalive{}
	if k.Probes > 0 {
		out.KeepaliveProbes = wrapperspb.UInt32(k.Probes)
	}
	if k.Time > 0 {
		out.KeepaliveTime = wrapperspb.UInt32(uint32(min(k.Time/time.Second, math.MaxInt32)))
	}
	if k.Interval > 0 {
		out.KeepaliveInterval = wrapperspb.UInt32(uint32(min(k.Interval/time.Second, math.MaxInt32)))
	}
	return &clusterv3.UpstreamConnectionOptions{TcpKeepalive: out}
}

// serviceMetadata tells whose cluster it is, as Istio does: statistics and tools go by it.
func serviceMetadata(b *plan.Backend) *corev3.Metadata {
	service := map[string]*structpb.Value{
		"host": structpb.NewStringValue(string(b.Host)), "name": structpb.NewStringValue(b.Service.Name),
		"namespace": structpb.NewStringValue(b.Service.Namespace),
	}
	fields := map[string]*structpb.Value{
		"services": structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewStructValue(&structpb.Struct{Fields: service})}}),
	}
	if b.Subset != "" {
		fields["subset"] = structpb.NewStringValue(b.Subset)
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"istio": {Fields: fields}}}
}

// named gives the endpoints of a cluster whose names Envoy resolves, with the addresses that are written beside names.
func (l clusters) named(b *plan.Backend) *endpointv3.ClusterLoadAssignment {
	of := assignments(l)
	groups := of.partition(b, of.acrossNetworks(b, of.endpointsOf(b)))
	for _, e := range b.DNS {
		var metadata *corev3.Metadata
		if e.Meshed || e.Mutual {
			metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{socketMatch: takesMutual()}}
		}
		groups.add(0, e.Locality, &endpointv3.LbEndpoint{
			Metadata:            metadata,
			HostIdentifier:      &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socketAddress(string(e.Host), e.Port)}},
			LoadBalancingWeight: wrapperspb.UInt32(max(1, e.Weight)),
		})
	}
	return groups.assignment(b.Name)
}

func socketAddress(host string, port uint16) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}
