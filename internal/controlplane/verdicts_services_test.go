package controlplane

import "testing"

// serviceEntries are whole specifications.
func serviceEntries() []ruling {
	const web = "ports: [{number: 80, name: http, protocol: HTTP}]"
	static := func(endpoint string) string {
		return "{hosts: [a.com], " + web + ", resolution: STATIC, endpoints: [" + endpoint + "]}"
	}
	return []ruling{
		{"a name", fine, "", "{hosts: [a.com], " + web + ", resolution: DNS}"},
		{"no host", refused, "spec.hosts", "{" + web + "}"},
		{"every host", refused, "spec.hosts[0]", "{hosts: ['*'], " + web + "}"},
		{"a host with a port", refused, "spec.hosts[0]", "{hosts: ['a.com:80'], " + web + "}"},
		{"a host twice", warned, "spec.hosts[1]", "{hosts: [a.com, a.com], " + web + ", resolution: DNS}"},
		{"a wildcard", fine, "", "{hosts: ['*.a.com'], " + web + "}"},
		{"a wildcard to look up", refused, "spec.hosts[0]", "{hosts: ['*.a.com'], " + web + ", resolution: DNS}"},
		{"a wildcard inside a label", fine, "", "{hosts: ['*a.com'], " + web + "}"},
		{"addresses", fine, "", "{hosts: [a.com], addresses: [240.0.0.1, 10.0.0.0/8], " + web + "}"},
		{"no address", refused, "spec.addresses[0]", "{hosts: [a.com], addresses: [a.com], " + web + "}"},
		{"a prefix to look up", refused, "spec.addresses[0]", "{hosts: [a.com], addresses: [10.0.0.0/8], " + web + ", resolution: DNS}"},
		{"port 0", refused, "spec.ports[0].number", "{hosts: [a.com], ports: [{number: 0, name: a}]}"},
		{"a port without name", refused, "spec.ports[0].name", "{hosts: [a.com], ports: [{number: 80}]}"},
		{"a port with a blank", refused, "spec.ports[0].name", "{hosts: [a.com], ports: [{number: 80, name: 'a b'}]}"},
		{"a port's name twice", refused, "spec.ports[1].name", "{hosts: [a.com], ports: [{number: 80, name: a}, {number: 81, name: a}]}"},
		{"a port's number twice", refused, "spec.ports[1].number", "{hosts: [a.com], ports: [{number: 80, name: a}, {number: 80, name: b}]}"},
		{"a port in quotes", refused, "spec.ports[0].number", "{hosts: [a.com], ports: [{number: '80', name: a}]}"},
		{"a protocol that is none", refused, "spec.ports[0].protocol", "{hosts: [a.com], ports: [{number: 80, name: a, protocol: HTTTP}]}"},
		{"a protocol of a proxy", fine, "", "{hosts: [a.com], ports: [{number: 3128, name: a, protocol: HTTP_PROXY}], resolution: DNS}"},
		{"several names with HTTP", fine, "", "{hosts: [a.com, b.com], " + web + ", resolution: DNS}"},
		{"several names with TCP", refused, "spec.ports[0].protocol", "{hosts: [a.com, b.com], ports: [{number: 9, name: tcp, protocol: TCP}], resolution: DNS}"},
		{"several names with whatever", refused, "spec.ports[0].protocol", "{hosts: [a.com, b.com], ports: [{number: 9, name: a}], resolution: DNS}"},
		{"several names that do not matter", warned, "spec.ports", "{hosts: [a.com, b.com], ports: [{number: 9, name: tcp, protocol: TCP}]}"},
		{"endpoints", fine, "", static("{address: 10.1.2.3, ports: {http: 8080}, labels: {version: v1}}")},
		{"an endpoint by name", refused, "spec.endpoints[0].address", static("{address: b.com}")},
		{"an endpoint without address", refused, "spec.endpoints[0].address", static("{labels: {a: b}}")},
		{"an endpoint of another network", warned, "spec.endpoints[0].address", static("{network: a}")},
		{"an endpoint with a port", refused, "spec.endpoints[0].address", static("{address: '10.1.2.3:80'}")},
		{"an endpoint's port that is not there", refused, "spec.endpoints[0].ports[https]", static("{address: 10.1.2.3, ports: {https: 1}}")},
		{"an endpoint's port 0", refused, "spec.endpoints[0].ports[http]", static("{address: 10.1.2.3, ports: {http: 0}}")},
		{"an endpoint's label", refused, "spec.endpoints[0].labels", static("{address: 10.1.2.3, labels: {'a b': c}}")},
		{"a socket", fine, "", static("{address: 'unix:///var/run/a'}")},
		{"a socket nowhere", refused, "spec.endpoints[0].address", static("{address: 'unix://a'}")},
		{"a socket to look up", refused, "spec.endpoints[0].address", "{hosts: [a.com], " + web + ", resolution: DNS, endpoints: [{address: 'unix:///a'}]}"},
		{"endpoints that are not used", refused, "spec.endpoints", "{hosts: [a.com], " + web + ", endpoints: [{address: 10.1.2.3}]}"},
		{"two endpoints in turn", refused, "spec.endpoints", "{hosts: [a.com], " + web + ", resolution: DNS_ROUND_ROBIN, endpoints: [{address: a.com}, {address: b.com}]}"},
		{"a selector", fine, "", "{hosts: [a.com], " + web + ", resolution: STATIC, workloadSelector: {labels: {app: a}}}"},
		{"a selector and endpoints", refused, "spec.workloadSelector", "{hosts: [a.com], " + web + ", resolution: STATIC, workloadSelector: {labels: {app: a}}, endpoints: [{address: 10.1.2.3}]}"},
		{"a selector without labels", warned, "spec.workloadSelector", "{hosts: [a.com], " + web + ", resolution: STATIC, workloadSelector: {}}"},
		{"a selector with a star", refused, "spec.workloadSelector.labels[app]", "{hosts: [a.com], " + web + ", resolution: STATIC, workloadSelector: {labels: {app: '*'}}}"},
		{"hidden from all", warned, "spec.exportTo[0]", "{hosts: [a.com], " + web + ", resolution: DNS, exportTo: ['~']}"},
		{"hidden from all and seen by one", refused, "spec.exportTo[1]", "{hosts: [a.com], " + web + ", resolution: DNS, exportTo: [other, '~']}"},
	}
}

// trafficSplits are whole specifications.
func trafficSplits() []ruling {
	return []ruling{
		{"a split", fine, "", "{service: web, backends: [{service: web, weight: 90}, {service: api, weight: 10}]}"},
		{"a weight in thousandths", fine, "", "{service: web, backends: [{service: web, weight: 900m}]}"},
		{"no service", refused, "spec.service", "{backends: [{service: web, weight: 1}]}"},
		{"a service of another namespace", refused, "spec.service", "{service: billing.other, backends: [{service: web, weight: 1}]}"},
		{"a service that is not there", warned, "spec.backends[0].service", "{service: web, backends: [{service: nobody, weight: 1}]}"},
		{"weights of 0", refused, "spec.backends", "{service: web, backends: [{service: web, weight: 0}]}"},
		{"a weight below 0", refused, "spec.backends[0].weight", "{service: web, backends: [{service: web, weight: -1}]}"},
		{"requests that nothing describes", warned, "spec.matches[0].name", "{service: web, backends: [{service: web, weight: 1}], matches: [{kind: HTTPRouteGroup, name: a}]}"},
		{"connections that something describes", refused, "spec.matches[0].kind", "{service: web, backends: [{service: web, weight: 1}], matches: [{kind: TCPRoute, name: a}]}"},
	}
}

// routeGroups are whole specifications of HTTPRouteGroups.
func routeGroups() []ruling {
	return []ruling{
		{"a match", fine, "", "{matches: [{name: a, pathRegex: /api, methods: [GET, '*'], headers: {user-agent: '.*Firefox.*'}}]}"},
		{"headers in a list", fine, "", "{matches: [{name: a, headers: [{user-agent: a}, {cookie: b}]}]}"},
		{"no matches", refused, "spec.matches", "{matches: []}"},
		{"no name", refused, "spec.matches[0].name", "{matches: [{pathRegex: /}]}"},
		{"no pattern", refused, "spec.matches[0].headers[a]", "{matches: [{name: a, headers: {a: '['}}]}"},
		{"no header", refused, "spec.matches[0].headers[a b]", "{matches: [{name: a, headers: {a b: c}}]}"},
		{"no method", refused, "spec.matches[0].methods[0]", "{matches: [{name: a, methods: ['a b']}]}"},
		{"a field of TCPRoutes", refused, "spec.matches[0].ports", "{matches: [{name: a, ports: [1]}]}"},
	}
}

// routeOf completes what stands in one rule of a route; "=" begins a whole specification.
func routeOf(port string) func(string) string {
	return func(part string) string {
		if len(part) > 1 && part[0] == '=' {
			return part[1:]
		}
		return "{parentRefs: [{group: '', kind: Service, name: web}], rules: [{backendRefs: [{name: web, port: " + port + "}], " + part + "}]}"
	}
}

func httpRoutes() []ruling {
	filter := func(name, block string) string { return "filters: [{type: " + name + ", " + block + "}]" }
	return []ruling{
		{"a Service", fine, "", ""},
		{"a Gateway", warned, "spec.parentRefs[0]", "={parentRefs: [{name: ingress}], rules: []}"},
		{"a Service without kind", warned, "spec.parentRefs[0]", "={parentRefs: [{name: web}], rules: []}"},
		{"a Service that is not there", warned, "spec.parentRefs[0]", "={parentRefs: [{group: '', kind: Service, name: nobody}], rules: [{backendRefs: [{name: web, port: 80}]}]}"},
		{"host names", warned, "spec.hostnames", "={hostnames: [a.com], parentRefs: [{group: '', kind: Service, name: web}], rules: [{backendRefs: [{name: web, port: 80}]}]}"},
		{"a path", fine, "", "matches: [{path: {type: PathPrefix, value: /a}}]"},
		{"a path without slash", refused, "rules[0].matches[0].path.value", "matches: [{path: {value: a}}]"},
		{"a path with two slashes", refused, "rules[0].matches[0].path.value", "matches: [{path: {value: //a}}]"},
		{"a kind of path", refused, "rules[0].matches[0].path.type", "matches: [{path: {type: Prefix, value: /a}}]"},
		{"a method", refused, "rules[0].matches[0].method", "matches: [{method: get}]"},
		{"a header", fine, "", "matches: [{headers: [{name: x-a, value: b}]}]"},
		{"no header", refused, "rules[0].matches[0].headers[0].name", "matches: [{headers: [{name: 'x a', value: b}]}]"},
		{"no pattern", refused, "rules[0].matches[0].headers[0].value", "matches: [{headers: [{type: RegularExpression, name: x-a, value: '('}]}]"},
		{"a header to set", fine, "", filter("RequestHeaderModifier", "requestHeaderModifier: {set: [{name: x-a, value: b}]}")},
		{"a header with a line break", refused, "set[0].value", filter("RequestHeaderModifier", `requestHeaderModifier: {set: [{name: x-a, value: "b\r\nc"}]}`)},
		{"a header with a bell", refused, "add[0].value", filter("ResponseHeaderModifier", `responseHeaderModifier: {add: [{name: x-a, value: "\a"}]}`)},
		{"a hop-by-hop header", warned, "set[0].name", filter("RequestHeaderModifier", "requestHeaderModifier: {set: [{name: Transfer-Encoding, value: chunked}]}")},
		{"a filter without block", refused, "rules[0].filters[0]", "filters: [{type: RequestHeaderModifier}]"},
		{"no filter", refused, "rules[0].filters[0].type", "filters: [{type: Cache}]"},
		{"a filter that is not obeyed", warned, "rules[0].filters[0].type", filter("ExternalAuth", "")},
		{"cross-origin requests", fine, "", filter("CORS", "cors: {allowOrigins: ['https://*.a.com:8443'], allowMethods: ['*'], maxAge: 60}")},
		{"an origin without scheme", refused, "allowOrigins[0]", filter("CORS", "cors: {allowOrigins: [a.com]}")},
		{"all origins and one", refused, "allowOrigins[0]", filter("CORS", "cors: {allowOrigins: ['*', 'https://a.com']}")},
		{"a cross-origin method", refused, "allowMethods[0]", filter("CORS", "cors: {allowOrigins: ['*'], allowMethods: [get]}")},
		{"a cross-origin age", refused, "maxAge", filter("CORS", "cors: {allowOrigins: ['*'], maxAge: -1}")},
		{"a rewrite", fine, "", "matches: [{path: {value: /a}}], " + filter("URLRewrite", "urlRewrite: {hostname: a.com, path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}")},
		{"a rewrite to a blank", refused, "urlRewrite.path", filter("URLRewrite", "urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: '/a b'}}")},
		{"a rewrite to no host", refused, "urlRewrite.hostname", filter("URLRewrite", "urlRewrite: {hostname: 'a/b'}")},
		{"a redirect", fine, "", "={parentRefs: [{group: '', kind: Service, name: web}], rules: [{filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]}]}"},
		{"a redirect with 299", refused, "requestRedirect.statusCode", "={parentRefs: [{group: '', kind: Service, name: web}], rules: [{filters: [{type: RequestRedirect, requestRedirect: {statusCode: 299}}]}]}"},
		{"a redirect and backends", refused, "rules[0].backendRefs", filter("RequestRedirect", "requestRedirect: {scheme: https}")},
		{"a redirect to a line break", refused, "requestRedirect.hostname", `={parentRefs: [{group: '', kind: Service, name: web}], rules: [{filters: [{type: RequestRedirect, requestRedirect: {hostname: "a\nb"}}]}]}`},
		{"a mirror of 120 percent", refused, "requestMirror", filter("RequestMirror", "requestMirror: {percent: 120, backendRef: {name: web, port: 80}}")},
		{"timeouts", fine, "", "timeouts: {request: 2s, backendRequest: 1s}"},
		{"timeouts the wrong way round", refused, "rules[0].timeouts.backendRequest", "timeouts: {request: 1s, backendRequest: 2s}"},
		{"a timeout without unit", refused, "rules[0].timeouts.request", "timeouts: {request: '2'}"},
		{"retries below 0", refused, "rules[0].retry.attempts", "retry: {attempts: -1}"},
		{"a retry on 200", refused, "rules[0].retry.codes[0]", "retry: {codes: [200]}"},
		{"a backend without port", refused, "rules[0].backendRefs[0].port", "={parentRefs: [{group: '', kind: Service, name: web}], rules: [{backendRefs: [{name: web}]}]}"},
		{"a backend that is not there", warned, "rules[0].backendRefs[0].name", "={parentRefs: [{group: '', kind: Service, name: web}], rules: [{backendRefs: [{name: nobody, port: 80}]}]}"},
		{"a weight below 0", refused, "rules[0].backendRefs[0].weight", "={parentRefs: [{group: '', kind: Service, name: web}], rules: [{backendRefs: [{name: web, port: 80, weight: -1}]}]}"},
		{"a port in quotes", refused, "rules[0].backendRefs[0].port", "={parentRefs: [{group: '', kind: Service, name: web}], rules: [{backendRefs: [{name: web, port: '80'}]}]}"},
	}
}

func grpcRoutes() []ruling {
	return []ruling{
		{"a Service", fine, "", "matches: [{method: {service: a.b.C, method: Get}}]"},
		{"neither service nor method", refused, "rules[0].matches[0].method", "matches: [{method: {}}]"},
		{"no service", refused, "rules[0].matches[0].method.service", "matches: [{method: {service: a/b}}]"},
		{"no method", refused, "rules[0].matches[0].method.method", "matches: [{method: {service: a.B, method: 'Get('}}]"},
		{"a pattern", fine, "", "matches: [{method: {type: RegularExpression, service: 'a\\.[A-Z]+'}}]"},
		{"no header", refused, "rules[0].matches[0].headers[0].name", "matches: [{headers: [{name: ':path', value: a}]}]"},
		{"a filter of an HTTPRoute", refused, "rules[0].filters[0].type", "filters: [{type: URLRewrite}]"},
		{"a header with a line break", refused, "set[0].value", `filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-a, value: "\n"}]}}]`},
		{"a Gateway", warned, "spec.parentRefs[0]", "={parentRefs: [{name: ingress}], rules: []}"},
	}
}

// connectionRoutes are whole specifications of TLSRoutes; a TCPRoute is one without host names.
func connectionRoutes() []ruling {
	const parent, rule = "parentRefs: [{group: '', kind: Service, name: api, port: 3307}]", "rules: [{backendRefs: [{name: api, port: 3307}]}]"
	named := func(hostnames string) string { return "{" + parent + ", hostnames: [" + hostnames + "], " + rule + "}" }
	return []ruling{
		{"names", fine, "", named("a.example.com, '*.example.com'")},
		{"no names", warned, "spec.hostnames", "{" + parent + ", " + rule + "}"},
		{"an address", refused, "spec.hostnames[0]", named("10.0.0.1")},
		{"every name", refused, "spec.hostnames[0]", named("'*'")},
		{"upper case", refused, "spec.hostnames[0]", named("A.example.com")},
		{"a Service that is not there", warned, "spec.parentRefs[0]", "{parentRefs: [{group: '', kind: Service, name: nobody}], hostnames: [a.com], " + rule + "}"},
		{"a port for requests", warned, "spec.parentRefs[0]", "{parentRefs: [{group: '', kind: Service, name: web}], hostnames: [a.com], " + rule + "}"},
		{"no rules", refused, "spec.rules", "{" + parent + ", hostnames: [a.com]}"},
		{"two rules", warned, "spec.rules[1]", "{" + parent + ", hostnames: [a.com], rules: [{backendRefs: [{name: api, port: 3307}]}, {backendRefs: [{name: api, port: 3307}]}]}"},
		{"no backends", refused, "rules[0].backendRefs", "{" + parent + ", hostnames: [a.com], rules: [{}]}"},
		{"a match", refused, "rules[0].matches", "{" + parent + ", hostnames: [a.com], rules: [{matches: [], backendRefs: [{name: api, port: 3307}]}]}"},
		{"a backend without port", refused, "rules[0].backendRefs[0].port", "{" + parent + ", hostnames: [a.com], rules: [{backendRefs: [{name: api}]}]}"},
		{"a backend that is not there", warned, "rules[0].backendRefs[0].name", "{" + parent + ", hostnames: [a.com], rules: [{backendRefs: [{name: nobody, port: 3307}]}]}"},
	}
}

// unnamedRoutes are whole specifications of TCPRoutes.
func unnamedRoutes() []ruling {
	const parent = "{parentRefs: [{group: '', kind: Service, name: api, port: 3307}]"
	return []ruling{
		{"a split", fine, "", parent + ", rules: [{backendRefs: [{name: api, port: 3307, weight: 9}, {name: billing, namespace: other, port: 80}]}]}"},
		{"host names", refused, "spec.hostnames", parent + ", hostnames: [a.com], rules: [{backendRefs: [{name: api, port: 3307}]}]}"},
		{"two rules", warned, "spec.rules[1]", parent + ", rules: [{backendRefs: [{name: api, port: 3307}]}, {backendRefs: [{name: api, port: 3307}]}]}"},
		{"a weight below 0", refused, "rules[0].backendRefs[0].weight", parent + ", rules: [{backendRefs: [{name: api, port: 3307, weight: -1}]}]}"},
		{"a Gateway", warned, "spec.parentRefs[0]", "{parentRefs: [{name: ingress}], rules: []}"},
	}
}

func TestVerdictsServices(t *testing.T) {
	rule(t, head{"networking.istio.io/v1", "ServiceEntry"}, whole, serviceEntries())
	rule(t, head{"split.smi-spec.io/v1alpha4", "TrafficSplit"}, whole, trafficSplits())
	rule(t, head{"specs.smi-spec.io/v1alpha4", "HTTPRouteGroup"}, whole, routeGroups())
}

func TestVerdictsRoutes(t *testing.T) {
	rule(t, head{"gateway.networking.k8s.io/v1", "HTTPRoute"}, routeOf("80"), httpRoutes())
	rule(t, head{"gateway.networking.k8s.io/v1", "GRPCRoute"}, routeOf("80"), grpcRoutes())
	rule(t, head{"gateway.networking.k8s.io/v1", "TLSRoute"}, whole, connectionRoutes())
	rule(t, head{"gateway.networking.k8s.io/v1", "TCPRoute"}, whole, unnamedRoutes())
}
