package istio

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
)

func TestServiceEntryProblems(t *testing.T) {
	t.Parallel()
	const port = "ports: [{number: 80, name: http, protocol: HTTP}]"
	with := func(more string) string { return "{hosts: [a.com], " + port + ", " + more + "}" }
	tests := []problemCase{
		{"nothing wrong", with("resolution: DNS"), nil},
		{"no hosts", "{" + port + "}", []string{"error spec.hosts: no hosts"}},
		{"every host", "{hosts: ['*'], " + port + "}", []string{"error spec.hosts[0]: every call"}},
		{"a bad host", "{hosts: ['a.com:80'], " + port + "}", []string{"error spec.hosts[0]: not a host"}},
		{"a host twice", "{hosts: [a.com, A.com.], " + port + "}", []string{"warning spec.hosts[1]: twice"}},
		{"a wildcard to look up", "{hosts: ['*.com'], resolution: DNS, " + port + "}", []string{"error spec.hosts[0]: cannot be looked up"}},
		{"a wildcard with endpoints", "{hosts: ['*.com'], resolution: DNS, endpoints: [{address: b.com}], " + port + "}", nil},
		{"no ports", "{hosts: [a.com]}", []string{"warning spec.ports: no ports"}},
		{"a bad port", "{hosts: [a.com], ports: [{number: 70000, name: a, targetPort: 70000}]}", []string{"error spec.ports[0].number: out of range", "error spec.ports[0].targetPort: out of range"}},
		{"a port without name", "{hosts: [a.com], ports: [{number: 1}]}", []string{"error spec.ports[0].name: no name"}},
		{"ports twice", "{hosts: [a.com], ports: [{number: 1, name: a}, {number: 1, name: a}]}", []string{"error spec.ports[1].name: two ports", "error spec.ports[1].number: twice"}},
		{"a bad protocol", "{hosts: [a.com], ports: [{number: 1, name: a, protocol: HTTTP}]}", []string{"error spec.ports[0].protocol: not a protocol"}},
		{"a bad address", with("addresses: [10.0.0.0/40]"), []string{"error spec.addresses[0]: not an address"}},
		{"a prefix to look up", with("addresses: [10.0.0.0/8], resolution: DNS"), []string{"error spec.addresses[0]: prefix"}},
		{"endpoints that are not used", with("endpoints: [{address: 1.2.3.4}]"), []string{"error spec.endpoints: NONE"}},
		{"no endpoints", with("resolution: STATIC"), []string{"warning spec.endpoints: every call fails"}},
		{"two endpoints in turn", with("resolution: DNS_ROUND_ROBIN, endpoints: [{address: a.com}, {address: b.com}]"), []string{"error spec.endpoints: one endpoint"}},
		{"dynamic names", "{hosts: ['*.a.com'], ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}], resolution: DYNAMIC_DNS}", nil},
		{"a dynamic name that is one", with("resolution: DYNAMIC_DNS"), []string{"error spec.hosts[0]: for wildcards"}},
		{"dynamic names with addresses", "{hosts: ['*.a.com'], " + port + ", addresses: [10.0.0.1], endpoints: [{address: b.com}], resolution: DYNAMIC_DNS}", []string{
			"error spec.addresses: whatever address", "error spec.endpoints: the host that a call names",
		}},
		{"dynamic names of bytes", "{hosts: ['*.a.com'], ports: [{number: 80, name: tcp, protocol: TCP}], resolution: DYNAMIC_DNS}", []string{"error spec.ports[0].protocol: names a host"}},
		{"selector and endpoints", with("resolution: STATIC, workloadSelector: {labels: {a: b}}, endpoints: [{address: 1.2.3.4}]"), []string{"error spec.workloadSelector: both"}},
		{"a selector to look up", with("resolution: DNS, workloadSelector: {labels: {a: b}}"), nil},
		{"a selector of nothing", with("workloadSelector: {labels: {a: b}}"), []string{"warning spec.workloadSelector: STATIC and DNS only"}},
		{"a wildcard selector", with("resolution: STATIC, workloadSelector: {labels: {a: '*'}}"), []string{"error spec.workloadSelector.labels[a]: not a label value"}},
		{"a name for an address", with("resolution: STATIC, endpoints: [{address: b.com}]"), []string{"error spec.endpoints[0].address: STATIC takes addresses"}},
		{"no address", with("resolution: STATIC, endpoints: [{labels: {a: b}}]"), []string{"error spec.endpoints[0].address: no address"}},
		{"a Unix socket", with("resolution: STATIC, endpoints: [{address: 'unix:///x'}, {address: 'unix://@x'}]"), nil},
		{"a Unix socket with ports", with("resolution: STATIC, endpoints: [{address: 'unix:///x', ports: {http: 1}}]"), []string{"error spec.endpoints[0].ports: no ports"}},
		{"a Unix socket for two ports", "{hosts: [a.com], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: more, protocol: HTTP}], endpoints: [{address: 'unix:///x'}]}", []string{"error spec.ports: one alone"}},
		{"no Unix socket", with("resolution: STATIC, endpoints: [{address: 'unix://x'}]"), []string{"error spec.endpoints[0].address: absolute path"}},
		{"a long Unix socket", with("resolution: STATIC, endpoints: [{address: 'unix:///" + strings.Repeat("x", 107) + "'}]"), []string{"error spec.endpoints[0].address: 107"}},
		{"a Unix socket to look up", with("resolution: DNS, endpoints: [{address: 'unix:///x'}]"), []string{"error spec.endpoints[0].address: takes names and addresses"}},
		{"an address with port", with("resolution: STATIC, endpoints: [{address: '1.2.3.4:80'}]"), []string{"error spec.endpoints[0].address: neither"}},
		{"an unknown port", with("resolution: STATIC, endpoints: [{address: 1.2.3.4, ports: {https: 1}}]"), []string{`error spec.endpoints[0].ports[https]: no port "https"`}},
		{"a bad endpoint port", with("resolution: STATIC, endpoints: [{address: 1.2.3.4, ports: {http: 0}}]"), []string{"error spec.endpoints[0].ports[http]: out of range"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, problems := entry(t, tt.spec)
			check(t, tt, got == nil, problems)
		})
	}
}

func TestServiceEntry(t *testing.T) {
	t.Parallel()
	got, problems := entry(t, `
hosts: [a.com, "*.b.com"]
addresses: [240.0.0.1, 10.1.2.3/16]
ports: [{number: 80, name: web, protocol: http, targetPort: 8080}, {number: 443, name: tls, protocol: HTTPS}]
location: MESH_INTERNAL
resolution: STATIC
endpoints: [{address: "fd00::1", ports: {web: 81}, labels: {v: "1"}, locality: r/z/s, weight: 3, serviceAccount: sa, network: net}]
subjectAltNames: [x]
`)
	if len(problems) > 0 || len(got) != 2 {
		t.Fatalf("ServiceEntry = %d services, problems %v", len(got), problems)
	}
	s := got[1]
	if s.Key != (model.Key{Namespace: "myapp", Name: "*.b.com"}) || s.Host != "*.b.com" || s.External || s.Origin.Kind != "ServiceEntry" {
		t.Errorf("second host = %+v", s)
	}
	if got, want := fmt.Sprint(s.VIPs), "[240.0.0.1/32 10.1.0.0/16]"; got != want {
		t.Errorf("addresses = %s, want %s", got, want)
	}
	wantPorts := []model.ServicePort{
		{Name: "web", Port: 80, TargetPort: 8080, Protocol: model.HTTP}, {Name: "tls", Port: 443, TargetPort: 443, Protocol: model.TLS},
	}
	if diff := cmp.Diff(wantPorts, s.Ports); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	e := s.Endpoints[0]
	if e.Address.String() != "fd00::1" || e.Ports["web"] != 81 || e.Weight != 3 || e.Locality.String() != "r/z/s" || e.ServiceAccount != "sa" {
		t.Errorf("endpoint = %+v", e)
	}
}
