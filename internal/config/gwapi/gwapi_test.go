package gwapi

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/model"
)

func httpRoute(t *testing.T, spec string) (*model.RouteSet, []model.Problem) {
	t.Helper()
	in := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Name: "users", Namespace: "myapp"}}
	if err := yaml.Unmarshal([]byte(spec), &in.Spec); err != nil {
		t.Fatalf("test input: %v\n%s", err, spec)
	}
	return HTTPRoute(in, "cluster.local")
}

func TestHTTPRouteProblems(t *testing.T) {
	t.Parallel()
	const parent = `parentRefs: [{group: "", kind: Service, name: users}]`
	rule := func(r string) string { return "{" + parent + ", rules: [{" + r + "}]}" }
	match := func(m string) string { return rule("matches: [{" + m + "}]") }
	filter := func(f string) string { return rule("filters: [" + f + "]") }
	tests := []struct {
		name, spec string
		want       []string // "severity field: a part of the message"
	}{
		{"nothing wrong", rule("backendRefs: [{name: users, port: 8080}]"), nil},
		{"a Gateway is somebody else's", "{parentRefs: [{name: ingress}], hostnames: [a.com], rules: [{}]}", nil},
		{"an unknown parent", "{parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: x}]}", []string{"warning spec.parentRefs[0]: networking.istio.io/ServiceEntry"}},
		{"a bad parent port", `{parentRefs: [{group: "", kind: Service, name: a, port: 0}]}`, []string{"error spec.parentRefs[0].port: out of range"}},
		{"own and other Services", `{parentRefs: [{group: "", kind: Service, name: a, namespace: b}, {group: core, kind: Service, name: a}]}`, nil},
		{"hostnames", "{" + parent + ", hostnames: [a.com], rules: [{}]}", []string{"warning spec.hostnames: no effect"}},
		{"a relative path", match("path: {value: a}"), []string{"error spec.rules[0].matches[0].path.value: not a path"}},
		{"a path that is never seen", match("path: {value: /a/../b}"), []string{"error spec.rules[0].matches[0].path.value: not a path"}},
		{"an encoded slash", match("path: {type: Exact, value: /a%2fb}"), []string{"error spec.rules[0].matches[0].path.value: not a path"}},
		{"a path that ends in dots", match("path: {value: /a/..}"), []string{"error spec.rules[0].matches[0].path.value: not a path"}},
		{"a bad path pattern", match(`path: {type: RegularExpression, value: "("}`), []string{"error spec.rules[0].matches[0].path.value: invalid regex"}},
		{"a bad path type", match("path: {type: Glob, value: /a}"), []string{"error spec.rules[0].matches[0].path.type: Glob"}},
		{"a bad method", match("method: get"), []string{`error spec.rules[0].matches[0].method: "get"`}},
		{"a bad header name", match("headers: [{name: 'a b', value: x}]"), []string{"error spec.rules[0].matches[0].headers[0].name: not a header name"}},
		{"a bad header pattern", match("headers: [{name: a, type: RegularExpression, value: '['}]"), []string{"error spec.rules[0].matches[0].headers[0].value: invalid regex"}},
		{"a bad header type", match("headers: [{name: a, type: Prefix, value: x}]"), []string{"error spec.rules[0].matches[0].headers[0].type: Prefix"}},
		{"a header twice", match("headers: [{name: a, value: x}, {name: A, value: z}]"), []string{"warning spec.rules[0].matches[0].headers[1].name: first counts"}},
		{"a parameter without name", match("queryParams: [{value: x}]"), []string{"error spec.rules[0].matches[0].queryParams[0].name: no name"}},
		{"a parameter twice", match("queryParams: [{name: a, value: x}, {name: a, value: z}, {name: A, value: z}]"), []string{"warning spec.rules[0].matches[0].queryParams[1].name: first counts"}},
		{"an unknown filter", filter("{type: Magic}"), []string{`error spec.rules[0].filters[0].type: "Magic"`}},
		{"a filter without block", filter("{type: URLRewrite}"), []string{"error spec.rules[0].filters[0]: without its block"}},
		{"filters without blocks", filter("{type: RequestHeaderModifier}, {type: ResponseHeaderModifier}, {type: RequestRedirect}, {type: RequestMirror}"), []string{"error spec.rules[0].filters[0]: block", "error spec.rules[0].filters[1]: block", "error spec.rules[0].filters[2]: block", "error spec.rules[0].filters[3]: block"}},
		{"a filter twice", filter("{type: RequestHeaderModifier, requestHeaderModifier: {}}, {type: RequestHeaderModifier, requestHeaderModifier: {}}"), []string{"error spec.rules[0].filters[1]: twice"}},
		{"redirect and rewrite", filter("{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {}}"), []string{"error spec.rules[0].filters: both"}},
		{"a filter that is not supported", filter("{type: ExternalAuth}"), []string{"warning spec.rules[0].filters[0].type: answered 500"}},
		{"nobody's pages", filter("{type: CORS, cors: {}}"), []string{"warning spec.rules[0].filters[0].cors.allowOrigins: none"}},
		{"CORS on a backend", rule("backendRefs: [{name: a, port: 1, filters: [{type: CORS, cors: {allowOrigins: ['*']}}]}]"), nil},
		{"stars beside others", filter("{type: CORS, cors: {allowOrigins: ['*', 'http://a'], allowMethods: ['*', GET], allowHeaders: [a, '*'], exposeHeaders: [b]}}"), []string{
			"error spec.rules[0].filters[0].cors.allowHeaders[1]: beside", "error spec.rules[0].filters[0].cors.allowOrigins[0]: beside",
			"error spec.rules[0].filters[0].cors.allowMethods[0]: beside",
		}},
		{"no origins, no methods, no names", filter("{type: CORS, cors: {allowOrigins: ['a.com', 'ftp://a', 'http://a/b', 'http://a*.b'], allowMethods: [get], exposeHeaders: ['a b'], maxAge: -1}}"), []string{
			"error spec.rules[0].filters[0].cors.exposeHeaders[0]: not a header name", "error spec.rules[0].filters[0].cors.allowOrigins[0]: not an origin",
			"error spec.rules[0].filters[0].cors.allowOrigins[1]: not an origin", "error spec.rules[0].filters[0].cors.allowOrigins[2]: not an origin",
			"error spec.rules[0].filters[0].cors.allowOrigins[3]: not an origin", "error spec.rules[0].filters[0].cors.allowMethods[0]: not a method",
			"error spec.rules[0].filters[0].cors.maxAge: negative",
		}},
		{"all headers of the answer, with credentials", filter("{type: CORS, cors: {allowOrigins: ['http://a'], allowCredentials: true, exposeHeaders: ['*']}}"), []string{"warning spec.rules[0].filters[0].cors.exposeHeaders: left out"}},
		{"a bad header operation", filter("{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: 'a b', value: c}], remove: [':x']}}"), []string{"error spec.rules[0].filters[0].requestHeaderModifier.set[0].name: not a header name", "error spec.rules[0].filters[0].requestHeaderModifier.remove[0]: not a header name"}},
		{"a header operation twice", filter("{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: a, value: b}, {name: A, value: c}]}}"), []string{"warning spec.rules[0].filters[0].responseHeaderModifier.add[1].name: first counts"}},
		{"a framing header", filter("{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [Connection]}}"), []string{"warning spec.rules[0].filters[0].responseHeaderModifier.remove[0]: proxy's own"}},
		{"a line break", filter(`{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: "b\nc"}]}}`), []string{"error spec.rules[0].filters[0].requestHeaderModifier.set[0].value: control characters"}},
		{"the host twice", filter("{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: a}]}}, {type: URLRewrite, urlRewrite: {hostname: b}}"), []string{"error spec.rules[0].filters: Host"}},
		{"a bad redirect", filter("{type: RequestRedirect, requestRedirect: {scheme: ftp, port: 0, statusCode: 200}}"), []string{"error spec.rules[0].filters[0].requestRedirect.scheme: ftp", "error spec.rules[0].filters[0].requestRedirect.port: out of range", "error spec.rules[0].filters[0].requestRedirect.statusCode: 200"}},
		{"a redirect with backends", rule("filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}], backendRefs: [{name: a, port: 1}]"), []string{"error spec.rules[0].backendRefs: RequestRedirect"}},
		{"a prefix replaced without prefix", rule("matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]"), []string{"error spec.rules[0].filters[0].urlRewrite.path: no PathPrefix"}},
		{"a path modifier without path", filter("{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath}}}"), []string{"error spec.rules[0].filters[0].urlRewrite.path: no replaceFullPath"}},
		{"a prefix modifier without prefix", filter("{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch}}}"), []string{"error spec.rules[0].filters[0].urlRewrite.path: no replacePrefixMatch"}},
		{"a relative replacement", filter("{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: a}}}"), []string{"error spec.rules[0].filters[0].urlRewrite.path: not a path"}},
		{"an unknown path modifier", filter("{type: URLRewrite, urlRewrite: {path: {type: Magic}}}"), []string{"error spec.rules[0].filters[0].urlRewrite.path.type: Magic"}},
		{"two shares of a mirror", filter("{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}, percent: 1, fraction: {numerator: 1}}}"), []string{"error spec.rules[0].filters[0].requestMirror: both"}},
		{"too large a share", filter("{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}, fraction: {numerator: 2, denominator: 1}}}"), []string{"error spec.rules[0].filters[0].requestMirror: 200 percent"}},
		{"a share of nothing", filter("{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}, fraction: {numerator: 2, denominator: 0}}}"), []string{"error spec.rules[0].filters[0].requestMirror.fraction.denominator: not positive"}},
		{"a backend without port", rule("backendRefs: [{name: a}]"), []string{"error spec.rules[0].backendRefs[0].port: no port"}},
		{"a backend without name", rule("backendRefs: [{port: 1}]"), []string{"error spec.rules[0].backendRefs[0].name: no name"}},
		{"a bad backend port", rule("backendRefs: [{name: a, port: 70000}]"), []string{"error spec.rules[0].backendRefs[0].port: out of range"}},
		{"a bad weight", rule("backendRefs: [{name: a, port: 1, weight: -1}]"), []string{"error spec.rules[0].backendRefs[0].weight: -1"}},
		{"a bad duration", rule("timeouts: {request: 1.5s}"), []string{"error spec.rules[0].timeouts.request: not a duration"}},
		{"a try longer than the request", rule("timeouts: {request: 1s, backendRequest: 2s}"), []string{"error spec.rules[0].timeouts.backendRequest: longer"}},
		{"a try without request", rule("timeouts: {request: 0s, backendRequest: 2s}"), nil},
		{"bad retries", rule("retry: {attempts: -1, codes: [200], backoff: x}"), []string{"error spec.rules[0].retry.backoff: not a duration", "error spec.rules[0].retry.attempts: negative", "error spec.rules[0].retry.codes[0]: 200"}},
		{"sessions", rule("sessionPersistence: {}"), nil},
		{"a name of a session that is none", rule("sessionPersistence: {sessionName: a b}"), []string{"error spec.rules[0].sessionPersistence.sessionName: not a name"}},
		{"a long name of a session", rule("sessionPersistence: {sessionName: " + strings.Repeat("x", 129) + "}"), []string{"error spec.rules[0].sessionPersistence.sessionName: not a name"}},
		{"the header of a connection", rule("sessionPersistence: {type: Header, sessionName: Transfer-Encoding}"), []string{"error spec.rules[0].sessionPersistence.sessionName: own header"}},
		{"an unknown carrier of sessions", rule("sessionPersistence: {type: Pigeon}"), []string{"error spec.rules[0].sessionPersistence.type: Pigeon"}},
		{"cookies of a header", rule("sessionPersistence: {type: Header, cookieConfig: {lifetimeType: Session}}"), []string{"error spec.rules[0].sessionPersistence.cookieConfig: only cookies"}},
		{"a permanent cookie without end", rule("sessionPersistence: {cookieConfig: {lifetimeType: Permanent}}"), []string{"error spec.rules[0].sessionPersistence.absoluteTimeout: needs one"}},
		{"an unknown lifetime", rule("sessionPersistence: {cookieConfig: {lifetimeType: Eternal}}"), []string{"error spec.rules[0].sessionPersistence.cookieConfig.lifetimeType: Eternal"}},
		{"a session of no time", rule("sessionPersistence: {absoluteTimeout: 0s}"), []string{"error spec.rules[0].sessionPersistence.absoluteTimeout: no time"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, problems := httpRoute(t, tt.spec)
			expectProblems(t, got, problems, tt.want)
		})
	}
}

// expectProblems compares problems with "severity field: a part of the message".
func expectProblems(t *testing.T, got *model.RouteSet, problems []model.Problem, want []string) {
	t.Helper()
	if rejected(problems) != (got == nil) {
		t.Errorf("value is nil = %v, problems %v", got == nil, problems)
	}
	if len(problems) != len(want) {
		t.Fatalf("problems = %v, want %q", problems, want)
	}
	for i, p := range problems {
		head, part, _ := strings.Cut(want[i], ": ")
		if fmt.Sprintf("%s %s", p.Severity, p.Field) != head || !strings.Contains(p.Message, part) {
			t.Errorf("problem %d = %s, want %q", i, p, want[i])
		}
	}
}

func rejected(problems []model.Problem) bool {
	r := model.Report{Problems: problems}
	return r.Rejected()
}

func TestHTTPRoute(t *testing.T) {
	t.Parallel()
	got, problems := httpRoute(t, `
parentRefs:
- {group: "", kind: Service, name: payments, namespace: other, port: 8080, sectionName: http}
- {group: "", kind: Service, name: payments, namespace: other, port: 9090}
rules:
- name: canary
  matches: [{path: {type: Exact, value: /a}, method: GET}]
  backendRefs:
  - {name: users, port: 8080, weight: 3}
  - {group: example.org, kind: Bucket, name: b}
  - {name: c, port: 1, filters: [{type: RequestRedirect, requestRedirect: {}}]}
  - {name: d, port: 1, filters: [{type: RequestMirror, requestMirror: {backendRef: {name: e, port: 1}}}]}
  timeouts: {request: 1m30s}
`)
	host := model.Hostname("payments.other.svc.cluster.local")
	service := model.Key{Namespace: "other", Name: "payments"}
	want := &model.RouteSet{
		Ref:   model.Ref{Kind: "HTTPRoute", Key: model.Key{Namespace: "myapp", Name: "users"}},
		Hosts: []model.Hostname{host},
		Parents: []model.RouteParent{
			{Field: "spec.parentRefs[0]", Service: service, Host: host, Port: 8080, PortName: "http"},
			{Field: "spec.parentRefs[1]", Service: service, Host: host, Port: 9090},
		},
		HTTP: []model.HTTPRule{{
			Name: "canary", Field: "spec.rules[0]", Timeout: 90 * time.Second,
			Matches: []model.HTTPMatch{{
				URI: &model.StringMatch{Kind: model.Exact, Value: "/a"}, Method: &model.StringMatch{Kind: model.Exact, Value: "GET"},
			}},
			Backends: []model.WeightedBackend{
				{Field: "spec.rules[0].backendRefs[0]", Host: "users.myapp.svc.cluster.local", Port: 8080, Weight: 3},
				{Field: "spec.rules[0].backendRefs[1]", Host: "b.myapp.svc.cluster.local", Weight: 1, Invalid: "a backend of kind example.org/Bucket is not supported: its calls are answered 500"},
				{Field: "spec.rules[0].backendRefs[2]", Host: "c.myapp.svc.cluster.local", Port: 1, Weight: 1, Unsupported: "the filter RequestRedirect is not supported on a backend: its calls are answered 500"},
				{Field: "spec.rules[0].backendRefs[3]", Host: "d.myapp.svc.cluster.local", Port: 1, Weight: 1, Unsupported: "the filter RequestMirror is not supported on a backend: its calls are answered 500"},
			},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" || len(problems) > 0 {
		t.Errorf("HTTPRoute: problems %v, value (-want +got):\n%s", problems, diff)
	}
}

func TestHTTPRouteWithoutRules(t *testing.T) {
	t.Parallel()
	got, _ := httpRoute(t, `parentRefs: [{group: "", kind: Service, name: users}]`)
	want := []model.HTTPRule{{Field: "spec.rules", Matches: []model.HTTPMatch{everyPath()}}}
	if diff := cmp.Diff(want, got.HTTP); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

// FuzzTranslate gives the translator arbitrary specs: it never panics, gives the same answer twice, and a value exactly
// where nothing is rejected.
func FuzzTranslate(f *testing.F) {
	f.Add(`{parentRefs: [{group: "", kind: Service, name: users}], rules: [{matches: [{path: {value: /a}}], backendRefs: [{name: a, port: 1}]}]}`)
	f.Add(`{parentRefs: [null], hostnames: [""], rules: [null, {matches: [null], filters: [null], backendRefs: [null], timeouts: {}, retry: {}}]}`)
	f.Add(`{rules: [{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: host, value: a}]}}, {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]}]}`)
	f.Add(`{parentRefs: [{group: "", kind: Service, name: users}], rules: [{matches: [{method: {service: a, method: b}}, {method: {type: RegularExpression, method: "["}}], filters: [{type: RequestMirror}]}, null]}`)
	f.Add(`{parentRefs: [{group: "", kind: Service, name: users}], hostnames: ["*.a", "::1", ""], rules: [{backendRefs: [{name: a, port: 1}, null]}, null]}`)
	meta := metav1.ObjectMeta{Name: "users", Namespace: "myapp"}
	f.Fuzz(func(t *testing.T, spec string) {
		in, grpc := &gatewayv1.HTTPRoute{ObjectMeta: meta}, &gatewayv1.GRPCRoute{ObjectMeta: meta}
		if yaml.Unmarshal([]byte(spec), &in.Spec) == nil {
			sameTwice(t, func() (*model.RouteSet, []model.Problem) { return HTTPRoute(in, "cluster.local") })
		}
		if yaml.Unmarshal([]byte(spec), &grpc.Spec) == nil {
			sameTwice(t, func() (*model.RouteSet, []model.Problem) { return GRPCRoute(grpc, "cluster.local") })
		}
		overTLS, overTCP := &gatewayv1.TLSRoute{ObjectMeta: meta}, &gatewayv1.TCPRoute{ObjectMeta: meta}
		if yaml.Unmarshal([]byte(spec), &overTLS.Spec) == nil {
			sameTwice(t, func() (*model.RouteSet, []model.Problem) { return TLSRoute(overTLS, "cluster.local") })
		}
		if yaml.Unmarshal([]byte(spec), &overTCP.Spec) == nil {
			sameTwice(t, func() (*model.RouteSet, []model.Problem) { return TCPRoute(overTCP, "cluster.local") })
		}
	})
}

func sameTwice(t *testing.T, translate func() (*model.RouteSet, []model.Problem)) {
	t.Helper()
	a, p := translate()
	b, q := translate()
	if rejected(p) != (a == nil) {
		t.Errorf("value is nil = %v, problems %v", a == nil, p)
	}
	if !reflect.DeepEqual(a, b) || !reflect.DeepEqual(p, q) {
		t.Errorf("the second answer differs:\n%+v %v\n%+v %v", a, p, b, q)
	}
	if a == nil {
		return
	}
	for i := range a.HTTP {
		for _, m := range a.HTTP[i].Matches {
			if m.URI.Kind != model.Regex {
				continue
			}
			if _, err := model.CompileRegex(m.URI.Value); err != nil {
				t.Errorf("a pattern that no proxy can compile: %v", err)
			}
		}
	}
}
