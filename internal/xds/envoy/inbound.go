package envoy

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	rulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// What an Envoy does for calls to its own app, by Istio's names.
const (
	virtualInbound     = "virtualInbound"
	inboundPort        = 15006
	inboundDirection   = "inbound"
	inboundPassthrough = "InboundPassthroughCluster" //nolint:gosec // a name
	secure             = "tls"                       // a connection that begins as TLS
	// Calls to the app come from these, and are not captured again: see internal/redirect.
	inboundSource, inboundSourceIPv6 = "127.0.0.6", "::6"
)

// ALPN of peers that mean this mesh, Istio's: for HTTP, and for any connection.
func istioHTTP() []string { return []string{"istio-http/1.0", "istio-http/1.1", "istio-h2"} }

func istioTCP() []string { return []string{"istio-peer-exchange", "istio"} }

// arrivals are where calls to the app come in.
type arrivals struct{ listeners }

// virtualInbound takes the connections to the app that the kernel redirects: by mutual TLS, plainly, or both, as the policy says
// of each port.
func (l arrivals) virtualInbound() *listenerv3.Listener {
	ports, ok := parseInbound(l.c.Inbound)
	if !ok {
		return nil
	}
	out := &listenerv3.Listener{
		Name: virtualInbound, Address: socketAddress(anyAddress, inboundPort), TrafficDirection: corev3.TrafficDirection_INBOUND,
	}
	l.inspect(out)
	// By a filter, which only reads where the peer wanted to go. UseOriginalDst would also hand the connection to a listener of that
	// port, and the one of a Service that has the app's own port is for calls going out: they would come back here, for ever.
	out.ListenerFilters = slices.Insert(out.GetListenerFilters(), 0, listenerFilter(originalDst, &originaldstv3.OriginalDst{}))
	out.FilterChains = append(out.FilterChains, &listenerv3.FilterChain{ // who calls the port itself would be sent to it again
		Name:             "virtualInbound-blackhole",
		FilterChainMatch: &listenerv3.FilterChainMatch{DestinationPort: wrapperspb.UInt32(inboundPort)},
		Filters:          []*listenerv3.Filter{l.toCluster(blackHoleCluster)},
	})
	for i := range ports {
		out.FilterChains = append(out.FilterChains, l.inboundChains(&ports[i])...)
	}
	return out
}

// inboundChains gives the chains of one port, or of all others.
func (l arrivals) inboundChains(p *plan.InboundPort) []*listenerv3.FilterChain {
	var out []*listenerv3.FilterChain
	name, cluster := anyAddress+"_"+strconv.Itoa(int(p.Port)), inboundCluster(p.Port, "")
	add := func(suffix, transport string, protocols []string, socket *corev3.TransportSocket, filter *listenerv3.Filter) {
		when := &listenerv3.FilterChainMatch{TransportProtocol: transport, ApplicationProtocols: protocols}
		if p.Port > 0 {
			when.DestinationPort = wrapperspb.UInt32(uint32(p.Port))
		}
		out = append(out, &listenerv3.FilterChain{
			Name: name + suffix, FilterChainMatch: when, TransportSocket: socket, Filters: []*listenerv3.Filter{filter},
		})
	}
	app, opaque := l.inboundManager("inbound_"+name, l.toApp(cluster)), l.toCluster(cluster)
	if !carriesHTTP(p.Protocol) {
		app = opaque
	}
	undeclared := p.Protocol == model.Undeclared
	rest := app // what is done with what does not say that it is HTTP
	if undeclared {
		rest = opaque
	}
	peers := l.serverTLS("h2", "http/1.1")
	switch p.MTLS {
	case model.MTLSStrict:
		if undeclared {
			add("_mtls-http", secure, append(istioHTTP(), "h2", "http/1.1"), peers, app)
		}
		add("_mtls", secure, nil, peers, rest)
		return out
	case model.MTLSPermissive, model.MTLSUnset:
		if undeclared {
			add("_mtls-http", secure, istioHTTP(), peers, app)
			add("_mtls", secure, istioTCP(), peers, rest)
		} else {
			add("_mtls", secure, append(istioHTTP(), istioTCP()...), peers, rest)
		}
	case model.MTLSDisable:
	}
	if undeclared {
		add("_plain-http", plaintext, httpVersions(), nil, app)
	}
	add("_plain", plaintext, nil, nil, rest)
	add("_tls", secure, nil, nil, opaque) // the app's own
	return out
}

// inboundManager serves HTTP to the app. Only what this Envoy has verified may stand in x-forwarded-client-cert.
func (l arrivals) inboundManager(stat string, routes []*routev3.Route) *listenerv3.Filter {
	return networkFilter(managerFilter, l.inboundHTTP(stat, routes))
}

func (l arrivals) inboundHTTP(stat string, routes []*routev3.Route) *hcmv3.HttpConnectionManager {
	m := &hcmv3.HttpConnectionManager{
		StatPrefix: stat, AccessLog: l.accessLogs(), UseRemoteAddress: wrapperspb.Bool(false),
		StreamIdleTimeout:        durationpb.New(cmp.Or(l.g.Limits.StreamIdle, plan.DefaultStreamIdle)),
		UpgradeConfigs:           []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		ForwardClientCertDetails: hcmv3.HttpConnectionManager_SANITIZE_SET,
		SetCurrentClientCertDetails: &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{
			Subject: wrapperspb.Bool(true), Dns: true, Uri: true,
		},
		HttpFilters: []*hcmv3.HttpFilter{httpFilter(mutationFilter, withoutMarks()), httpFilter(routerFilter, &routerv3.Router{})},
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			Name: stat, ValidateClusters: wrapperspb.Bool(false),
			VirtualHosts: []*routev3.VirtualHost{{Name: inboundDirection, Domains: []string{"*"}, Routes: routes}},
		}},
	}
	normalize(m, l.g.Paths)
	return m
}

const mutationFilter = "envoy.filters.http.header_mutation"

// withoutMarks takes out of requests what only sidecars tell each other, and out of trailers what only the sidecar may tell the
// app: a server that merges trailers into the head would believe it. Routes have been chosen before.
func withoutMarks() *mutationv3.HeaderMutation {
	marks := &rulesv3.HeaderMutation{Action: &rulesv3.HeaderMutation_RemoveOnMatch_{RemoveOnMatch: &rulesv3.HeaderMutation_RemoveOnMatch{
		KeyMatcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "x-fairlead-"}},
	}}}
	out := &mutationv3.Mutations{
		RequestMutations: []*rulesv3.HeaderMutation{marks}, RequestTrailersMutations: []*rulesv3.HeaderMutation{marks},
	}
	for _, name := range []string{
		"x-forwarded-client-cert", "authorization", "proxy-authorization", "cookie", "host", "forwarded",
		"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
	} {
		out.RequestTrailersMutations = append(out.RequestTrailersMutations, &rulesv3.HeaderMutation{Action: &rulesv3.HeaderMutation_Remove{Remove: name}})
	}
	return &mutationv3.HeaderMutation{Mutations: out}
}

// toApp sends all requests to a cluster of the app. How long they may take is the caller's matter.
func (l arrivals) toApp(cluster string) []*routev3.Route {
	return []*routev3.Route{{
		Name: "default", Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}, Timeout: durationpb.New(0),
		}},
	}}
}

// inboundCluster is the name of a port of the app, or of all others; codec is "" for what goes on as it came.
func inboundCluster(port uint16, codec string) string {
	if port == 0 {
		return inboundPassthrough
	}
	return inboundDirection + "|" + strconv.Itoa(int(port)) + "|" + codec + "|"
}

// policy gives what the class's own pod takes; nil where it is not known which that is.
func (l look) policy() *plan.InboundPolicy {
	if l.c.Pod == "" {
		return nil
	}
	name := plan.Name{Kind: plan.NameInbound, Namespace: l.c.Namespace, Pod: l.c.Pod}
	p, _ := compile.Compile(l.r, l.g, name.String()).(*plan.InboundPolicy)
	return p
}

// inbound is what is done for calls to the class's own app, "" where the class is of no pod or gets no connections of it.
func (l look) inbound() string {
	switch {
	case l.c.Kind != Envoy || !l.c.Capture:
		return ""
	case l.c.Inbound != "":
		return l.c.Inbound
	}
	return describeInbound(l.policy())
}

// ownList is what makes a difference for the list of what is for calls to the app: what that is.
func (l look) ownList() (Class, bool) {
	c := l.taking()
	c.Own = true
	return c, c.Inbound != ""
}

// describeInbound is what a policy says, as a part of a class: pods of one kind share what it leads to. The last port is 0, for
// all others.
func describeInbound(p *plan.InboundPolicy) string {
	if p == nil {
		return ""
	}
	var parts []string
	for _, port := range append(slices.Clone(p.Ports), plan.InboundPort{MTLS: p.MTLS}) {
		parts = append(parts, describePort(&port))
	}
	return strings.Join(parts, ",")
}

func describePort(p *plan.InboundPort) string {
	return strconv.Itoa(int(p.Port)) + "/" + p.Protocol.String() + "/" + p.MTLS.String()
}

// parseInbound is the reverse.
func parseInbound(s string) (out []plan.InboundPort, ok bool) {
	for part := range strings.SplitSeq(s, ",") {
		number, rest, _ := strings.Cut(part, "/")
		port, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return nil, false
		}
		p := plan.InboundPort{Port: uint16(port)}
		word, mode, _ := strings.Cut(rest, "/")
		for p.Protocol.String() != word && p.Protocol < model.UDP {
			p.Protocol++
		}
		for p.MTLS.String() != mode && p.MTLS < model.MTLSDisable {
			p.MTLS++
		}
		if describePort(&p) != part {
			return nil, false
		}
		out = append(out, p)
	}
	return out, true
}

// inboundClusters lists the clusters of the app, with what makes a difference for each: its own port.
func (l look) inboundClusters() map[string]Class {
	ports, _ := parseInbound(l.inbound())
	out := map[string]Class{}
	for i := range ports {
		c := Class{Kind: Envoy, Capture: true, Inbound: describePort(&ports[i])}
		out[inboundCluster(ports[i].Port, "")] = c
		if ports[i].Port == 0 || !carriesHTTP(ports[i].Protocol) {
			continue
		}
		for _, codec := range meshCodecs() {
			out[inboundCluster(ports[i].Port, codec.cluster)] = c
		}
	}
	return out
}

// app compiles one of them, nil where there is no such port.
func (l clusters) app(name string) *clusterv3.Cluster {
	if _, ok := l.inboundClusters()[name]; !ok {
		return nil
	}
	ports, _ := parseInbound(l.c.Inbound)
	port, protocol := ports[0].Port, ports[0].Protocol
	if protocol == model.HTTP { // goes on as it came
		protocol = model.Undeclared
	}
	for _, codec := range meshCodecs() {
		if name == inboundCluster(port, codec.cluster) {
			protocol = codec.protocol
		}
	}
	out := originalDestination(name)
	if port > 0 { // the connections of the mesh's own port come to another
		out.LbConfig = &clusterv3.Cluster_OriginalDstLbConfig_{OriginalDstLbConfig: &clusterv3.Cluster_OriginalDstLbConfig{
			UpstreamPortOverride: wrapperspb.UInt32(uint32(port)),
		}}
	}
	out.CircuitBreakers = circuitBreakers(&plan.Backend{})
	out.TypedExtensionProtocolOptions = protocolOptions(&plan.Backend{}, protocol)
	out.UpstreamBindConfig = &corev3.BindConfig{
		SourceAddress: bindable(inboundSource), ExtraSourceAddresses: []*corev3.ExtraSourceAddress{{Address: bindable(inboundSourceIPv6)}},
	}
	return out
}

func bindable(addr string) *corev3.SocketAddress {
	return &corev3.SocketAddress{Address: addr, PortSpecifier: &corev3.SocketAddress_PortValue{}}
}
