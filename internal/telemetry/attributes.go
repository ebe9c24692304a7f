package telemetry

import (
	"bytes"
	"cmp"
	"net/netip"
	"strconv"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// attribute is what an expression may ask about a call. Its words are Envoy's (envoyproxy.io, "Attributes").
type attribute uint8

const (
	unknownAttribute attribute = iota
	requestPath
	requestURLPath
	requestQuery
	requestHost
	requestScheme
	requestMethod
	requestHeaders
	requestReferer
	requestUserAgent
	requestID
	requestProtocol
	requestDuration
	requestSize
	responseCode
	responseDetails
	responseGRPC
	responseHeaders
	responseSize
	responseLatency
	sourceAddress
	sourcePort
	destinationAddress
	destinationPort
	connectionMTLS
	upstreamAddress
	upstreamPort
	upstreamFailure
	upstreamAttempts
	clusterName
	routeName
	peerName
	peerNamespace
	peerWorkload
	peerApp
	peerVersion
	peerService
	peerRevision
	peerCluster
)

// attributeNamed finds an attribute by its word. Who the peer is goes by two words, one for each side of a call.
func attributeNamed(name string) attribute {
	return map[string]attribute{
		"request.path": requestPath, "request.url_path": requestURLPath, "request.query": requestQuery, "request.host": requestHost,
		"request.scheme": requestScheme, "request.method": requestMethod, "request.headers": requestHeaders,
		"request.referer": requestReferer, "request.useragent": requestUserAgent, "request.id": requestID,
		"request.protocol": requestProtocol, "request.duration": requestDuration, "request.size": requestSize,
		"request.total_size": requestSize, "response.code": responseCode, "response.code_details": responseDetails,
		"response.grpc_status": responseGRPC, "response.headers": responseHeaders, "response.size": responseSize,
		"response.total_size": responseSize, "response.backend_latency": responseLatency,
		"source.address": sourceAddress, "source.port": sourcePort, "destination.address": destinationAddress,
		"destination.port": destinationPort, "connection.mtls": connectionMTLS, "upstream.address": upstreamAddress,
		"upstream.port": upstreamPort, "upstream.transport_failure_reason": upstreamFailure,
		"upstream.request_attempt_count": upstreamAttempts, "xds.cluster_name": clusterName, "xds.route_name": routeName,
		"upstream_peer.name": peerName, "upstream_peer.namespace": peerNamespace, "upstream_peer.workload": peerWorkload,
		"upstream_peer.app": peerApp, "upstream_peer.version": peerVersion, "upstream_peer.service": peerService,
		"upstream_peer.revision": peerRevision, "upstream_peer.cluster": peerCluster,
		"downstream_peer.name": peerName, "downstream_peer.namespace": peerNamespace, "downstream_peer.workload": peerWorkload,
		"downstream_peer.app": peerApp, "downstream_peer.version": peerVersion, "downstream_peer.service": peerService,
		"downstream_peer.revision": peerRevision, "downstream_peer.cluster": peerCluster,
	}[name]
}

// attribute gives what a call says; noValue where it says nothing, as a connection does not of requests.
func (m *machine) attribute(a attribute, key string, r *Record) operand {
	if a >= requestPath && a <= responseLatency && a != requestDuration && a != requestSize && a != responseSize && r.Protocol == "" {
		return operand{}
	}
	switch a { //nolint:exhaustive // the others are another function's, or nobody's
	case requestPath:
		return said(r.Path)
	case requestURLPath:
		path, _, _ := bytes.Cut(r.Path, []byte{'?'})
		return said(path)
	case requestQuery:
		_, query, _ := bytes.Cut(r.Path, []byte{'?'})
		return text(query)
	case requestHost:
		return said(r.Authority)
	case requestScheme:
		return m.of("http") // what a sidecar is asked for: https is opaque to it
	case requestMethod:
		return said(r.Method)
	case requestHeaders:
		return header(r.Header, key)
	case requestReferer:
		return header(r.Header, "referer")
	case requestUserAgent:
		return header(r.Header, "user-agent")
	case requestID:
		return header(r.Header, "x-request-id")
	case requestProtocol:
		return m.of(r.Protocol)
	case requestDuration:
		return operand{kind: durationValue, number: int64(r.Duration)}
	case requestSize:
		return whole(r.Received)
	default:
		return m.answer(a, key, r)
	}
}

// answer gives what a call says of its answer and of its ends.
func (m *machine) answer(a attribute, key string, r *Record) operand {
	switch a { //nolint:exhaustive // the others are another function's, or nobody's
	case responseCode:
		if r.Code == 0 {
			return operand{}
		}
		return whole(int64(r.Code))
	case responseDetails:
		return m.of(r.Details)
	case responseGRPC:
		if n, err := strconv.Atoi(r.GRPCStatus); err == nil {
			return whole(int64(n))
		}
	case responseHeaders:
		return header(r.Answer, key)
	case responseSize:
		return whole(r.Sent)
	case responseLatency:
		if r.HeadAfter >= 0 {
			return operand{kind: durationValue, number: int64(r.HeadAfter)}
		}
	case sourceAddress:
		return m.address(r.Client)
	case sourcePort:
		return port(r.Client)
	case destinationAddress:
		return m.address(r.Dialled)
	case destinationPort:
		return port(r.Dialled)
	case connectionMTLS:
		return truth(r.Reporter == Destination && r.MutualTLS)
	case upstreamAddress:
		return m.address(r.Endpoint)
	case upstreamPort:
		return port(r.Endpoint)
	case upstreamFailure:
		return m.of(r.Failure)
	case upstreamAttempts:
		return whole(int64(r.Tries))
	case clusterName:
		return m.of(r.Cluster)
	case routeName:
		return m.of(r.Route)
	default:
		return m.peer(a, r.Peer)
	}
	return operand{}
}

// peer gives what is known of the other side's workload.
func (m *machine) peer(a attribute, p *plan.WorkloadInfo) operand {
	if p == nil {
		return operand{}
	}
	switch a { //nolint:exhaustive // the others are another function's, or nobody's
	case peerName:
		return m.of(p.Pod)
	case peerNamespace:
		return m.of(p.Namespace)
	case peerWorkload:
		return m.of(p.Name)
	case peerApp:
		return m.of(p.App)
	case peerVersion:
		return m.of(p.Version)
	case peerService:
		return m.of(p.CanonicalName)
	case peerRevision:
		return m.of(cmp.Or(p.CanonicalRevision, "latest"))
	case peerCluster:
		return m.of(p.Cluster)
	default:
	}
	return operand{}
}

// of is a text of the call's; none is nothing said.
func (m *machine) of(s string) operand {
	if s == "" {
		return operand{}
	}
	return m.kept(append(m.keep(), s...))
}

func said(b []byte) operand {
	if len(b) == 0 {
		return operand{}
	}
	return text(b)
}

func header(of Header, name string) operand {
	if of == nil {
		return operand{}
	}
	if b := of.Get(name); b != nil {
		return text(b)
	}
	return operand{}
}

// address is one with its port, as Envoy has it.
func (m *machine) address(a netip.AddrPort) operand {
	if !a.IsValid() {
		return operand{}
	}
	return m.kept(model.AppendAddr(m.keep(), a))
}

func port(a netip.AddrPort) operand {
	if !a.IsValid() {
		return operand{}
	}
	return whole(int64(a.Port()))
}
