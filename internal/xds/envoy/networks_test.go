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

const networks = `
apiVersion: v1
kind: Service
metadata: {name: users, namespace: myapp}
spec: {clusterIP: 10.96.0.5, ports: [{name: http, port: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: users-1, namespace: myapp, labels: {kubernetes.io/service-name: users}}
addressType: IPv4
ports: [{name: http, port: 80}]
endpoints:
- {addresses: [10.0.1.1], targetRef: {kind: Pod, name: one, namespace: myapp}}
- {addresses: [10.0.2.1], targetRef: {kind: Pod, name: two, namespace: myapp}}
- {addresses: [10.0.2.2], targetRef: {kind: Pod, name: three, namespace: myapp}}
- {addresses: [10.0.2.3], targetRef: {kind: Pod, name: plain, namespace: myapp}}
---
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: myapp, labels: {topology.istio.io/network: net1}, annotations: {fairlead.dev/status: injected}}
spec: {containers: [{name: app, image: app}]}
status: {podIP: 10.0.1.1}
---
apiVersion: v1
kind: Pod
metadata: {name: two, namespace: myapp, labels: {topology.istio.io/network: net2}, annotations: {fairlead.dev/status: injected}}
spec: {containers: [{name: app, image: app}]}
status: {podIP: 10.0.2.1}
---
apiVersion: v1
kind: Pod
metadata: {name: three, namespace: myapp, labels: {topology.istio.io/network: net2}, annotations: {fairlead.dev/status: injected}}
spec: {containers: [{name: app, image: app}]}
status: {podIP: 10.0.2.2}
---
apiVersion: v1
kind: Pod
metadata: {name: plain, namespace: myapp, labels: {topology.istio.io/network: net2}}
spec: {containers: [{name: app, image: app}]}
status: {podIP: 10.0.2.3}
---
apiVersion: v1
kind: Service
metadata: {name: gateway, namespace: net, labels: {topology.istio.io/network: net2}}
spec: {clusterIP: 10.96.0.6, externalIPs: [192.0.2.1, 192.0.2.2], ports: [{name: tls, port: 15443}]}
`

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
			snapshot, _ := compiletest.Load(t, networks)
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
