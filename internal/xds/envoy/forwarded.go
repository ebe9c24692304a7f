package envoy

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

const proxyProtocolSocket = "envoy.transport_sockets.upstream_proxy_protocol"

// tunneling has a forward proxy be asked for each connection, nil where bytes go as they are. In HTTP/2 or HTTP/1.1: as the
// cluster's protocol says.
func tunneling(t *model.Tunnel) *tcpv3.TcpProxy_TunnelingConfig {
	if t == nil {
		return nil
	}
	return &tcpv3.TcpProxy_TunnelingConfig{Hostname: t.Target, UsePost: t.Post}
}

// sameTunnel gives the tunnel of all backends of a rule that can be called. A TcpProxy has one way for all its clusters: where
// they differ it has none, and ok tells of a backend whether it is called all the same: what is meant for a tunnel must not reach
// the forward proxy as it is.
func sameTunnel(d *plan.Destination, list []plan.WeightedBackend) (common *model.Tunnel, ok func(*plan.Backend) bool) {
	var found []*model.Tunnel
	for i := range list {
		if list[i].Weight > 0 {
			found = append(found, d.Backends[list[i].Backend].Tunnel)
		}
	}
	equal := func(a, b *model.Tunnel) bool { return a == b || a != nil && b != nil && *a == *b }
	for _, t := range found {
		if !equal(t, found[0]) {
			return nil, func(b *plan.Backend) bool { return b.Tunnel == nil }
		}
	}
	if len(found) > 0 {
		common = found[0]
	}
	return common, func(*plan.Backend) bool { return true }
}

// announced has the connections of a cluster begin with the PROXY protocol's header, before TLS that a rule begins. Those of
// mutual TLS between sidecars bring none: a peer's sidecar takes no such header, and within TLS an Envoy cannot write one.
func announced(out *clusterv3.Cluster, b *plan.Backend) {
	if b.ProxyProtocol == 0 {
		return
	}
	out.TransportSocket = withHeader(out.GetTransportSocket(), b.ProxyProtocol)
	for _, m := range out.GetTransportSocketMatches() {
		if m.GetTransportSocket().GetName() == rawSocket {
			m.TransportSocket = withHeader(m.GetTransportSocket(), b.ProxyProtocol)
		}
	}
}

func withHeader(around *corev3.TransportSocket, version uint32) *corev3.TransportSocket {
	if around == nil {
		around = socket(rawSocket, &rawbufferv3.RawBuffer{})
	}
	v := corev3.ProxyProtocolConfig_V1
	if version == 2 {
		v = corev3.ProxyProtocolConfig_V2
	}
	return socket(proxyProtocolSocket, &proxyprotocolv3.ProxyProtocolUpstreamTransport{
		Config: &corev3.ProxyProtocolConfig{Version: v}, TransportSocket: around,
	})
}
