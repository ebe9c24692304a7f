package envoy

import (
	"cmp"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Filters by their names.
const (
	managerFilter = "envoy.filters.network.http_connection_manager"
	tcpFilter     = "envoy.filters.network.tcp_proxy"
	originalDst   = "envoy.filters.listener.original_dst"
	tlsInspector  = "envoy.filters.listener.tls_inspector"
	httpInspector = "envoy.filters.listener.http_inspector"
)

// plaintext is a connection that is not TLS.
const plaintext = "raw_buffer"

// httpVersions are what the inspector calls the beginnings of HTTP.
func httpVersions() []string { return []string{"http/1.0", "http/1.1", "h2c"} }

// virtualOutbound takes what no other listener is for, and what is for none: to where it was meant to go, or nowhere.
func (l listeners) virtualOutbound() *listenerv3.Listener {
	return &listenerv3.Listener{
		Name: virtualOutbound, Address: socketAddress(anyAddress, outboundPort), UseOriginalDst: wrapperspb.Bool(true),
		TrafficDirection: corev3.TrafficDirection_OUTBOUND,
		FilterChains: []*listenerv3.FilterChain{{ // who calls the port itself would be sent to it again
			Name:             "virtualOutbound-blackhole",
			FilterChainMatch: &listenerv3.FilterChainMatch{DestinationPort: wrapperspb.UInt32(outboundPort)},
			Filters:          []*listenerv3.Filter{l.toCluster(blackHoleCluster)},
		}},
		DefaultFilterChain: &listenerv3.FilterChain{Name: "virtualOutbound-catchall-tcp", Filters: []*listenerv3.Filter{l.toCluster(l.unknown())}},
	}
}

// unknown is where connections to what the mesh does not know go.
func (l look) unknown() string {
	if l.g.RefuseUnknown {
		return blackHoleCluster
	}
	return passthroughCluster
}

// everyHost serves HTTP to all hosts of a port. What is not HTTP goes where it was meant to go, if that is known.
func (l listeners) everyHost(addr netip.Addr, port uint16) *listenerv3.Listener {
	name := listenerName(addr, port)
	http := &listenerv3.FilterChain{Filters: []*listenerv3.Filter{
		networkFilter(managerFilter, l.manager("outbound_"+name, routesName{port: port}.String())),
	}}
	out := &listenerv3.Listener{
		Name: name, Address: socketAddress(addr.String(), port), BindToPort: l.bound(), FilterChains: []*listenerv3.FilterChain{http},
		TrafficDirection: corev3.TrafficDirection_OUTBOUND,
	}
	if l.c.Capture {
		l.inspect(out)
		http.FilterChainMatch = &listenerv3.FilterChainMatch{TransportProtocol: plaintext, ApplicationProtocols: httpVersions()}
		out.DefaultFilterChain = &listenerv3.FilterChain{Name: "PassthroughFilterChain", Filters: []*listenerv3.Filter{l.toCluster(l.unknown())}}
	}
	return out
}

// inspect looks at the first bytes, as long as it takes: who waits for the other side to speak is no client of HTTP or TLS.
func (l listeners) inspect(out *listenerv3.Listener) {
	out.ListenerFilters = []*listenerv3.ListenerFilter{
		listenerFilter(tlsInspector, &tlsinspectorv3.TlsInspector{}), listenerFilter(httpInspector, &httpinspectorv3.HttpInspector{}),
	}
	out.ListenerFiltersTimeout = durationpb.New(cmp.Or(l.g.Limits.Detection, plan.DefaultDetection))
	out.ContinueOnListenerFiltersTimeout = true
}

// oneHost carries the connections to one host, and serves HTTP where its port may carry that.
func (l listeners) oneHost(addr netip.Addr, port uint16) *listenerv3.Listener {
	d := l.called(addr, port)
	if d == nil {
		return nil
	}
	name := listenerName(addr, port)
	out := &listenerv3.Listener{
		Name: name, Address: socketAddress(addr.String(), port), BindToPort: l.bound(), TrafficDirection: corev3.TrafficDirection_OUTBOUND,
	}
	if carriesHTTP(d.Protocol) {
		l.inspect(out)
		out.FilterChains = append(out.FilterChains, &listenerv3.FilterChain{
			FilterChainMatch: &listenerv3.FilterChainMatch{TransportProtocol: plaintext, ApplicationProtocols: httpVersions()},
			Filters: []*listenerv3.Filter{
				networkFilter(managerFilter, l.manager("outbound_"+name, routesName{port: d.Port, host: d.Host}.String())),
			},
		})
	}
	l.connections(out, d)
	return out
}

// connections adds a chain for each way in which a match of the rules for connections can hold, and a rule that always does as
// what is done where none holds. Envoy takes the chain that is matched most closely, whatever the order, and refuses two that
// match alike: the first counts.
func (l listeners) connections(out *listenerv3.Listener, d *plan.Destination) {
	seen := map[chainKey]bool{}
	for i := range d.TCP {
		r := &d.TCP[i]
		to := l.toBackends(d, r.Backends)
		matches := r.Matches
		if len(matches) == 0 {
			matches = []model.TCPMatch{{}}
		}
		for j := range matches {
			if !l.isFrom(matches[j].SourceNamespace, matches[j].SourceLabels) {
				continue
			}
			for _, key := range chainKeys(&matches[j]) {
				if seen[key] {
					continue
				}
				seen[key] = true
				if key == (chainKey{}) {
					out.DefaultFilterChain = &listenerv3.FilterChain{Filters: []*listenerv3.Filter{to}}
					return // nothing that follows was ever in force
				}
				out.FilterChains = append(out.FilterChains, &listenerv3.FilterChain{FilterChainMatch: key.match(), Filters: []*listenerv3.Filter{to}})
				if key.server != "" && len(out.GetListenerFilters()) == 0 {
					l.inspect(out)
				}
			}
		}
	}
	if len(out.GetFilterChains()) == 0 { // a listener without chains is refused
		out.DefaultFilterChain = &listenerv3.FilterChain{Filters: []*listenerv3.Filter{l.toCluster(blackHoleCluster)}}
	}
}

// chainKey is what a filter chain asks of a connection. The zero value asks nothing.
type chainKey struct {
	to, from netip.Prefix
	// server is the name that TLS asks for, "*" for any.
	server string
}

// chainKeys lists the ways in which a match can hold; none where it never does.
func chainKeys(m *model.TCPMatch) []chainKey {
	nets, servers := []netip.Prefix{{}}, []string{""}
	if len(m.DestinationSubnets) > 0 {
		nets = nil
	}
	for _, s := range m.DestinationSubnets {
		if p, ok := subnet(s); ok {
			nets = append(nets, p)
		}
	}
	from, ok := subnet(m.SourceSubnet)
	if !ok && m.SourceSubnet != "" {
		return nil
	}
	if len(m.SNI) > 0 {
		servers = nil
	}
	for _, name := range m.SNI {
		host := string(model.CanonicalHost(name))
		if host == "*" || host != "" && !strings.Contains(strings.TrimPrefix(host, "*."), "*") {
			servers = append(servers, host)
		}
	}
	var out []chainKey
	for _, to := range nets {
		for _, server := range servers {
			out = append(out, chainKey{to, from, server})
		}
	}
	return out
}

// subnet reads a prefix, or a single address.
func subnet(s string) (_ netip.Prefix, ok bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	return netip.Prefix{}, false
}

func cidr(p netip.Prefix) []*corev3.CidrRange {
	return []*corev3.CidrRange{{AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits()))}}
}

func (k chainKey) match() *listenerv3.FilterChainMatch {
	out := &listenerv3.FilterChainMatch{}
	if k.to.IsValid() {
		out.PrefixRanges = cidr(k.to)
	}
	if k.from.IsValid() {
		out.SourcePrefixRanges = cidr(k.from)
	}
	switch k.server {
	case "":
	case "*":
		out.TransportProtocol = "tls"
	default:
		out.ServerNames = []string{k.server}
	}
	return out
}

// toCluster sends a connection to a cluster.
func (l listeners) toCluster(name string) *listenerv3.Filter { return l.tunneled(name, nil) }

// tunneled is toCluster through the cluster's forward proxies.
func (l listeners) tunneled(name string, tunnel *model.Tunnel) *listenerv3.Filter {
	return networkFilter(tcpFilter, &tcpv3.TcpProxy{
		StatPrefix: name, ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: name}, TunnelingConfig: tunneling(tunnel), AccessLog: l.accessLogs(),
	})
}

// toBackends shares connections out. What is not there has its share, which is closed.
func (l listeners) toBackends(d *plan.Destination, list []plan.WeightedBackend) *listenerv3.Filter {
	tunnel, callable := sameTunnel(d, list)
	var of []*tcpv3.TcpProxy_WeightedCluster_ClusterWeight
	for i := range list {
		if list[i].Weight == 0 {
			continue
		}
		b := &d.Backends[list[i].Backend]
		name := b.Name
		if b.Missing != "" || !servable(b, Envoy) || !callable(b) {
			name = blackHoleCluster
		}
		of = append(of, &tcpv3.TcpProxy_WeightedCluster_ClusterWeight{Name: name, Weight: list[i].Weight})
	}
	switch len(of) {
	case 0:
		return l.toCluster(blackHoleCluster)
	case 1:
		if of[0].GetName() == blackHoleCluster {
			tunnel = nil // nobody is asked
		}
		return l.tunneled(of[0].GetName(), tunnel)
	}
	return networkFilter(tcpFilter, &tcpv3.TcpProxy{
		StatPrefix: "outbound|" + plan.HostPort{Host: d.Host, Port: d.Port}.String(), TunnelingConfig: tunneling(tunnel), AccessLog: l.accessLogs(),
		ClusterSpecifier: &tcpv3.TcpProxy_WeightedClusters{WeightedClusters: &tcpv3.TcpProxy_WeightedCluster{Clusters: of}},
	})
}
