package gwapi

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/model"
)

func grpcRoute(t *testing.T, spec string) (*model.RouteSet, []model.Problem) {
	t.Helper()
	in := &gatewayv1.GRPCRoute{ObjectMeta: metav1.ObjectMeta{Name: "users", Namespace: "myapp"}}
	in.Spec = read[gatewayv1.GRPCRouteSpec](t, spec)
	return GRPCRoute(in, "cluster.local")
}

func TestGRPCRouteProblems(t *testing.T) {
	t.Parallel()
	const parent = `parentRefs: [{group: "", kind: Service, name: users}]`
	rule := func(r string) string { return "{" + parent + ", rules: [{" + r + "}]}" }
	match := func(m string) string { return rule("matches: [{" + m + "}]") }
	filter := func(f string) string { return rule("filters: [" + f + "]") }
	tests := []struct {
		name, spec string
		want       []string // "severity field: a part of the message"
	}{
		{"nothing wrong", rule("backendRefs: [{name: users, port: 9090}]"), nil},
		{"what is wrong in a route of a Gateway is not ours to say", "{parentRefs: [{name: ingress}], rules: [{matches: [{method: {}}]}]}", nil},
		{"hostnames", "{" + parent + ", hostnames: [a.com]}", []string{"warning spec.hostnames: no effect"}},
		{"a match on no method", match("method: {}"), []string{"error spec.rules[0].matches[0].method: neither"}},
		{"a bad service", match("method: {service: a/b}"), []string{`error spec.rules[0].matches[0].method.service: "a/b"`}},
		{"a bad method", match("method: {method: a.b}"), []string{`error spec.rules[0].matches[0].method.method: "a.b"`}},
		{"a bad type", match("method: {type: Prefix, service: a}"), []string{"error spec.rules[0].matches[0].method.type: Prefix"}},
		{"a bad pattern", match("method: {type: RegularExpression, service: '('}"), []string{"error spec.rules[0].matches[0].method.service: invalid regex"}},
		{"patterns that are too long together", match("method: {type: RegularExpression, service: '" + strings.Repeat("a", 3000) + "', method: '" + strings.Repeat("b", 3000) + "'}"), []string{"error spec.rules[0].matches[0].method: longer"}},
		{"a bad header name", match("headers: [{name: 'a b', value: x}]"), []string{"error spec.rules[0].matches[0].headers[0].name: not a header name"}},
		{"a header twice", match("headers: [{name: a, value: x}, {name: A, value: y}]"), []string{"warning spec.rules[0].matches[0].headers[1].name: first counts"}},
		{"a filter that only HTTPRoutes have", filter("{type: URLRewrite}"), []string{"error spec.rules[0].filters[0].type: not a filter of a GRPCRoute"}},
		{"a filter without block", filter("{type: RequestMirror}"), []string{"error spec.rules[0].filters[0]: without its block"}},
		{"a filter that is not supported", filter("{type: ExtensionRef, extensionRef: {group: a, kind: B, name: c}}"), []string{"warning spec.rules[0].filters[0].type: answered 500"}},
		{"a bad weight", rule("backendRefs: [{name: a, port: 1, weight: -1}]"), []string{"error spec.rules[0].backendRefs[0].weight: -1"}},
		{"a backend without port", rule("backendRefs: [{name: a}]"), []string{"error spec.rules[0].backendRefs[0].port: no port"}},
		{"sessions", rule("sessionPersistence: {type: Pigeon}"), []string{"error spec.rules[0].sessionPersistence.type: Pigeon"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, problems := grpcRoute(t, tt.spec)
			expectProblems(t, got, problems, tt.want)
		})
	}
}

func TestGRPCRoute(t *testing.T) {
	t.Parallel()
	got, problems := grpcRoute(t, `
parentRefs: [{group: core, kind: Service, name: users, port: 9090}]
rules:
- name: reads
  matches:
  - {method: {service: users.Users, method: Get}, headers: [{name: x-a, value: b}]}
  - {method: {service: users.Users}}
  - {method: {method: Get}}
  - {method: {type: RegularExpression, service: "a|b"}}
  - {headers: [{name: x-a, type: RegularExpression, value: b+}]}
  filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [x-b]}}]
  backendRefs:
  - {name: users, port: 9090, weight: 0}
  - {name: c, port: 1, filters: [{type: RequestMirror, requestMirror: {backendRef: {name: e, port: 1}}}]}
- {}
`)
	host := model.Hostname("users.myapp.svc.cluster.local")
	uri := func(k model.MatchKind, v string) *model.StringMatch { return &model.StringMatch{Kind: k, Value: v} }
	header := func(k model.MatchKind, v string) []model.NamedMatch {
		return []model.NamedMatch{{Name: "x-a", Match: model.StringMatch{Kind: k, Value: v}}}
	}
	want := &model.RouteSet{
		Ref: model.Ref{Kind: "GRPCRoute", Key: model.Key{Namespace: "myapp", Name: "users"}}, Hosts: []model.Hostname{host},
		Parents: []model.RouteParent{{Field: "spec.parentRefs[0]", Service: model.Key{Namespace: "myapp", Name: "users"}, Host: host, Port: 9090}},
		HTTP: []model.HTTPRule{{
			Name: "reads", Field: "spec.rules[0]",
			Matches: []model.HTTPMatch{
				{URI: uri(model.Exact, "/users.Users/Get"), Headers: header(model.Exact, "b")},
				{URI: uri(model.Prefix, "/users.Users/")},
				{URI: uri(model.Regex, "/[^/]+/Get")},
				{URI: uri(model.Regex, "/(?:a|b)/[^/]+")},
				{URI: uri(model.PathPrefix, "/"), Headers: header(model.Regex, "b+")},
			},
			Headers: model.HeaderOps{Request: model.HeaderChange{Remove: []string{"x-b"}}},
			Backends: []model.WeightedBackend{
				{Field: "spec.rules[0].backendRefs[0]", Host: host, Port: 9090},
				{Field: "spec.rules[0].backendRefs[1]", Host: "c.myapp.svc.cluster.local", Port: 1, Weight: 1, Unsupported: "the filter RequestMirror is not supported on a backend: its calls are answered 500"},
			},
		}, {
			Field: "spec.rules[1]", Matches: []model.HTTPMatch{everyPath()},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" || len(problems) > 0 {
		t.Errorf("GRPCRoute: problems %v, value (-want +got):\n%s", problems, diff)
	}
}
