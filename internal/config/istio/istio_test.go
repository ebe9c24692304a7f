package istio

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/model"
)

const domain = "cluster.local"

var meta = metav1.ObjectMeta{Name: "users", Namespace: "myapp"}

func decode(t *testing.T, spec string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(spec), into); err != nil {
		t.Fatalf("test input: %v\n%s", err, spec)
	}
}

func virtual(t *testing.T, spec string) (*model.RouteSet, []model.Problem) {
	t.Helper()
	in := &networkingv1.VirtualService{ObjectMeta: meta}
	decode(t, spec, &in.Spec)
	return VirtualService(in, domain)
}

func destination(t *testing.T, spec string) (*model.DestinationPolicy, []model.Problem) {
	t.Helper()
	in := &networkingv1.DestinationRule{ObjectMeta: meta}
	decode(t, spec, &in.Spec)
	return DestinationRule(in, domain)
}

func entry(t *testing.T, spec string) ([]*model.Service, []model.Problem) {
	t.Helper()
	in := &networkingv1.ServiceEntry{ObjectMeta: meta}
	decode(t, spec, &in.Spec)
	return ServiceEntry(in, domain)
}

// problemCase is a spec and the problems it has, as "severity field: a part of the message".
type problemCase struct {
	name, spec string
	want       []string
}

// check compares severities and fields whole, and messages by a part.
func check(t *testing.T, tt problemCase, isNil bool, got []model.Problem) {
	t.Helper()
	rejected := false
	var list []string
	for _, p := range got {
		rejected = rejected || p.Severity == model.Rejected
		list = append(list, fmt.Sprintf("%s %s: %s", p.Severity, p.Field, p.Message))
	}
	if isNil != rejected {
		t.Errorf("value is nil = %v, rejected = %v, want the same", isNil, rejected)
	}
	for i := range max(len(list), len(tt.want)) {
		switch {
		case i >= len(list):
			t.Errorf("problem %q is missing", tt.want[i])
		case i >= len(tt.want):
			t.Errorf("unexpected problem %q", list[i])
		default:
			head, part, _ := strings.Cut(tt.want[i], ": ")
			if rest, ok := strings.CutPrefix(list[i], head+": "); !ok || !strings.Contains(rest, part) {
				t.Errorf("problem %d = %q, want %q", i, list[i], tt.want[i])
			}
		}
	}
}

func TestVirtualServiceProblems(t *testing.T) {
	t.Parallel()
	http := func(rule string) string { return "hosts: [users]\nhttp: [" + rule + "]" }
	routed := func(more string) string { return http("{route: [{destination: {host: users}}], " + more + "}") }
	matched := func(match string) string { return routed("match: [" + match + "]") }
	tests := []problemCase{
		{"nothing wrong", routed("timeout: 1s"), nil},
		{"no hosts", "http: [{route: [{destination: {host: users}}]}]", nil},
		{"a wildcard for everything", `{hosts: ["*"], http: [{directResponse: {status: 200}}]}`, []string{"error spec.hosts[0]: not allowed"}},
		{"a host with a port", `{hosts: ["users:80"], http: [{directResponse: {status: 200}}]}`, []string{"error spec.hosts[0]: not a host"}},
		{"a wildcard inside", `{hosts: ["a.*.com"], http: [{directResponse: {status: 200}}]}`, []string{"error spec.hosts[0]: not a host"}},
		{"hosts that overlap", `{hosts: ["*.com", "a.com"], http: [{directResponse: {status: 200}}]}`, []string{"error spec.hosts[1]: overlap"}},
		{"two spellings of one host", `{hosts: [users, users.myapp.svc.cluster.local], http: [{directResponse: {status: 200}}]}`, nil},
		{"an address is a host", `{hosts: [10.1.2.3, "fd00::1"], http: [{directResponse: {status: 200}}]}`, nil},
		{"no rules", "hosts: [users]", []string{"error spec: no routes"}},
		{"a namespace that is none", `{hosts: [users], exportTo: ["a b", ".", "."], http: [{directResponse: {status: 200}}]}`, []string{"error spec.exportTo[0]: not a namespace", "error spec.exportTo[2]: twice"}},
		{"another gateway", `{hosts: [users], gateways: [mesh, x/y], http: [{directResponse: {status: 200}}]}`, []string{`warning spec.gateways[1]: "x/y"`}},
		{"an empty rule", http("{name: x}"), []string{"error spec.http[0]: nothing to do"}},
		{"two actions", routed("redirect: {uri: /x}"), []string{"error spec.http[0]: route and redirect"}},
		{"a fault on a redirect", http("{redirect: {uri: /x}, fault: {abort: {httpStatus: 500, percentage: {value: 1}}}}"), []string{"error spec.http[0].fault: redirect"}},
		{"a rewrite on a direct response", http("{directResponse: {status: 200}, rewrite: {uri: /x}}"), []string{"error spec.http[0].rewrite: directResponse"}},
		{"a delegate", http("{delegate: {name: x}}"), nil},
		{"a delegate without name", http("{delegate: {namespace: x}}"), []string{"error spec.http[0].delegate.name: no name"}},
		{"a delegate with an answer", http("{delegate: {name: x}, directResponse: {status: 200}}"), []string{"warning spec.http[0].directResponse: no effect"}},
		{"a delegate with a route", routed("delegate: {name: x}"), []string{"error spec.http[0].delegate: cannot have"}},
		{"cors for nobody", routed("corsPolicy: {}"), []string{"warning spec.http[0].corsPolicy: no allowOrigins"}},
		{"cors in two forms", routed("corsPolicy: {allowOrigin: [a], allowOrigins: [{exact: b}]}"), []string{"warning spec.http[0].corsPolicy.allowOrigin: no effect"}},
		{"a rule behind one for all", http("{directResponse: {status: 200}}, {directResponse: {status: 201}}"), []string{"warning spec.http[1]: never used"}},
		{"a bad path pattern", matched(`{uri: {regex: "("}}`), []string{"error spec.http[0].match[0].uri.regex: invalid regex"}},
		{"a bad header pattern", matched(`{headers: {a: {regex: "["}}}`), []string{"error spec.http[0].match[0].headers[a].regex: invalid regex"}},
		{"a bad header name", matched(`{headers: {"a b": {exact: x}}}`), []string{"error spec.http[0].match[0].headers[a b]: not a header name"}},
		{"a JWT claim", matched(`{withoutHeaders: {"@request.auth.claims.sub": {exact: x}}}`), []string{"error spec.http[0].match[0].withoutHeaders[@request.auth.claims.sub]: gateways"}},
		{"a bad query pattern", matched(`{queryParams: {a: {regex: "*a"}}}`), []string{"error spec.http[0].match[0].queryParams[a].regex: invalid regex"}},
		{"a bad port", matched(`{port: 70000}`), []string{"error spec.http[0].match[0].port: out of range"}},
		{"a bad source namespace", matched(`{sourceNamespace: "A"}`), []string{"error spec.http[0].match[0].sourceNamespace: not a namespace"}},
		{"a wildcard label", matched(`{sourceLabels: {app: "*"}}`), []string{"error spec.http[0].match[0].sourceLabels[app]: not a label value"}},
		{"source labels beside gateways", matched(`{gateways: [mesh], sourceLabels: {app: web}}`), []string{"warning spec.http[0].match[0].gateways: no effect"}},
		{"a stat prefix", matched(`{statPrefix: x}`), nil},
		{"no destination", http("{route: [{weight: 1}]}"), []string{"error spec.http[0].route[0].destination: no destination"}},
		{"no host", http("{route: [{destination: {subset: x}}]}"), []string{"error spec.http[0].route[0].destination.host: no host"}},
		{"a wildcard destination", http(`{route: [{destination: {host: "*.com"}}]}`), nil},
		{"a destination for everything", http(`{route: [{destination: {host: "*"}}]}`), []string{"error spec.http[0].route[0].destination.host: not a host"}},
		{"a bad destination port", http("{route: [{destination: {host: a, port: {number: 0}}}]}"), []string{"error spec.http[0].route[0].destination.port.number: out of range"}},
		{"a bad subset", http(`{route: [{destination: {host: a, subset: "a b"}}]}`), []string{"error spec.http[0].route[0].destination.subset: subset"}},
		{"a negative weight", http("{route: [{destination: {host: a}, weight: -1}, {destination: {host: b}, weight: 1}]}"), []string{"error spec.http[0].route[0].weight: -1"}},
		{"weights of 0", http("{route: [{destination: {host: a}}, {destination: {host: b}}]}"), []string{"error spec.http[0].route: all weights are 0"}},
		{"a timeout of 0", routed("timeout: 0s"), []string{"error spec.http[0].timeout: below 1ms"}},
		{"a timeout below a millisecond", routed("timeout: 0.0005s"), []string{"error spec.http[0].timeout: below 1ms"}},
		{"a timeout that is too fine", routed("timeout: 0.0015s"), []string{"error spec.http[0].timeout: finer"}},
		{"negative attempts", routed("retries: {attempts: -1}"), []string{"error spec.http[0].retries.attempts: negative"}},
		{"a bad try timeout", routed("retries: {attempts: 1, perTryTimeout: 0s}"), []string{"error spec.http[0].retries.perTryTimeout: below 1ms"}},
		{"an unknown condition", routed("retries: {attempts: 1, retryOn: 5xxx}"), []string{"error spec.http[0].retries.retryOn: not a retry condition"}},
		{"a status that does not exist", routed(`retries: {attempts: 1, retryOn: "999"}`), []string{"error spec.http[0].retries.retryOn: not an HTTP status"}},
		{"every condition", routed("retries: {attempts: 1, retryOn: '5xx,gateway-error,reset,reset-before-request,connect-failure,retriable-4xx,refused-stream,retriable-status-codes,retriable-headers,envoy-ratelimited,http3-post-connect-failure,cancelled,deadline-exceeded,internal,resource-exhausted,unavailable,503'}"), nil},
		{"no attempts but conditions", routed("retries: {retryOn: 5xx}"), []string{"error spec.http[0].retries.attempts: off"}},
		{"previous hosts", routed("retries: {attempts: 1, retryIgnorePreviousHosts: false, retryRemoteLocalities: true}"), nil},
		{"an empty fault", routed("fault: {}"), []string{"error spec.http[0].fault: nothing to inject"}},
		{"an exponential delay", routed("fault: {delay: {exponentialDelay: 1s}}"), []string{"error spec.http[0].fault.delay.exponentialDelay: does not exist"}},
		{"a delay without time", routed("fault: {delay: {percentage: {value: 1}}}"), []string{"warning spec.http[0].fault.delay: without fixedDelay"}},
		{"an abort without status", routed("fault: {abort: {percentage: {value: 1}}}"), []string{"warning spec.http[0].fault.abort: without httpStatus"}},
		{"a gRPC abort", routed("fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 1}}}"), nil},
		{"an HTTP/2 abort", routed("fault: {abort: {http2Error: x}}"), []string{"error spec.http[0].fault.abort.http2Error: does not exist"}},
		{"a bad abort status", routed("fault: {abort: {httpStatus: 1000, percentage: {value: 1}}}"), []string{"error spec.http[0].fault.abort.httpStatus: 1000"}},
		{"a share above 100", routed("fault: {abort: {httpStatus: 500, percentage: {value: 101}}}"), []string{"error spec.http[0].fault.abort.percentage.value: not a percentage"}},
		{"both mirrors", routed("mirror: {host: a}, mirrors: [{destination: {host: b}}]"), []string{"error spec.http[0]: both mirror and mirrors"}},
		{"a mirror to nowhere", routed("mirrors: [{percentage: {value: 1}}]"), []string{"error spec.http[0].mirrors[0].destination: no destination"}},
		{"a mirror above 100", routed("mirror: {host: a}, mirrorPercentage: {value: 200}"), []string{"error spec.http[0].mirrorPercentage.value: not a percentage"}},
		{"an old mirror above 100", routed("mirror: {host: a}, mirrorPercent: 200"), []string{"error spec.http[0].mirrorPercent: not a percentage"}},
		{"an empty rewrite", routed("rewrite: {}"), []string{"error spec.http[0].rewrite: nothing to rewrite"}},
		{"two rewrites of the path", routed("rewrite: {uri: /x, uriRegexRewrite: {match: a, rewrite: b}}"), []string{"error spec.http[0].rewrite: both"}},
		{"a rewrite without pattern", routed("rewrite: {uriRegexRewrite: {rewrite: b}}"), []string{"error spec.http[0].rewrite.uriRegexRewrite: both needed"}},
		{"a bad rewrite pattern", routed(`rewrite: {uriRegexRewrite: {match: "(", rewrite: b}}`), []string{"error spec.http[0].rewrite.uriRegexRewrite.match: invalid regex"}},
		{"a rewrite with a loose backslash", routed(`rewrite: {uriRegexRewrite: {match: "(a)", rewrite: "/\\d\\1"}}`), []string{`error spec.http[0].rewrite.uriRegexRewrite.rewrite: \d is neither`}},
		{"a rewrite that ends in a backslash", routed(`rewrite: {uriRegexRewrite: {match: "(a)", rewrite: "/\\1\\"}}`), []string{`error spec.http[0].rewrite.uriRegexRewrite.rewrite: \ at the end`}},
		{"a rewrite to a backslash and a group", routed(`rewrite: {uriRegexRewrite: {match: "(a)", rewrite: "/\\\\\\1"}}`), nil},
		{"a rewrite group too many", routed(`rewrite: {uriRegexRewrite: {match: "(a)", rewrite: "\\1\\2"}}`), []string{"error spec.http[0].rewrite.uriRegexRewrite.rewrite: names a group"}},
		{"the authority twice", routed("rewrite: {authority: a}, headers: {request: {set: {host: b}}}"), []string{"error spec.http[0].headers.request: already rewritten"}},
		{"the host set and added", routed(`headers: {request: {set: {host: b}, add: {":authority": c}}}`), []string{"error spec.http[0].headers.request: both set and added"}},
		{"a response's host", routed("headers: {response: {set: {host: b}}}"), []string{"error spec.http[0].headers.response: no host"}},
		{"removing the host", routed("headers: {request: {remove: [Host]}}"), []string{"error spec.http[0].headers.request.remove[0]: cannot be removed"}},
		{"a pseudo-header", routed(`headers: {request: {set: {":path": /x}}}`), []string{"error spec.http[0].headers.request.set[:path]: not a header name"}},
		{"a framing header", routed(`headers: {response: {remove: [Transfer-Encoding]}}`), []string{"warning spec.http[0].headers.response.remove[0]: proxy's own"}},
		{"a line break in a header", routed(`headers: {request: {set: {a: "b\nc"}}}`), []string{"error spec.http[0].headers.request.set[a]: control characters"}},
		{"an operator in a header", routed(`headers: {request: {set: {a: "%REQ(x)%"}}}`), nil},
		{"an operator that is none", routed(`headers: {request: {set: {a: "%REG(x)%"}}}`), []string{"error spec.http[0].headers.request.set[a]: no operator"}},
		{"an operator for the host", routed(`headers: {request: {set: {host: "%REQ(x)%"}}}`), []string{"error spec.http[0].headers.request.set[host]: depend on the call"}},
		{"a redirect to itself", http("{redirect: {}}"), []string{"error spec.http[0].redirect: to itself"}},
		{"two redirect paths", http("{redirect: {uri: /a, prefixRewrite: /b}}"), []string{"error spec.http[0].redirect: both"}},
		{"a prefix without prefix", http("{redirect: {prefixRewrite: /b}}"), []string{"warning spec.http[0].redirect.prefixRewrite: no match"}},
		{"a bad redirect code", http("{redirect: {uri: /a, redirectCode: 200}}"), []string{"error spec.http[0].redirect.redirectCode: 200"}},
		{"a bad redirect port", http("{redirect: {port: 0}}"), []string{"error spec.http[0].redirect.port: out of range"}},
		{"a direct response that is not final", http("{directResponse: {status: 100}}"), []string{"error spec.http[0].directResponse.status: 100"}},
		{"a large direct response", http("{directResponse: {status: 200, body: {string: " + strings.Repeat("x", 1<<20+1) + "}}}"), []string{"error spec.http[0].directResponse.body: the limit is"}},
		{"a connection to nowhere", "hosts: [a]\ntcp: [{match: [{port: 1}]}]", []string{"error spec.tcp[0].route: no destinations"}},
		{"a connection without destination", "hosts: [a]\ntcp: [{route: [{weight: 1}]}]", []string{"error spec.tcp[0].route[0].destination: no destination"}},
		{"a bad subnet", "hosts: [a]\ntcp: [{match: [{destinationSubnets: [10.0.0.0/33]}], route: [{destination: {host: a}}]}]", []string{"error spec.tcp[0].match[0].destinationSubnets[0]: not a subnet"}},
		{"a source subnet", "hosts: [a]\ntcp: [{match: [{sourceSubnet: 10.0.0.0/8}], route: [{destination: {host: a}}]}]", nil},
		{"no source subnet", "hosts: [a]\ntcp: [{match: [{sourceSubnet: 10.0.0.0/33}], route: [{destination: {host: a}}]}]", []string{"error spec.tcp[0].match[0].sourceSubnet: not a subnet"}},
		{"tls without match", "hosts: [a]\ntls: [{route: [{destination: {host: a}}]}]", []string{"error spec.tls[0].match: no match"}},
		{"tls without names", "hosts: [a]\ntls: [{match: [{port: 1}], route: [{destination: {host: a}}]}]", []string{"error spec.tls[0].match[0].sniHosts: no names"}},
		{"a name that is not among the hosts", "hosts: [a]\ntls: [{match: [{sniHosts: [b.com]}], route: [{destination: {host: a}}]}]", []string{"error spec.tls[0].match[0].sniHosts[0]: not among spec.hosts"}},
		{"a name that is none", "hosts: [a]\ntls: [{match: [{sniHosts: ['b c']}], route: [{destination: {host: a}}]}]", []string{"error spec.tls[0].match[0].sniHosts[0]: not a host"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, problems := virtual(t, tt.spec)
			check(t, tt, got == nil, problems)
		})
	}
}

// The ports of redirects mean what they mean in Istio: one that is derived from the request is always written.
func TestVirtualServiceRedirectPort(t *testing.T) {
	for written, want := range map[string]model.Redirect{
		"":                                    {},
		", port: 80":                          {Port: 80},
		", derivePort: FROM_PROTOCOL_DEFAULT": {PortMode: model.PortFromProtocolDefault},
		", derivePort: FROM_REQUEST_PORT":     {PortMode: model.PortFromRequestAlways},
	} {
		rs, problems := virtual(t, "{hosts: [users], http: [{redirect: {uri: /x"+written+"}}]}")
		if rs == nil {
			t.Fatalf("%q: refused: %v", written, problems)
		}
		if got := rs.HTTP[0].Redirect; got.Port != want.Port || got.PortMode != want.PortMode {
			t.Errorf("%q = port %d, mode %d, want %d, %d", written, got.Port, got.PortMode, want.Port, want.PortMode)
		}
	}
}

func TestVirtualServiceGatewayOnly(t *testing.T) {
	t.Parallel()
	got, problems := virtual(t, "{hosts: [users], gateways: [ingress], http: [{directResponse: {status: 200}}]}")
	want := &model.RouteSet{Ref: model.Ref{Kind: "VirtualService", Key: model.Key{Namespace: "myapp", Name: "users"}}}
	if diff := cmp.Diff(want, got); diff != "" || len(problems) != 1 {
		t.Errorf("VirtualService: %d problems, value (-want +got):\n%s", len(problems), diff)
	}
}

func TestVirtualServiceDefaultNamespace(t *testing.T) {
	t.Parallel()
	in := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Name: "users"}}
	decode(t, "{hosts: [users], http: [{directResponse: {status: 200}}]}", &in.Spec)
	got, _ := VirtualService(in, domain)
	if got == nil || got.Hosts[0] != "users.default.svc.cluster.local" {
		t.Errorf("VirtualService without namespace = %+v, want the hosts of default", got)
	}
}

// FuzzTranslate gives the translators arbitrary specs: they never panic, give the same answer twice, and a value
// exactly where nothing is rejected.
func FuzzTranslate(f *testing.F) {
	f.Add("hosts: [users]\nhttp: [{match: [{uri: {prefix: /a}, headers: {a: {regex: b}}}], route: [{destination: {host: a}}], retries: {attempts: 1}}]")
	f.Add("host: users\nsubsets: [{name: v1, labels: {a: b}}]\ntrafficPolicy: {portLevelSettings: [{port: {number: 1}}]}")
	f.Add("hosts: [a.com]\nports: [{number: 80, name: a}]\nendpoints: [{address: a.com}]\nresolution: DNS")
	f.Add("hosts: [null]\nhttp: [null]\ntls: [null]\ntcp: [{match: [null], route: [null]}]")
	f.Add("hosts: [a]\nhttp: [{match: [null], route: [null], mirrors: [null], headers: {request: {set: {a: b}}}, fault: {delay: {}}}]")
	f.Add("host: a\nsubsets: [null]\ntrafficPolicy: {portLevelSettings: [null], loadBalancer: {}, connectionPool: {}, tls: {}}")
	f.Add("hosts: [a]\nports: [null]\nendpoints: [null]\nworkloadSelector: {}")
	f.Add("selector: {matchLabels: {app: a}}\nmtls: {mode: STRICT}\nportLevelMtls: {8080: null, 0: {mode: 7}}")
	f.Fuzz(func(t *testing.T, spec string) {
		vs := &networkingv1.VirtualService{ObjectMeta: meta}
		if yaml.Unmarshal([]byte(spec), &vs.Spec) == nil {
			a, p := VirtualService(vs, domain)
			b, q := VirtualService(vs, domain)
			same(t, a == nil, a, b, p, q)
		}
		dr := &networkingv1.DestinationRule{ObjectMeta: meta}
		if yaml.Unmarshal([]byte(spec), &dr.Spec) == nil {
			a, p := DestinationRule(dr, domain)
			b, q := DestinationRule(dr, domain)
			same(t, a == nil, a, b, p, q)
		}
		se := &networkingv1.ServiceEntry{ObjectMeta: meta}
		if yaml.Unmarshal([]byte(spec), &se.Spec) == nil {
			a, p := ServiceEntry(se, domain)
			b, q := ServiceEntry(se, domain)
			same(t, a == nil, a, b, p, q)
		}
		pa := &securityv1.PeerAuthentication{ObjectMeta: meta}
		if yaml.Unmarshal([]byte(spec), &pa.Spec) == nil {
			a, p := PeerAuthentication(pa)
			b, q := PeerAuthentication(pa)
			same(t, a == nil, a, b, p, q)
		}
	})
}

func same[T any](t *testing.T, isNil bool, a, b T, p, q []model.Problem) {
	t.Helper()
	rejected := false
	for _, problem := range p {
		rejected = rejected || problem.Severity == model.Rejected
	}
	if isNil != rejected {
		t.Errorf("value is nil = %v, problems %v", isNil, p)
	}
	if diff := cmp.Diff(p, q); diff != "" {
		t.Errorf("the second answer has other problems:\n%s", diff)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("the second answer differs:\n%+v\n%+v", a, b)
	}
}

func TestWarmUp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, spec string
		want       *model.WarmUp
	}{
		{"none", "{simple: ROUND_ROBIN}", nil},
		{"defaults", "{simple: ROUND_ROBIN, warmup: {duration: 60s}}", &model.WarmUp{Duration: time.Minute, MinimumPercent: 10, Aggression: 1}},
		{"all", "{warmup: {duration: 60s, minimumPercent: 0, aggression: 2.5}}", &model.WarmUp{Duration: time.Minute, Aggression: 2.5}},
		{"as_before", "{simple: LEAST_REQUEST, warmupDurationSecs: 30s}", &model.WarmUp{Duration: 30 * time.Second, MinimumPercent: 10, Aggression: 1}},
		{"both", "{warmup: {duration: 60s}, warmupDurationSecs: 30s}", &model.WarmUp{Duration: time.Minute, MinimumPercent: 10, Aggression: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, problems := destination(t, "{host: users, trafficPolicy: {loadBalancer: "+tt.spec+"}}")
			if got == nil || len(problems) > 0 {
				t.Fatalf("problems: %v", problems)
			}
			if diff := cmp.Diff(tt.want, got.Default.WarmUp); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
