package lab

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"fairlead.dev/fairlead/internal/model"
)

// testSlice is a slice of one port 8080; endpoints are "IP@NODE", with "!" before one that is not ready.
func testSlice(endpoints ...string) *discoveryv1.EndpointSlice {
	name, number := "http", int32(8080)
	s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &number}}}
	for _, e := range endpoints {
		ip, node, _ := strings.Cut(strings.TrimPrefix(e, "!"), "@")
		ready := !strings.HasPrefix(e, "!")
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{ip}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready},
		})
	}
	return s
}

func TestServiceRulesOfPolicies(t *testing.T) {
	pods := podsByNode{
		"n1": {netip.MustParseAddr("10.244.0.2"), netip.MustParseAddr("fd00:10:244::2"), netip.MustParseAddr("10.244.0.1")},
		"n2": {netip.MustParseAddr("10.244.0.3")}, "n3": {netip.MustParseAddr("10.244.0.4")},
	}
	local := corev1.ServiceInternalTrafficPolicyLocal
	tests := []struct {
		name   string
		slices []*discoveryv1.EndpointSlice
		change func(*corev1.ServiceSpec)
		want   []string
	}{
		{
			"an_endpoint_of_two_slices_has_one_share",
			[]*discoveryv1.EndpointSlice{testSlice("10.244.0.1@n1", "10.244.0.3@n2"), testSlice("10.244.0.1@n1")},
			nil,
			[]string{"all -> 10.244.0.1:8080 10.244.0.3:8080"},
		},
		{
			"it_is_ready_where_one_says_so",
			[]*discoveryv1.EndpointSlice{testSlice("!10.244.0.1@n1"), testSlice("10.244.0.1@n1", "!10.244.0.3@n2")},
			nil,
			[]string{"all -> 10.244.0.1:8080"},
		},
		{
			"clients_are_kept",
			[]*discoveryv1.EndpointSlice{testSlice("10.244.0.1@n1", "10.244.0.3@n2")},
			func(s *corev1.ServiceSpec) { s.SessionAffinity = corev1.ServiceAffinityClientIP },
			[]string{"sticky all -> 10.244.0.1:8080 10.244.0.3:8080"},
		},
		{
			"local_is_each_node_s_own",
			[]*discoveryv1.EndpointSlice{testSlice("10.244.0.1@n1", "10.244.0.3@n2", "10.244.0.9@n1")},
			func(s *corev1.ServiceSpec) { s.InternalTrafficPolicy = &local },
			[]string{"10.244.0.1 10.244.0.2 -> 10.244.0.1:8080 10.244.0.9:8080", "10.244.0.3 -> 10.244.0.3:8080"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			svc := testService()
			if tt.change != nil {
				tt.change(&svc.Spec)
			}
			var got []string
			for _, r := range serviceRules([]*corev1.Service{svc}, map[model.Key][]*discoveryv1.EndpointSlice{{Namespace: "default", Name: "web"}: tt.slices}, pods) {
				line := strings.Trim(fmt.Sprint(r.from), "[]") + " -> " + strings.Trim(fmt.Sprint(r.endpoints), "[]")
				if len(r.from) == 0 {
					line = "all" + line
				}
				if r.sticky {
					line = "sticky " + line
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("serviceRules() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestServiceRulesOfExternalIPs(t *testing.T) {
	svc := testService()
	svc.Spec.ExternalIPs = []string{"192.0.2.1", "a name"}
	var got []string
	for _, r := range serviceRules([]*corev1.Service{svc}, map[model.Key][]*discoveryv1.EndpointSlice{{Namespace: "default", Name: "web"}: {testSlice("10.244.0.1@n1")}}, nil) {
		got = append(got, fmt.Sprint(r.vip, " -> ", r.endpoints))
	}
	if diff := cmp.Diff([]string{"10.96.7.7:80 -> [10.244.0.1:8080]", "192.0.2.1:80 -> [10.244.0.1:8080]"}, got); diff != "" {
		t.Errorf("serviceRules() (-want +got):\n%s", diff)
	}
}

// TestServicePolicies: what the kernel makes of the rules, for pods without a sidecar.
func TestServicePolicies(t *testing.T) {
	t.Parallel()
	pod := func(name, node, label string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, labels: {app: %s}}\nspec: {nodeName: %s, containers: [{name: app, image: fairlead.dev/demo-app, readinessProbe: {httpGet: {path: /healthz, port: 8080}}}]}\n---\n", name, label, node)
	}
	service := func(name, more string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}], %s}\n---\n", name, more)
	}
	f := upLab(t, pod("web-1", "n1", "web")+pod("web-2", "n2", "web")+pod("web-3", "n2", "web")+pod("client-1", "n1", "client")+pod("client-2", "n2", "client")+
		"apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n2}\n---\n"+
		service("local", "internalTrafficPolicy: Local")+service("sticky", "sessionAffinity: ClientIP"))
	for client, want := range map[string]int{"client-1": 1, "client-2": 2} {
		r := f.call(t, client, "http://local/", "--count", "40", "--new-connections")
		if r.OK != 40 || len(r.Pods) != want || (client == "client-1") != (r.Pods["web-1"] > 0) {
			t.Errorf("calls of %s to a Service with internalTrafficPolicy Local: %+v, want the %d pods of its node", client, r, want)
		}
		if r := f.call(t, client, "http://sticky/", "--count", "40", "--new-connections"); r.OK != 40 || len(r.Pods) != 1 {
			t.Errorf("calls of %s to a Service with sessionAffinity ClientIP: %+v, want one pod", client, r)
		}
	}
}
