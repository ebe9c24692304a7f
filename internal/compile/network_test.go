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

const gatewaysOfTwo = compiletest.GatewayOfNet2 + `
---
apiVersion: v1
kind: Service
metadata: {name: gateway-b, namespace: net, labels: {topology.istio.io/network: net2, networking.istio.io/gatewayPort: "443"}}
spec: {clusterIP: 10.96.0.3, externalIPs: [192.0.2.3], ports: [{name: tls, port: 443}], selector: {app: gateway}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: gateway-b-1, namespace: net, labels: {kubernetes.io/service-name: gateway-b}}
addressType: IPv4
ports: [{name: tls, port: 443}]
endpoints: [{addresses: [10.0.1.1], conditions: {ready: READY}}]
`

// placed prints how endpoints are reached, one a line.
func placed(t *testing.T, g compile.Global, manifests, name string) string {
	t.Helper()
	snapshot, problems := compiletest.Load(t, manifests)
	for _, p := range problems {
		t.Error(p)
	}
	return placedIn(t, store.NewReader(snapshot), g, name)
}

func placedIn(t *testing.T, r *store.Reader, g compile.Global, name string) string {
	t.Helper()
	shard, ok := compile.Compile(r, g, name).(*plan.EndpointShard)
	if !ok {
		t.Fatalf("no %s", name)
	}
	var out strings.Builder
	for _, e := range shard.Endpoints {
		fmt.Fprintf(&out, "%s %q", e.Addr.Addr(), e.Network)
		for _, g := range e.Gateways {
			fmt.Fprintf(&out, " %s:%d", g.Addr, g.Port)
		}
		out.WriteString("\n")
	}
	return out.String()
}

func TestEndpointsOfOtherNetworks(t *testing.T) {
	const shard = "eps/users.myapp.svc.cluster.local:8080/slice/users-1"
	settings := global()
	settings.Networks = model.MeshNetworks{{Name: "net1", Gateways: []model.MeshGateway{{Service: "gateway.net.svc.cluster.local", Port: 15443}}}}
	named := global()
	named.Network = "net1"
	for _, c := range []struct {
		name      string
		global    compile.Global
		manifests string
		want      string
	}{
		{"a_network_without_a_gateway_is_flat", global(), compiletest.TwoNetworks, "10.0.1.1 \"\"\n10.0.2.1 \"\"\n10.0.2.2 \"\"\n10.0.2.3 \"\"\n"},
		{
			"gateways_are_those_of_which_somebody_listens", global(), compiletest.TwoNetworks + strings.ReplaceAll(gatewaysOfTwo, "READY", "false"),
			"10.0.1.1 \"\"\n10.0.2.1 \"net2\" 192.0.2.1:15443 192.0.2.2:15443\n10.0.2.2 \"net2\" 192.0.2.1:15443 192.0.2.2:15443\n10.0.2.3 \"net2\"\n",
		},
		{
			"a_port_of_its_own", global(), compiletest.TwoNetworks + strings.ReplaceAll(gatewaysOfTwo, "READY", "true"),
			"10.0.1.1 \"\"\n10.0.2.1 \"net2\" 192.0.2.1:15443 192.0.2.2:15443 192.0.2.3:443\n10.0.2.2 \"net2\" 192.0.2.1:15443 192.0.2.2:15443 192.0.2.3:443\n10.0.2.3 \"net2\"\n",
		},
		{"settings_of_the_mesh", settings, compiletest.TwoNetworks, "10.0.1.1 \"net1\"\n10.0.2.1 \"\"\n10.0.2.2 \"\"\n10.0.2.3 \"\"\n"},
		{
			"the_control_planes_own_by_setting", named, strings.Replace(compiletest.TwoNetworks, ", labels: {topology.istio.io/network: net1}", "", 1) + `
---
apiVersion: v1
kind: Service
metadata: {name: gateway-1, namespace: net, labels: {topology.istio.io/network: net1}}
spec: {clusterIP: 10.96.0.4, externalIPs: [192.0.2.9], ports: [{name: tls, port: 15443}]}
`,
			"10.0.1.1 \"net1\" 192.0.2.9:15443\n10.0.2.1 \"\"\n10.0.2.2 \"\"\n10.0.2.3 \"\"\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, placed(t, c.global, c.manifests, shard)); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
		})
	}
}

// A gateway that is to end serves for a while after it is not ready any more, and is called where there is no better one.
func TestGatewaysThatEnd(t *testing.T) {
	gateway := func(name, address, conditions string) string {
		return `
---
apiVersion: v1
kind: Service
metadata: {name: ` + name + `, namespace: net, labels: {topology.istio.io/network: net2}}
spec: {clusterIP: 10.96.0.3, externalIPs: [` + address + `], ports: [{name: tls, port: 15443}], selector: {app: gateway}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ` + name + `-1, namespace: net, labels: {kubernetes.io/service-name: ` + name + `}}
addressType: IPv4
ports: [{name: tls, port: 15443}]
endpoints: [{addresses: [10.0.1.1], conditions: {` + conditions + `}}]
`
	}
	const ready, ends, dead = "ready: true", "ready: false, serving: true, terminating: true", "ready: false, serving: false, terminating: true"
	setting := global()
	setting.Networks = model.MeshNetworks{{Name: "net2", Gateways: []model.MeshGateway{{Address: netip.MustParseAddr("192.0.2.9"), Port: 15443}}}}
	for _, c := range []struct {
		name   string
		global compile.Global
		a, b   string
		want   string
	}{
		{"both_are_ready", global(), ready, ready, " 192.0.2.1:15443 192.0.2.2:15443"},
		{"one_that_is_ready_is_better", global(), ends, ready, " 192.0.2.2:15443"},
		{"both_end", global(), ends, ends, " 192.0.2.1:15443 192.0.2.2:15443"},
		{"one_ends_and_the_other_has_ended", global(), dead, ends, " 192.0.2.2:15443"},
		{"both_have_ended", global(), dead, dead, ""},
		{"a_setting_counts_as_ready", setting, ends, ends, " 192.0.2.9:15443"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := placed(t, c.global, compiletest.TwoNetworks+gateway("a", "192.0.2.1", c.a)+gateway("b", "192.0.2.2", c.b), "eps/users.myapp.svc.cluster.local:8080/slice/users-1")
			want := "10.0.1.1 \"\"\n10.0.2.1 \"net2\"" + c.want + "\n10.0.2.2 \"net2\"" + c.want + "\n10.0.2.3 \"net2\"\n"
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNetworkOfAWorkload(t *testing.T) {
	const pod = `
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: myapp%s}
spec: {nodeName: n1, containers: [{name: app, image: app}]}
status: {podIP: 10.0.0.1}
`
	const (
		namespace = "\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: myapp, labels: {topology.istio.io/network: of-namespace}}\n"
		node      = "\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {topology.istio.io/network: of-node}}\n"
		root      = "\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: fairlead-system, labels: {topology.istio.io/network: of-root}}\n"
	)
	plain := fmt.Sprintf(pod, "")
	setting := global()
	setting.Network = "of-setting"
	for _, c := range []struct {
		name      string
		global    compile.Global
		manifests string
		want      string
	}{
		{"nothing_says_it", global(), plain, ""},
		{"its_own_label_before_all", setting, fmt.Sprintf(pod, ", labels: {topology.istio.io/network: of-pod}") + namespace + node + root, "of-pod"},
		{"the_namespace_before_the_node", setting, plain + namespace + node + root, "of-namespace"},
		{"the_node_before_the_setting", setting, plain + node + root, "of-node"},
		{"the_setting_before_the_root_namespace", setting, plain + root, "of-setting"},
		{"the_root_namespace", global(), plain + root, "of-root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			snapshot, _ := compiletest.Load(t, c.manifests)
			w, ok := compile.Compile(store.NewReader(snapshot), c.global, "ip/10.0.0.1").(*plan.Workload)
			if !ok || w.NetworkName != c.want {
				t.Errorf("network %q, want %q", w.NetworkName, c.want)
			}
		})
	}
}

// A WorkloadEntry's network is that of its address: a pod of here that has the same one is another host.
func TestWrittenEndpointsOfOtherNetworks(t *testing.T) {
	got := placed(t, global(), `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vms, namespace: myapp}
spec:
  hosts: [vms.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: 10.0.0.1, network: net2, labels: {security.istio.io/tlsMode: istio}, serviceAccount: vm}
  - {address: 10.0.0.2, network: net2}
  - {address: 10.0.0.3}
---
apiVersion: v1
kind: Pod
metadata: {name: same-address, namespace: myapp, annotations: {fairlead.dev/status: injected}}
spec: {containers: [{name: app, image: app}]}
status: {podIP: 10.0.0.2}
`+strings.ReplaceAll(gatewaysOfTwo, "READY", "false"), "eps/vms.example.com:80/static/myapp")
	want := "10.0.0.1 \"net2\" 192.0.2.1:15443 192.0.2.2:15443\n10.0.0.2 \"net2\"\n10.0.0.3 \"\"\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
}

// Oracle 7 of several networks: what a rule has called without mutual TLS is not called across networks, and it is said.
func TestCheckRulesThatKeepCallsHome(t *testing.T) {
	rule := func(tls string) string {
		return compiletest.TwoNetworks + compiletest.GatewayOfNet2 + `
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: users, namespace: myapp}
spec: {host: users, trafficPolicy: {tls: {mode: ` + tls + `}}}
`
	}
	for mode, want := range map[string]string{
		"DISABLE": "warning: DestinationRule myapp/users: spec.trafficPolicy.tls.mode: with DISABLE callers of other networks do not reach the endpoints of users.myapp.svc.cluster.local in net2, " +
			"for gateways between networks take mutual TLS alone (leave tls out, or ISTIO_MUTUAL)",
		"ISTIO_MUTUAL": "",
	} {
		snapshot, _ := compiletest.Load(t, rule(mode))
		var got []string
		for _, p := range compile.Check(store.NewReader(snapshot), global()) {
			got = append(got, p.String())
		}
		if g := strings.Join(got, "\n"); g != want {
			t.Errorf("%s: %q, want %q", mode, g, want)
		}
	}
}

// What a gateway lets in is what is exported to all, whatever routes the host has.
func TestPassage(t *testing.T) {
	const name = "pass/users.myapp.svc.cluster.local:8080"
	for exported, want := range map[string]bool{"*": true, ".": false, "~": false, "other": false} {
		manifests := strings.Replace(compiletest.TwoNetworks, "{name: users, namespace: myapp}\nspec: {clusterIP",
			"{name: users, namespace: myapp, annotations: {networking.istio.io/exportTo: \""+exported+"\"}}\nspec: {clusterIP", 1) + `
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: users, namespace: myapp}
spec: {hosts: [users], http: [{directResponse: {status: 418}}]}
`
		snapshot, _ := compiletest.Load(t, manifests)
		d, ok := compile.Compile(store.NewReader(snapshot), global(), name).(*plan.Destination)
		if ok != want {
			t.Errorf("exported to %q: passes %v, want %v", exported, ok, want)
		}
		if ok && (len(d.Routes) > 0 || len(d.Backends) != 1 || len(d.Backends[0].Shards) != 1) {
			t.Errorf("exported to %q: %+v, want the endpoints alone", exported, d)
		}
		if canonical, ok := compile.Resolve(store.NewReader(snapshot), global(), compile.Client{Namespace: "net"}, name); !ok || canonical != name {
			t.Errorf("asked for as %q, %v", canonical, ok)
		}
	}
}
