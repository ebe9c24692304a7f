package envoy_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/xds/envoy"
	"fairlead.dev/fairlead/internal/xds/envoy/envoytest"
)

// choices make a mesh up: each takes one byte, and of none left the first possibility is chosen.
type choices struct{ left []byte }

func (c *choices) number(n int) int {
	if len(c.left) == 0 {
		return 0
	}
	v := int(c.left[0])
	c.left = c.left[1:]
	return v % n
}

func (c *choices) of(list ...string) string { return list[c.number(len(list))] }

// some lists up to n of what of makes.
func (c *choices) some(n int, of func() string) string {
	list := make([]string, c.number(n+1))
	for i := range list {
		list[i] = of()
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// fields lists some of a mapping's fields, "name: value" each.
func (c *choices) fields(list ...func() string) string {
	var out []string
	for _, of := range list {
		if c.number(3) == 0 {
			out = append(out, of())
		}
	}
	return "{" + strings.Join(out, ", ") + "}"
}

// field is one whose value is chosen.
func (c *choices) field(name string, values ...string) func() string {
	return func() string { return name + ": " + c.of(values...) }
}

func (c *choices) host() string {
	return c.of("a", "a", "a", "a", "b", "b", "c", "a.myapp.svc.cluster.local", "b.other.svc.cluster.local", "ext.example.com", "\"*.wild.example.com\"", "nobody")
}

func (c *choices) port() string { return c.of("80", "8080", "9000", "3306", "443") }

func (c *choices) duration() string { return c.of("1s", "2s", "5ms", "10s", "1h", "0s") }

// manifests makes up a mesh of few names, so that what refers to others mostly finds something, not always what it expects.
func (c *choices) manifests() string {
	var all []string
	object := func(api, kind, name, rest string) {
		namespace := c.of("myapp", "myapp", "other")
		labels := "{version: " + c.of("v1", "v2") + "}"
		if kind == "EndpointSlice" {
			labels = "{kubernetes.io/service-name: " + name[:1] + "}"
		}
		all = append(all, fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: %s, labels: %s}\n%s", api, kind, name, namespace, labels, rest))
	}
	for i := range 1 + c.number(4) {
		object("v1", "Pod", fmt.Sprint("p", i), fmt.Sprintf("spec: {serviceAccountName: %s, nodeName: n1, containers: [{name: app, image: any}]}\nstatus: {podIP: 10.0.0.%d, podIPs: [{ip: 10.0.0.%d}], phase: Running}",
			c.of("a", "b"), i, i))
	}
	for _, name := range []string{"a", "b", "c"} {
		object("v1", "Service", name, "spec: "+c.service())
		for i := range c.number(3) {
			object("discovery.k8s.io/v1", "EndpointSlice", fmt.Sprint(name, "-", i), c.slice())
		}
	}
	for i := range c.number(3) {
		object("networking.istio.io/v1", "ServiceEntry", fmt.Sprint("e", i), "spec: "+c.entry())
	}
	for i := range 1 + c.number(3) {
		object("networking.istio.io/v1", "DestinationRule", fmt.Sprint("d", i), "spec: "+c.policy())
	}
	for i := range 1 + c.number(3) {
		object("networking.istio.io/v1", "VirtualService", fmt.Sprint("v", i), "spec: "+c.virtualService())
	}
	for i := range c.number(3) {
		object("gateway.networking.k8s.io/v1", "HTTPRoute", fmt.Sprint("h", i), "spec: "+c.httpRoute())
	}
	if c.number(3) == 0 {
		object("security.istio.io/v1", "PeerAuthentication", "default", "spec: {mtls: {mode: "+c.of("STRICT", "PERMISSIVE", "DISABLE")+"}}")
	}
	return strings.Join(all, "\n---\n")
}

func (c *choices) service() string {
	ports := []string{"{name: http, port: 80}", "{name: grpc-a, port: 8080}", "{name: web, port: 9000, appProtocol: kubernetes.io/h2c}", "{name: tcp, port: 3306}", "{name: https, port: 443}"}
	from := c.number(len(ports))
	list := "ports: [" + strings.Join(ports[from:], ", ") + "]"
	switch c.number(5) {
	case 0:
		return "{clusterIP: None, " + list + "}"
	case 1:
		return "{type: ExternalName, externalName: ext.example.com, " + list + "}"
	}
	return fmt.Sprintf("{clusterIP: 10.96.0.%d, sessionAffinity: %s, internalTrafficPolicy: %s, %s}", 1+c.number(3), c.of("None", "ClientIP"), c.of("Cluster", "Local"), list)
}

func (c *choices) slice() string {
	return fmt.Sprintf("addressType: IPv4\nports: [{name: http, port: 80}, {name: grpc-a, port: 8080}, {name: %s, port: %s}]\nendpoints: %s", c.of("tcp", "web", "https"), c.port(),
		c.some(4, func() string {
			return fmt.Sprintf("{addresses: [10.0.0.%d], zone: %s, conditions: {ready: %s, serving: %s}, hints: {forZones: [{name: %s}]}, targetRef: {kind: Pod, name: p%d, namespace: myapp}}",
				c.number(4), c.of("\"\"", "a", "b"), c.of("true", "false"), c.of("true", "false"), c.of("a", "b"), c.number(4))
		}))
}

func (c *choices) entry() string {
	number := 0
	ports := c.some(3, func() string {
		number++
		return fmt.Sprintf("{number: %d, name: p%d, protocol: %s}", 79+number, number, c.of("HTTP", "GRPC", "TCP", "TLS", "HTTPS", "HTTP2"))
	})
	endpoints := c.some(3, func() string {
		return fmt.Sprintf("{address: %s, weight: %s, locality: %s}", c.of("192.0.2.1", "192.0.2.2", "192.0.2.3", "db.example.com"), c.of("0", "1", "100", "4000000000"), c.of("\"\"", "west/a", "west/b/c"))
	})
	return fmt.Sprintf("{hosts: [%s], addresses: [%s], ports: %s, resolution: %s, location: %s, endpoints: %s}", c.host(), c.of("10.96.1.1", "10.96.0.1", "10.96.1.2"), ports,
		c.of("STATIC", "DNS", "NONE", "DNS_ROUND_ROBIN"), c.of("MESH_EXTERNAL", "MESH_INTERNAL"), endpoints)
}

func (c *choices) traffic() string {
	return c.fields(
		c.field("loadBalancer", "{simple: ROUND_ROBIN}", "{simple: LEAST_REQUEST}", "{simple: RANDOM}", "{simple: PASSTHROUGH}", "{consistentHash: {httpHeaderName: x-user}}",
			"{consistentHash: {useSourceIp: true, minimumRingSize: 99999999}}", "{consistentHash: {httpCookie: {name: u, ttl: 0s}}}", "{consistentHash: {httpQueryParameterName: q, maglev: {tableSize: 5}}}",
			"{localityLbSetting: {enabled: true, failoverPriority: [topology.kubernetes.io/zone]}}", "{localityLbSetting: {distribute: [{from: \"*\", to: {\"west/a\": 50, \"west/b\": 50}}]}}",
			"{localityLbSetting: {failover: [{from: west, to: east}]}}", "{simple: ROUND_ROBIN, warmup: {duration: 10s}}"),
		func() string {
			return "outlierDetection: " + c.fields(c.field("consecutive5xxErrors", "0", "1", "5"), c.field("interval", "1s", "1ms", "10s"), func() string { return "baseEjectionTime: " + c.duration() },
				c.field("maxEjectionPercent", "0", "50", "100"), c.field("minHealthPercent", "0", "50", "100"))
		},
		func() string {
			return "connectionPool: {tcp: " + c.fields(c.field("maxConnections", "0", "1", "100"), func() string { return "connectTimeout: " + c.duration() }, func() string { return "idleTimeout: " + c.duration() }) +
				", http: " + c.fields(c.field("http1MaxPendingRequests", "0", "1"), c.field("http2MaxRequests", "1", "0"), c.field("maxRequestsPerConnection", "0", "1"), c.field("maxRetries", "0", "3"),
				func() string { return "idleTimeout: " + c.duration() }, c.field("h2UpgradePolicy", "UPGRADE", "DO_NOT_UPGRADE")) + "}"
		},
		c.field("tls", "{mode: ISTIO_MUTUAL}", "{mode: DISABLE}", "{mode: SIMPLE}", "{mode: SIMPLE, sni: ext.example.com, subjectAltNames: [ext.example.com]}", "{mode: ISTIO_MUTUAL, subjectAltNames: [\"spiffe://x/y\"]}"),
	)
}

func (c *choices) policy() string {
	number := 0
	subsets := c.some(3, func() string {
		number++
		return fmt.Sprintf("{name: v%d, labels: {version: %s}%s}", number, c.of("v1", "v2", "none"), c.of("", ", trafficPolicy: "+c.traffic()))
	})
	return fmt.Sprintf("{host: %s, subsets: %s, trafficPolicy: %s}", c.host(), subsets, c.traffic())
}

func (c *choices) destination() string {
	return "destination: {host: " + c.host() + c.of("", ", subset: v1", ", subset: v2", ", subset: v9") + c.of("", ", port: {number: 80}", ", port: {number: 8080}", ", port: {number: 1}") + "}"
}

func (c *choices) destinations() string {
	return "[" + strings.Join([]string{
		"{" + c.destination() + ", weight: " + c.of("100", "0", "1") + "}", "{" + c.destination() + ", weight: " + c.of("0", "100", "1") + ", headers: {request: {set: {x-a: b}}}}",
	}[c.number(2):], ", ") + "]"
}

func (c *choices) rule() string {
	matches := c.some(2, func() string {
		return c.fields(c.field("uri", "{exact: /a}", "{prefix: /}", "{prefix: /a}", "{regex: \"/a.*\"}", "{regex: \"(\"}", "{prefix: \"\"}"), c.field("method", "{exact: POST}", "{regex: \"G.*\"}"),
			c.field("headers", "{x-user: {exact: a}}", "{x-user: {}}", "{x-user: {regex: \".*\"}}", "{cookie: {prefix: a}}"), c.field("port", "80", "8080", "1"), c.field("queryParams", "{q: {exact: a}}"),
			c.field("authority", "{exact: a}", "{prefix: a}"), c.field("sourceLabels", "{app: client}"), c.field("ignoreUriCase", "true"), c.field("withoutHeaders", "{x-user: {exact: a}}", "{x-user: {}}"))
	})
	action := "route: " + c.destinations()
	switch c.number(8) {
	case 0:
		return "{match: " + matches + ", redirect: " + c.fields(c.field("uri", "/b"), c.field("authority", "b"), c.field("redirectCode", "301", "308", "307"), c.field("scheme", "https"), c.field("port", "443")) + "}"
	case 1:
		action = "directResponse: {status: " + c.of("200", "503", "404") + ", body: {string: " + c.of("hello", "\"\"") + "}}"
	}
	more := c.fields(
		func() string { return "timeout: " + c.duration() },
		func() string {
			return "retries: " + c.fields(c.field("attempts", "0", "1", "3"), func() string { return "perTryTimeout: " + c.duration() }, c.field("retryOn", "5xx", "unavailable,cancelled", "503,reset", "\"\""),
				func() string { return "backoff: " + c.duration() })
		},
		c.field("fault", "{abort: {httpStatus: 503, percentage: {value: 50}}}", "{delay: {fixedDelay: 1s, percentage: {value: 0.0001}}}", "{abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}, delay: {fixedDelay: 1ms}}"),
		c.field("rewrite", "{uri: /b}", "{authority: b}", "{uriRegexRewrite: {match: \"/a(.*)\", rewrite: \"/b\\\\1\"}}"),
		func() string { return "mirror: {host: " + c.host() + "}" },
		c.field("mirrorPercentage", "{value: 0}", "{value: 33.3}"),
		c.field("corsPolicy", "{allowOrigins: [{exact: \"http://a\"}], maxAge: 1m}", "{allowOrigins: [{regex: \".*\"}], allowCredentials: true}"),
		c.field("headers", "{request: {add: {x-a: \"%START_TIME%\"}, remove: [x-b]}}", "{response: {set: {x-c: d}}}"),
	)
	return "{match: " + matches + ", " + action + strings.TrimSuffix(", "+more[1:len(more)-1], ", ") + "}"
}

func (c *choices) virtualService() string {
	tail := c.of("", "", ", tcp: [{route: [{destination: {host: c, port: {number: 3306}}}]}]", ", tls: [{match: [{sniHosts: [ext.example.com]}], route: [{destination: {host: ext.example.com}}]}]")
	return fmt.Sprintf("{hosts: [%s], http: %s%s}", c.host(), c.some(3, c.rule), tail)
}

func (c *choices) httpRoute() string {
	backend := func() string {
		return fmt.Sprintf("{name: %s, port: %s, weight: %s}", c.of("a", "b", "c", "nobody"), c.port(), c.of("1", "0", "100"))
	}
	filter := func() string {
		return c.of("{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-a, value: b}]}}", "{type: RequestRedirect, requestRedirect: {statusCode: 302, path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}",
			"{type: URLRewrite, urlRewrite: {hostname: b.example, path: {type: ReplaceFullPath, replaceFullPath: /b}}}", "{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}}}")
	}
	match := func() string {
		return c.of("{path: {type: PathPrefix, value: /}}", "{path: {type: Exact, value: /a}}", "{path: {type: RegularExpression, value: \"/a.*\"}}", "{method: POST}", "{headers: [{name: x-user, value: a}]}", "{queryParams: [{name: q, value: a}]}")
	}
	rules := c.some(3, func() string {
		return fmt.Sprintf("{matches: %s, filters: %s, backendRefs: %s, timeouts: {request: %s, backendRequest: 1ms}}", c.some(2, match), c.some(2, filter), c.some(3, backend), c.duration())
	})
	return fmt.Sprintf("{parentRefs: [{kind: Service, group: \"\", name: %s%s}], rules: %s}", c.of("a", "b", "c"), c.of("", ", port: 80", ", port: 8080"), rules)
}

// classes are clients of each kind.
func classes() []envoy.Class {
	return []envoy.Class{
		{Kind: envoy.Envoy, Namespace: "myapp"},
		{Kind: envoy.Envoy, Namespace: "myapp", Capture: true, Pod: "p1", Locality: model.Locality{Region: "west", Zone: "a"}},
		{Kind: envoy.GRPC, Namespace: "myapp"},
		{Kind: envoy.GRPC, Namespace: "other", Locality: model.Locality{Region: "west", Zone: "a"}},
	}
}

// holds compiles all that clients could ask for of a mesh and holds it to the rules of Envoy's API and of gRPC. It gives the resources.
func holds(t *testing.T, manifests string) (all []proto.Message) {
	t.Helper()
	snapshot, _ := compiletest.Load(t, manifests)
	for _, c := range classes() {
		for query, m := range envoytest.Follow(t, compiler(), snapshot, c) {
			validate(t, query, m)
			held{t, c}.rules(query, m)
			all = append(all, m)
		}
	}
	return all
}

// TestGeneratedMeshesAreValid makes meshes up, of a seed that is printed where one of them leads to a resource that a client refuses.
func TestGeneratedMeshesAreValid(t *testing.T) {
	const seeds = 80
	resources, seen := 0, map[string]int{}
	for seed := range uint64(seeds) {
		manifests := (&choices{bytesOf(seed)}).manifests()
		if !t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			for _, m := range holds(t, manifests) {
				resources++
				said := fmt.Sprint(m)
				for _, part := range made() {
					if strings.Contains(said, part) {
						seen[part]++
					}
				}
			}
		}) {
			t.Fatalf("seed %d makes up:\n%s", seed, manifests)
		}
	}
	t.Logf("%d resources of %d meshes: %v", resources, seeds, seen)
	for _, part := range made() {
		if seen[part] == 0 {
			t.Errorf("no resource has %q: meshes are made up that have nothing of it", part)
		}
	}
}

// made are words of resources that the meshes are to lead to.
func made() []string {
	return []string{
		"weighted_clusters", "retry_policy", "redirect:", "direct_response", "hash_policy", "outlier_detection", "circuit_breakers", envoytest.UnknownCluster, "|v1|", "priority:", "safe_regex",
		"STRICT_DNS", "LOGICAL_DNS", "RING_HASH", "request_mirror_policies", "prefix_rewrite", "max_stream_duration", "fault", "cors", "transport_socket", "header_mutation",
	}
}

// bytesOf makes up enough choices for a mesh.
func bytesOf(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 11))
	b := make([]byte, 600)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// FuzzGeneratedMeshesAreValid is the same of choices that are looked for.
func FuzzGeneratedMeshesAreValid(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(bytesOf(seed))
	}
	f.Fuzz(func(t *testing.T, chosen []byte) {
		manifests := (&choices{chosen}).manifests()
		holds(t, manifests)
		if t.Failed() {
			t.Log(manifests)
		}
	})
}
