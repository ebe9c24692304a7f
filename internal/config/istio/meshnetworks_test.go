package istio

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
)

func TestMeshNetworks(t *testing.T) {
	const net2 = `net2: {endpoints: [{fromRegistry: east}, {fromCidr: 10.1.2.3/16}], gateways: [{address: "::ffff:192.0.2.1", port: 443}, {registryServiceName: gw.net.svc.cluster.local, port: 15443}]}`
	want := model.MeshNetworks{{
		Name: "net2", Clusters: []string{"east"}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
		Gateways: []model.MeshGateway{{Address: netip.MustParseAddr("192.0.2.1"), Port: 443}, {Service: "gw.net.svc.cluster.local", Port: 15443}},
	}}
	for _, c := range []struct{ name, written, wrong string }{
		{"by_their_names", "{" + net2 + "}", ""},
		{"as_in_the_configmap", "networks:\n  " + net2, ""},
		{"a_list", "[]", "write an object"},
		{"no_yaml", "{", "meshNetworks:"},
		{"an_unknown_field", "{net2: {endpoint: []}}", `unknown field "endpoint"`},
		{"a_name_that_no_label_can_have", "{net 2: {}}", `the name "net 2" is compared with the label topology.istio.io/network`},
		{"no_prefix", "{net2: {endpoints: [{fromCidr: '10.1'}]}}", `net2.endpoints[0].fromCidr "10.1" is no prefix`},
		{"neither_cluster_nor_prefix", "{net2: {endpoints: [{}]}}", "net2.endpoints[0]: write fromRegistry"},
		{"a_gateway_by_name", "{net2: {gateways: [{address: gw.example.com, port: 1}]}}", `net2.gateways[0].address "gw.example.com" is no IP address`},
		{"a_gateway_without_port", "{net2: {gateways: [{address: 192.0.2.1}]}}", "net2.gateways[0].port 0"},
		{"a_gateway_that_is_none", "{net2: {gateways: [{port: 1}]}}", "net2.gateways[0]: write address or registryServiceName"},
		{"a_cluster_in_two", "{a: {endpoints: [{fromRegistry: east}]}, b: {endpoints: [{fromRegistry: east}]}}", "b: cluster east is in network a already"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := MeshNetworks(c.written)
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Fatalf("MeshNetworks = %v, want %q", err, c.wrong)
				}
				return
			}
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" || err != nil {
				t.Errorf("MeshNetworks: %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// FuzzMeshNetworks: nothing panics, and the same text means the same twice.
func FuzzMeshNetworks(f *testing.F) {
	for _, s := range []string{"", "{net2: {endpoints: [{fromRegistry: east}], gateways: [{address: 192.0.2.1, port: 1}]}}", "networks: {a: {endpoints: [{fromCidr: ::/0}]}}", "[]", "{a: {gateways: [{registryServiceName: a., port: 9}]}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, written string) {
		a, err := MeshNetworks(written)
		b, again := MeshNetworks(written)
		if (err == nil) != (again == nil) || !reflect.DeepEqual(a, b) {
			t.Errorf("%v, %v and then %v, %v", a, err, b, again)
		}
		for _, n := range a {
			if n.Name == "" {
				t.Errorf("a network without a name: %+v", n)
			}
		}
	})
}
