package envoytest

import (
	"maps"
	"slices"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"fairlead.dev/fairlead/internal/xds/envoy"
)

// Static is the configuration of an Envoy that asks nobody: the same resources, each where it is named. Its admin listens on a
// loopback port, 0 for one that it chooses.
func (t Told) Static(tb testing.TB, admin uint32) []byte {
	tb.Helper()
	out := &bootstrapv3.Bootstrap{
		Node: &corev3.Node{Id: "test", Cluster: "test"},
		Admin: &bootstrapv3.Admin{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: admin},
		}}}},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{},
	}
	for _, query := range slices.Sorted(maps.Keys(t)) {
		switch m := proto.Clone(t[query]).(type) {
		case *clusterv3.Cluster:
			out.StaticResources.Clusters = append(out.StaticResources.Clusters, t.cluster(m))
		case *listenerv3.Listener:
			for _, c := range append(slices.Clone(m.GetFilterChains()), m.GetDefaultFilterChain()) {
				t.chain(tb, c)
			}
			out.StaticResources.Listeners = append(out.StaticResources.Listeners, m)
		}
	}
	text, err := protojson.Marshal(out)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// Anywhere has the listeners choose their ports.
func (t Told) Anywhere() Told {
	out := maps.Clone(t)
	for query, m := range t {
		if l, ok := m.(*listenerv3.Listener); ok {
			l, _ = proto.Clone(l).(*listenerv3.Listener)
			l.GetAddress().GetSocketAddress().PortSpecifier = &corev3.SocketAddress_PortValue{}
			out[query] = l
		}
	}
	return out
}

// cluster puts the endpoints into it.
func (t Told) cluster(m *clusterv3.Cluster) *clusterv3.Cluster {
	if m.GetType() != clusterv3.Cluster_EDS {
		return m
	}
	m.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	m.LoadAssignment, _ = t[envoy.Query(envoy.Endpoints, m.GetEdsClusterConfig().GetServiceName())].(*endpointv3.ClusterLoadAssignment)
	m.EdsClusterConfig = nil
	return m
}

// chain puts the routes into it.
func (t Told) chain(tb testing.TB, c *listenerv3.FilterChain) {
	tb.Helper()
	for _, f := range c.GetFilters() {
		if f.GetName() != managerFilter {
			continue
		}
		m := Manager(tb, f.GetTypedConfig())
		routes, ok := t[envoy.Query(envoy.Routes, m.GetRds().GetRouteConfigName())].(*routev3.RouteConfiguration)
		if !ok {
			continue
		}
		m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes}
		packed, err := anypb.New(m)
		if err != nil {
			tb.Fatal(err)
		}
		f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: packed}
	}
}
