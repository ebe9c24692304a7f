package envoy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/xds/envoy"
	"fairlead.dev/fairlead/internal/xds/envoy/envoytest"
)

// What an Envoy is told of endpoints of other networks is their gateways, with the weight of all of them.
func TestEndpointsOfOtherNetworks(t *testing.T) {
	for _, c := range []struct {
		name  string
		class envoy.Class
		want  string
	}{
		{"a_sidecar", envoy.Class{Kind: envoy.Envoy, Namespace: "myapp", Capture: true, Network: "net1"}, "10.0.1.1:80*1 192.0.2.1:15443*2 192.0.2.2:15443*2"},
		{"of_the_same_network", envoy.Class{Kind: envoy.Envoy, Namespace: "myapp", Capture: true, Network: "net2"}, "10.0.1.1:80*1 10.0.2.1:80*1 10.0.2.2:80*1 10.0.2.3:80*1"},
		{"without_a_certificate", envoy.Class{Kind: envoy.Envoy, Namespace: "myapp", Network: "net1"}, "10.0.1.1:80*1"},
		{"a_library", envoy.Class{Kind: envoy.GRPC, Namespace: "myapp", Network: "net1"}, "10.0.1.1:80*1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			snapshot, _ := compiletest.Load(t, compiletest.TwoNetworks+compiletest.GatewayOfNet2)
			var got []string
			for query, m := range envoytest.Follow(t, compiler(), snapshot, c.class) {
				a, ok := m.(*endpointv3.ClusterLoadAssignment)
				if !ok || !strings.Contains(query, "users") {
					continue
				}
				for _, l := range a.GetEndpoints() {
					for _, e := range l.GetLbEndpoints() {
						at := e.GetEndpoint().GetAddress().GetSocketAddress()
						got = append(got, fmt.Sprintf("%s:%d*%d", at.GetAddress(), at.GetPortValue(), e.GetLoadBalancingWeight().GetValue()))
					}
				}
			}
			slices.Sort(got)
			if g := strings.Join(got, " "); g != c.want {
				t.Errorf("told of %s, want %s", g, c.want)
			}
		})
	}
}
