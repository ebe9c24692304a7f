package gwapi

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/model"
)

func tcpRoute(t *testing.T, spec string) (*model.RouteSet, []model.Problem) {
	t.Helper()
	in := &gatewayv1.TCPRoute{ObjectMeta: metav1.ObjectMeta{Name: "users", Namespace: "myapp"}}
	in.Spec = read[gatewayv1.TCPRouteSpec](t, spec)
	return TCPRoute(in, "cluster.local")
}

func tlsRoute(t *testing.T, spec string) (*model.RouteSet, []model.Problem) {
	t.Helper()
	in := &gatewayv1.TLSRoute{ObjectMeta: metav1.ObjectMeta{Name: "users", Namespace: "myapp"}}
	in.Spec = read[gatewayv1.TLSRouteSpec](t, spec)
	return TLSRoute(in, "cluster.local")
}

func TestTCPRouteProblems(t *testing.T) {
	t.Parallel()
	const parent, to = `parentRefs: [{group: "", kind: Service, name: users}]`, "backendRefs: [{name: users, port: 3306}]"
	tests := []struct {
		name, spec string
		want       []string // "severity field: a part of the message"
	}{
		{"nothing wrong", "{" + parent + ", rules: [{" + to + "}]}", nil},
		{"what is wrong in a route of a Gateway is not ours to say", "{parentRefs: [{name: ingress}]}", nil},
		{"no rule", "{" + parent + "}", []string{"error spec.rules: no rule"}},
		{"no backend", "{" + parent + ", rules: [{}]}", []string{"error spec.rules[0].backendRefs: no backends"}},
		{"several rules", "{" + parent + ", rules: [{" + to + "}, {" + to + "}]}", []string{"warning spec.rules[1]: first rule"}},
		{"a backend without port", "{" + parent + ", rules: [{backendRefs: [{name: a}]}]}", []string{"error spec.rules[0].backendRefs[0].port: no port"}},
		{"a bad weight", "{" + parent + ", rules: [{backendRefs: [{name: a, port: 1, weight: 1000001}]}]}", []string{"error spec.rules[0].backendRefs[0].weight: 1000001"}},
		{"a bad parent port", `{parentRefs: [{group: "", kind: Service, name: a, port: 0}], rules: [{` + to + "}]}", []string{"error spec.parentRefs[0].port: out of range"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, problems := tcpRoute(t, tt.spec)
			expectProblems(t, got, problems, tt.want)
		})
	}
}

func TestTLSRouteProblems(t *testing.T) {
	t.Parallel()
	of := func(hostnames string) string {
		return `{parentRefs: [{group: "", kind: Service, name: users}], hostnames: [` + hostnames + `], rules: [{backendRefs: [{name: users, port: 443}]}]}`
	}
	bad := []string{"error spec.hostnames[0]: no name that a TLS greeting can ask for"}
	tests := []struct {
		name, spec string
		want       []string // "severity field: a part of the message"
	}{
		{"names", of(`a, a.example.com, "*.example.com", xn--bcher-kva.example`), nil},
		{"no names", of(""), []string{"warning spec.hostnames: every connection"}},
		{"every name", of(`"*"`), bad},
		{"a wildcard inside", of("a.*.example.com"), bad},
		{"a wildcard for a part of a label", of("'*a.example.com'"), bad},
		{"an address", of("10.1.2.3"), bad},
		{"an address of IPv6", of("'::1'"), bad},
		{"upper case", of("A.example.com"), bad},
		{"a final dot", of("a.example.com."), bad},
		{"a port", of("'a.example.com:443'"), bad},
		{"the second of two", of("a, b_c"), []string{`error spec.hostnames[1]: "b_c"`}},
		{"no rule", `{parentRefs: [{group: "", kind: Service, name: users}], hostnames: [a]}`, []string{"error spec.rules: no rule"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, problems := tlsRoute(t, tt.spec)
			expectProblems(t, got, problems, tt.want)
		})
	}
}

func TestRoutesOfConnections(t *testing.T) {
	t.Parallel()
	const spec = `{parentRefs: [{group: "", kind: Service, name: users, namespace: other, port: 443}], hostnames: [a.example.com, "*.b.example.com"],
  rules: [{backendRefs: [{name: users, port: 443, weight: 9}, {group: a, kind: B, name: c}]}]}`
	ref := func(kind string) model.Ref {
		return model.Ref{Kind: kind, Key: model.Key{Namespace: "myapp", Name: "users"}}
	}
	host := model.Hostname("users.other.svc.cluster.local")
	want := &model.RouteSet{
		Ref: ref("TLSRoute"), Hosts: []model.Hostname{host},
		Parents: []model.RouteParent{{Field: "spec.parentRefs[0]", Service: model.Key{Namespace: "other", Name: "users"}, Host: host, Port: 443}},
		TLS: []model.TCPRule{{
			Field: "spec.rules[0]", Matches: []model.TCPMatch{{SNI: []string{"a.example.com", "*.b.example.com"}}},
			Backends: []model.WeightedBackend{
				{Field: "spec.rules[0].backendRefs[0]", Host: "users.myapp.svc.cluster.local", Port: 443, Weight: 9},
				{
					Field: "spec.rules[0].backendRefs[1]", Host: "c.myapp.svc.cluster.local", Weight: 1,
					Invalid: "a backend of kind a/B is not supported: its connections are closed",
				},
			},
		}},
	}
	got, problems := tlsRoute(t, spec)
	if diff := cmp.Diff(want, got); diff != "" || len(problems) > 0 {
		t.Errorf("TLSRoute (-want +got), problems %v:\n%s", problems, diff)
	}
	want.Ref, want.TCP, want.TLS = ref("TCPRoute"), want.TLS, nil
	want.TCP[0].Matches = nil
	got, problems = tcpRoute(t, spec) // a TCPRoute has no hostnames
	if diff := cmp.Diff(want, got); diff != "" || len(problems) > 0 {
		t.Errorf("TCPRoute (-want +got), problems %v:\n%s", problems, diff)
	}
}
