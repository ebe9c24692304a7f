package compile_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// usersOf is a Service with a pod, as a cluster has it; more goes into the pod's metadata.
func usersOf(ip, more string) string {
	return `
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
endpoints: [{addresses: [` + ip + `], targetRef: {kind: Pod, name: users, namespace: myapp}}]
---
apiVersion: v1
kind: Pod
metadata: {name: users, namespace: myapp, annotations: {fairlead.dev/status: injected}` + more + `}
spec: {nodeName: n1, containers: [{name: app, image: app}]}
status: {podIP: ` + ip + `}
`
}

// eastGateway is the gateway of network net-east, of a name that each cluster's gateway has.
func eastGateway(spec, conditions string) string {
	return `
---
apiVersion: v1
kind: Service
metadata: {name: fairlead-gateway, namespace: fairlead-system, labels: {topology.istio.io/network: net-east}}
spec: {clusterIP: 10.96.0.2, ` + spec + `, selector: {app: gateway}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: gateway-1, namespace: fairlead-system, labels: {kubernetes.io/service-name: fairlead-gateway}}
addressType: IPv4
ports: [{name: tls, port: 15443}]
endpoints: [{addresses: [10.1.9.1], conditions: {` + conditions + `}, targetRef: {kind: Pod, name: gateway, namespace: fairlead-system}}]
---
apiVersion: v1
kind: Pod
metadata: {name: gateway, namespace: fairlead-system}
spec: {containers: [{name: app, image: app}]}
status: {podIP: 10.1.9.1, hostIP: 192.0.2.50}
`
}

const rootOfEast = "\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: fairlead-system, labels: {topology.istio.io/network: net-east}}\n"

// How endpoints of another cluster are reached depends on its network, by whichever of the ways that is said.
func TestEndpointsOfAnotherClustersNetwork(t *testing.T) {
	const shard, ready = "eps/users.myapp.svc.cluster.local:8080/slice/east/users-1", "ready: true"
	const external = "externalIPs: [192.0.2.1], ports: [{name: tls, port: 15443}]"
	const nodes = "type: NodePort, ports: [{name: tls, port: 15443, nodePort: 31443}]"
	ownGateway := strings.NewReplacer("net-east", "net-west", "192.0.2.1", "192.0.2.99").Replace(eastGateway(external, ready))
	settings := func(networks model.MeshNetworks) compile.Global {
		g := global()
		g.Networks = networks
		return g
	}
	at := model.MeshGateway{Address: netip.MustParseAddr("192.0.2.7"), Port: 443}
	service := model.MeshGateway{Service: "fairlead-gateway.fairlead-system.svc.cluster.local", Port: 15444}
	for _, c := range []struct {
		name   string
		global compile.Global
		east   string
		want   string
	}{
		{"nothing_says_it", global(), usersOf("10.1.0.1", ""), `10.1.0.1 ""`},
		{"no_gateway", global(), usersOf("10.1.0.1", "") + rootOfEast, `10.1.0.1 ""`},
		{"the_label_of_its_control_planes_namespace", global(), usersOf("10.1.0.1", "") + rootOfEast + eastGateway(external, ready), `10.1.0.1 "net-east" 192.0.2.1:15443`},
		{
			"the_pods_own_label", global(), usersOf("10.1.0.1", ", labels: {topology.istio.io/network: net-east}") + eastGateway(external, ready),
			`10.1.0.1 "net-east" 192.0.2.1:15443`,
		},
		{
			"the_label_of_its_namespace", global(),
			usersOf("10.1.0.1", "") + "\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: myapp, labels: {topology.istio.io/network: net-east}}\n" + eastGateway(external, ready),
			`10.1.0.1 "net-east" 192.0.2.1:15443`,
		},
		{
			"the_label_of_its_node", global(),
			usersOf("10.1.0.1", "") + "\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {topology.istio.io/network: net-east}}\n" + eastGateway(external, ready),
			`10.1.0.1 "net-east" 192.0.2.1:15443`,
		},
		{"its_gateway_ends", global(), usersOf("10.1.0.1", "") + rootOfEast + eastGateway(external, "ready: false, serving: true"), `10.1.0.1 "net-east" 192.0.2.1:15443`},
		{"its_gateway_is_not_ready", global(), usersOf("10.1.0.1", "") + rootOfEast + eastGateway(external, "ready: false, serving: false"), `10.1.0.1 "net-east"`},
		{"by_the_nodes_of_its_gateway", global(), usersOf("10.1.0.1", "") + rootOfEast + eastGateway(nodes, ready), `10.1.0.1 "net-east" 192.0.2.50:31443`},
		{"by_nodes_of_which_none_is_ready", global(), usersOf("10.1.0.1", "") + rootOfEast + eastGateway(nodes, "ready: false, serving: false"), `10.1.0.1 "net-east"`},
		{
			"meshNetworks_by_the_clusters_name", settings(model.MeshNetworks{{Name: "n", Clusters: []string{"east"}, Gateways: []model.MeshGateway{at}}}),
			usersOf("10.1.0.1", ""), `10.1.0.1 "n" 192.0.2.7:443`,
		},
		{
			"meshNetworks_by_address", settings(model.MeshNetworks{
				{Name: "n", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}, Gateways: []model.MeshGateway{at}},
				{Name: "wide", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
			}),
			usersOf("10.1.0.1", ""), `10.1.0.1 "n" 192.0.2.7:443`,
		},
		{
			"meshNetworks_by_a_Service_of_the_cluster", settings(model.MeshNetworks{{Name: "n", Clusters: []string{"east"}, Gateways: []model.MeshGateway{service}}}),
			usersOf("10.1.0.1", "") + strings.Replace(eastGateway(external, ready), ", labels: {topology.istio.io/network: net-east}", "", 1), `10.1.0.1 "n" 192.0.2.1:15444`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			snapshot, _ := compiletest.LoadClusters(t, map[string]string{"": usersOf("10.1.0.1", "") + ownGateway, "east": c.east})
			r := store.NewReader(snapshot)
			got := placedIn(t, r, c.global, shard)
			if diff := cmp.Diff(c.want+"\n", got); diff != "" {
				t.Errorf("endpoints of east (-want +got):\n%s", diff)
			}
			w, ok := compile.Compile(r, c.global, "ip/10.1.0.1").(*plan.Workload)
			if !ok || w.Info.Cluster != c.global.ClusterID {
				t.Errorf("the address is taken for that of %+v, want the own cluster's pod", w)
			}
		})
	}
}

// What only another cluster has at an address of a network of its own is nobody here: the address may be anybody's.
func TestAddressesOfAnotherClustersNetwork(t *testing.T) {
	const external = "externalIPs: [192.0.2.1], ports: [{name: tls, port: 15443}]"
	for _, separate := range []bool{false, true} {
		east := usersOf("10.1.0.1", "") + rootOfEast
		if separate {
			east += eastGateway(external, "ready: true")
		}
		snapshot, _ := compiletest.LoadClusters(t, map[string]string{"east": east})
		_, found := compile.Resolve(store.NewReader(snapshot), global(), compile.Client{Namespace: "myapp"}, "ip/10.1.0.1:80")
		if found == separate {
			t.Errorf("separate %v: called by its address: %v", separate, found)
		}
		if named := len(store.NewReader(snapshot).ServicesByHost("fairlead-gateway.fairlead-system.svc.cluster.local")); named > 0 {
			t.Error("the gateway of another cluster is a host here")
		}
	}
}

// Clusters on one network whose pods have the same addresses are reported, on both; on networks of their own they may.
func TestClustersWhoseAddressesOverlap(t *testing.T) {
	const external = "externalIPs: [192.0.2.1], ports: [{name: tls, port: 15443}]"
	check := func(east string) string {
		snapshot, _ := compiletest.LoadClusters(t, map[string]string{"": usersOf("10.1.0.1", ""), "east": east})
		var out []string
		for _, p := range compile.Check(store.NewReader(snapshot), global()) {
			out = append(out, p.String())
		}
		return strings.Join(out, "\n")
	}
	const want = "status.podIP: pods of Kubernetes and east have the same addresses (1, such as 10.1.0.1 of myapp/users and myapp/users), and both clusters are on one network: " +
		"calls to one may come to the other (give the clusters' pods different addresses, or each cluster a network of its own with a gateway (label topology.istio.io/network on the control plane's namespace))"
	if got := check(usersOf("10.1.0.1", "")); got != fmt.Sprintf("warning: Pod myapp/users: %[1]s\nwarning: Pod myapp/users of cluster east: %[1]s", want) {
		t.Errorf("reported:\n%s", got)
	}
	if got := check(usersOf("10.1.0.1", "") + rootOfEast + eastGateway(external, "ready: true")); got != "" {
		t.Errorf("on networks of their own:\n%s", got)
	}
	if got := check(usersOf("10.1.0.2", "")); got != "" {
		t.Errorf("with addresses of their own:\n%s", got)
	}
}
