package envoy

import (
	"net/http"
	"strconv"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// How Fairlead's sidecars call each other (docs/adr/0006-mesh-transport.md), as an Envoy takes part in it.
const (
	meshInbound = "meshInbound"
	meshPort    = 15008
	meshALPN    = "fairlead/h2"
	targetField = "x-fairlead-target"
	errorField  = "x-fairlead-error"
)

// meshCodec is what a target says of the app, and the cluster that calls it so.
type meshCodec struct {
	suffix, cluster string
	protocol        model.Protocol
}

func meshCodecs() []meshCodec {
	return []meshCodec{{"/h1", "http1", model.HTTP}, {"/h2", "http2", model.HTTP2}}
}

// meshInbound takes the streams of Fairlead's sidecars: requests, each with its target, and CONNECT for opaque connections.
// What does not name a port of the app that is known is refused: 404, or 405 for CONNECT to a port of requests.
func (l arrivals) meshInbound() *listenerv3.Listener {
	ports, ok := parseInbound(l.c.Inbound)
	if !ok {
		return nil
	}
	var routes []*routev3.Route
	for i := range ports {
		p := &ports[i]
		if p.Port == 0 || p.MTLS == model.MTLSDisable {
			continue
		}
		for _, codec := range meshCodecs() {
			if carriesHTTP(p.Protocol) {
				routes = append(routes, l.meshRequests(p.Port, codec))
			}
		}
		routes = append(routes, l.meshConnections(p))
	}
	routes = append(routes, refusal(&routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}, http.StatusNotFound),
		refusal(&routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_ConnectMatcher_{ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}}, http.StatusNotFound))
	m := l.inboundHTTP("mesh_"+anyAddress+"_"+strconv.Itoa(meshPort), routes)
	m.CodecType, m.Http2ProtocolOptions = hcmv3.HttpConnectionManager_HTTP2, &corev3.Http2ProtocolOptions{AllowConnect: true}
	m.UpgradeConfigs = append(m.UpgradeConfigs, &hcmv3.HttpConnectionManager_UpgradeConfig{UpgradeType: "CONNECT"})
	m.HttpFilters = append([]*hcmv3.HttpFilter{httpFilter("envoy.filters.http.set_filter_state", ownAddress())}, m.GetHttpFilters()...)
	m.LocalReplyConfig = &hcmv3.LocalReplyConfig{Mappers: []*hcmv3.ResponseMapper{
		blames("connect", "UF", "UH"), blames("reset", "UC"),
	}}
	return &listenerv3.Listener{
		Name: meshInbound, Address: socketAddress(anyAddress, meshPort), TrafficDirection: corev3.TrafficDirection_INBOUND,
		FilterChains: []*listenerv3.FilterChain{{
			Name: meshInbound, TransportSocket: l.serverTLS(meshALPN, "h2"), Filters: []*listenerv3.Filter{networkFilter(managerFilter, m)},
		}},
	}
}

// ownAddress has the app called at the address that the peer has dialled. What the target says of the address is not looked at:
// nobody has an Envoy call elsewhere by it.
func ownAddress() *statev3.Config {
	return &statev3.Config{OnRequestHeaders: []*commonstatev3.FilterStateValue{{
		Key: &commonstatev3.FilterStateValue_ObjectKey{ObjectKey: "envoy.network.transport_socket.original_dst_address"},
		Value: &commonstatev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: "%DOWNSTREAM_LOCAL_ADDRESS%"},
			}},
		}},
	}}}
}

// meshRequests are those whose target is a port of the app, by one of its protocols. An app cannot say what a sidecar says.
func (l arrivals) meshRequests(port uint16, codec meshCodec) *routev3.Route {
	out := l.toApp(inboundCluster(port, codec.cluster))[0]
	out.Name = strconv.Itoa(int(port)) + codec.suffix
	out.Match.Headers = []*routev3.HeaderMatcher{endsWith(targetField, ":"+out.GetName())}
	out.ResponseHeadersToRemove = []string{errorField}
	return out
}

// meshConnections are opaque connections to a port of the app; not to one of requests, whose rules they would evade.
func (l arrivals) meshConnections(p *plan.InboundPort) *routev3.Route {
	when := &routev3.RouteMatch{
		PathSpecifier: &routev3.RouteMatch_ConnectMatcher_{ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}},
		Headers:       []*routev3.HeaderMatcher{endsWith(":authority", ":"+strconv.Itoa(int(p.Port)))},
	}
	if carriesHTTP(p.Protocol) && p.Protocol != model.Undeclared {
		return refusal(when, http.StatusMethodNotAllowed)
	}
	return &routev3.Route{
		Name: strconv.Itoa(int(p.Port)), Match: when,
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: inboundCluster(p.Port, "")}, Timeout: durationpb.New(0),
			UpgradeConfigs: []*routev3.RouteAction_UpgradeConfig{{
				UpgradeType: http.MethodConnect, Enabled: wrapperspb.Bool(true), ConnectConfig: &routev3.RouteAction_UpgradeConfig_ConnectConfig{},
			}},
		}},
	}
}

func refusal(when *routev3.RouteMatch, status uint32) *routev3.Route {
	return &routev3.Route{Match: when, Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: status}}}
}

func endsWith(field, suffix string) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: field, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
		StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: suffix}},
	}}
}

// blames tells the peer that the app was not reached, or broke off, by the flags that Envoy gives its own answers.
func blames(what string, flags ...string) *hcmv3.ResponseMapper {
	return &hcmv3.ResponseMapper{
		Filter: &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
			ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: flags},
		}},
		HeadersToAdd: []*corev3.HeaderValueOption{{
			Header:       &corev3.HeaderValue{Key: errorField, Value: what},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}},
	}
}
