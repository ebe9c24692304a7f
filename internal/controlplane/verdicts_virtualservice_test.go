package controlplane

import (
	"strings"
	"testing"
)

func virtualServiceHead() head { return head{"networking.istio.io/v1", "VirtualService"} }

// virtualServices are whole specifications.
func virtualServices() []ruling {
	const route = "http: [{route: [{destination: {host: web}}]}]"
	return []ruling{
		{"a host and a route", fine, "", "{hosts: [web], " + route + "}"},
		{"several hosts", fine, "", "{hosts: [web, api.shop.svc.cluster.local, '*.example.com'], " + route + "}"},
		{"an address", warned, "spec.hosts[0]", "{hosts: [10.1.2.3], " + route + "}"},
		{"mesh alone", fine, "", "{hosts: [web], gateways: [mesh], " + route + "}"},
		{"mesh and a gateway", warned, "spec.gateways[1]", "{hosts: [web], gateways: [mesh, edge/public], " + route + "}"},
		{"a gateway alone", warned, "spec.gateways", "{hosts: [shop.example.com], gateways: [public], " + route + "}"},
		{"every host of a gateway", warned, "spec.gateways", "{hosts: ['*'], gateways: [public], " + route + "}"},
		{"claims at a gateway", warned, "spec.gateways", "{hosts: ['*'], gateways: [public], http: [{match: [{headers: {'@request.auth.claims.sub': {exact: a}}}], route: [{destination: {host: web}}]}]}"},
		{"a mistake behind a gateway", refused, "spec.http[0].timeout", "{hosts: ['*'], gateways: [public], http: [{timeout: 1us, route: [{destination: {host: web}}]}]}"},
		{"every host of the mesh", refused, "spec.hosts[0]", "{hosts: ['*'], " + route + "}"},
		{"every host of mesh and gateway", refused, "spec.hosts[0]", "{hosts: ['*'], gateways: [mesh, public], " + route + "}"},
		{"a delegate", warned, "spec.hosts", "{" + route + "}"},
		{"a delegate with gateways", refused, "spec.hosts", "{gateways: [public], " + route + "}"},
		{"a delegate with tcp", refused, "spec.hosts", "{tcp: [{route: [{destination: {host: api}}]}]}"},
		{"a delegate that delegates", refused, "spec.http[0].delegate", "{http: [{delegate: {name: x}}]}"},
		{"a rule that delegates", warned, "spec.http[0].delegate", "{hosts: [web], http: [{match: [{uri: {prefix: /a}}], delegate: {name: part}}, {route: [{destination: {host: web}}]}]}"},
		{"a rule that delegates and routes", refused, "spec.http[0].delegate", "{hosts: [web], http: [{delegate: {name: part}, route: [{destination: {host: web}}]}]}"},
		{"a rule that delegates and redirects", refused, "spec.http[0].delegate", "{hosts: [web], http: [{delegate: {name: part}, redirect: {uri: /a}}]}"},
		{"no rules", refused, "spec", "{hosts: [web]}"},
		{"a scheme", refused, "spec.hosts[0]", "{hosts: ['http://web'], " + route + "}"},
		{"a port in a host", refused, "spec.hosts[0]", "{hosts: ['web:80'], " + route + "}"},
		{"a path in a host", refused, "spec.hosts[0]", "{hosts: [web/a], " + route + "}"},
		{"an underscore", refused, "spec.hosts[0]", "{hosts: [my_web], " + route + "}"},
		{"digits for a top level", refused, "spec.hosts[0]", "{hosts: [web.123], " + route + "}"},
		{"a label that is too long", refused, "spec.hosts[0]", "{hosts: [" + strings.Repeat("a", 64) + "], " + route + "}"},
		{"a wildcard in the middle", refused, "spec.hosts[0]", "{hosts: [a.*.com], " + route + "}"},
		{"a wildcard inside a label", fine, "", "{hosts: ['*-v1.example.com'], " + route + "}"},
		{"a wildcard at the end of a label", refused, "spec.hosts[0]", "{hosts: ['v1-*.example.com'], " + route + "}"},
		{"a host twice", refused, "spec.hosts[1]", "{hosts: [web, web], " + route + "}"},
		{"a host below a wildcard", refused, "spec.hosts[1]", "{hosts: ['*.example.com', a.example.com], " + route + "}"},
		{"a host in two spellings", fine, "", "{hosts: [web, web.shop.svc.cluster.local], " + route + "}"},
		{"a gateway in the form of old", warned, "spec.gateways", "{hosts: [web], gateways: [public.edge.svc.cluster.local], " + route + "}"},
		{"no name of a gateway", refused, "spec.gateways[0]", "{hosts: [web], gateways: [edge/], " + route + "}"},
		{"a gateway with a blank", refused, "spec.gateways[0]", "{hosts: [web], gateways: ['a b'], " + route + "}"},
		{"export to all", fine, "", "{hosts: [web], exportTo: ['*'], " + route + "}"},
		{"export to nobody", refused, "spec.exportTo[0]", "{hosts: [web], exportTo: ['~'], " + route + "}"},
		{"export to all and one", refused, "spec.exportTo[0]", "{hosts: [web], exportTo: ['*', other], " + route + "}"},
		{"export to the own namespace twice", refused, "spec.exportTo[1]", "{hosts: [web], exportTo: [., shop], " + route + "}"},
		{"export to no namespace", refused, "spec.exportTo[0]", "{hosts: [web], exportTo: [A_B], " + route + "}"},
		{"an unknown field", refused, "spec.htpp", "{hosts: [web], htpp: []}"},
		{"the other spelling of a field", refused, "spec.export_to", "{hosts: [web], export_to: ['*'], " + route + "}"},
		{"a short host of another namespace", warned, "spec.hosts[0]", "{hosts: [billing], " + route + "}"},
		{"an empty rule", refused, "spec.http[0]", "{hosts: [web], http: [{}]}"},
	}
}

// httpRules are what stands in one http rule beside a route; those that begin with "=" are a whole rule.
func httpRules() []ruling {
	return []ruling{
		{"nothing", fine, "", ""},
		{"a timeout", fine, "", "timeout: 2s"},
		{"a timeout of 0", refused, "timeout", "timeout: 0s"},
		{"a timeout below a millisecond", refused, "timeout", "timeout: 10us"},
		{"a timeout finer than a millisecond", refused, "timeout", "timeout: 1500us"},
		{"a negative timeout", refused, "timeout", "timeout: -1s"},
		{"retries", fine, "", "retries: {attempts: 3, perTryTimeout: 1s, retryOn: '5xx,reset,503'}"},
		{"no retries", fine, "", "retries: {attempts: 0}"},
		{"conditions of no retries", refused, "retries.attempts", "retries: {attempts: 0, retryOn: 5xx}"},
		{"a time of no retries", refused, "retries.attempts", "retries: {perTryTimeout: 1s}"},
		{"negative retries", refused, "retries.attempts", "retries: {attempts: -1}"},
		{"an unknown condition", refused, "retries.retryOn", "retries: {attempts: 1, retryOn: sometimes}"},
		{"a condition behind a blank", refused, "retries.retryOn", "retries: {attempts: 1, retryOn: '5xx, reset'}"},
		{"an empty condition", refused, "retries.retryOn", "retries: {attempts: 1, retryOn: '5xx,'}"},
		{"no status", refused, "retries.retryOn", "retries: {attempts: 1, retryOn: '799'}"},
		{"a condition of rate limits", fine, "", "retries: {attempts: 1, retryOn: envoy-ratelimited}"},
		{"attempts in quotes", refused, "retries.attempts", "retries: {attempts: '3'}"},
		{"an abort", fine, "", "fault: {abort: {httpStatus: 503, percentage: {value: 10}}}"},
		{"an abort of 150 percent", refused, "fault.abort.percentage.value", "fault: {abort: {httpStatus: 503, percentage: {value: 150}}}"},
		{"an abort of less than nothing", refused, "fault.abort.percentage.value", "fault: {abort: {httpStatus: 503, percentage: {value: -1}}}"},
		{"an abort of next to nothing", refused, "fault.abort.percentage.value", "fault: {abort: {httpStatus: 503, percentage: {value: 0.00001}}}"},
		{"an abort of a percentage in quotes", refused, "fault.abort.percentage.value", "fault: {abort: {httpStatus: 503, percentage: {value: '50'}}}"},
		{"an abort of nothing", warned, "fault.abort.percentage", "fault: {abort: {httpStatus: 503, percentage: {value: 0}}}"},
		{"an abort without status", warned, "fault.abort", "fault: {abort: {percentage: {value: 10}}}"},
		{"an abort with status 99", refused, "fault.abort.httpStatus", "fault: {abort: {httpStatus: 99, percentage: {value: 10}}}"},
		{"an abort with a gRPC status", fine, "", "fault: {abort: {grpcStatus: NOT_FOUND, percentage: {value: 10}}}"},
		{"an abort with no gRPC status", refused, "fault.abort.grpcStatus", "fault: {abort: {grpcStatus: LOST, percentage: {value: 10}}}"},
		{"an abort of HTTP/2", refused, "fault.abort.http2Error", "fault: {abort: {http2Error: x, percentage: {value: 10}}}"},
		{"a delay", fine, "", "fault: {delay: {fixedDelay: 2s, percentage: {value: 100}}}"},
		{"a delay in percent of old", fine, "", "fault: {delay: {fixedDelay: 2s, percent: 50}}"},
		{"a delay below a millisecond", refused, "fault.delay.fixedDelay", "fault: {delay: {fixedDelay: 1us, percentage: {value: 100}}}"},
		{"a delay without time", warned, "fault.delay", "fault: {delay: {percentage: {value: 100}}}"},
		{"an exponential delay", refused, "fault.delay.exponentialDelay", "fault: {delay: {exponentialDelay: 1s, percentage: {value: 100}}}"},
		{"an empty fault", refused, "fault", "fault: {}"},
		{"a mirror", fine, "", "mirror: {host: api, port: {number: 9090}}, mirrorPercentage: {value: 5}"},
		{"a mirror of 101 percent", refused, "mirrorPercentage.value", "mirror: {host: api, port: {number: 9090}}, mirrorPercentage: {value: 101}"},
		{"a mirror of -1 percent", refused, "mirrorPercentage.value", "mirror: {host: api, port: {number: 9090}}, mirrorPercentage: {value: -1}"},
		{"a mirror of old with 200 percent", refused, "mirrorPercent", "mirror: {host: api, port: {number: 9090}}, mirrorPercent: 200"},
		{"mirror and mirrors", refused, "spec.http[0]", "mirror: {host: api, port: {number: 9090}}, mirrors: [{destination: {host: api, port: {number: 9090}}}]"},
		{"mirrors without destination", refused, "mirrors[0].destination", "mirrors: [{percentage: {value: 5}}]"},
		{"a cross-origin policy", fine, "", "corsPolicy: {allowOrigins: [{exact: 'https://a.com'}], allowMethods: [GET], maxAge: 24h}"},
		{"an origin of nothing", refused, "corsPolicy.allowOrigins[0]", "corsPolicy: {allowOrigins: [{exact: ''}]}"},
		{"a cross-origin method", refused, "corsPolicy.allowMethods[0]", "corsPolicy: {allowMethods: [get]}"},
		{"a cross-origin header", refused, "corsPolicy.allowHeaders[0]", "corsPolicy: {allowHeaders: ['a b']}"},
		{"a cross-origin age", refused, "corsPolicy.maxAge", "corsPolicy: {maxAge: 1500ms}"},

		{"headers", fine, "", "headers: {request: {set: {x-a: b}, add: {x-b: c}, remove: [x-c]}, response: {remove: [server]}}"},
		{"a header without name", refused, "headers.request.set[]", "headers: {request: {set: {'': a}}}"},
		{"a header with a blank", refused, "headers.request.set[x a]", "headers: {request: {set: {x a: b}}}"},
		{"a pseudo-header", refused, "headers.request.set[:path]", "headers: {request: {set: {':path': /a}}}"},
		{"the authority", fine, "", "headers: {request: {set: {':authority': a.example.com}}}"},
		{"the host with a blank", refused, "headers.request.set[host]", "headers: {request: {set: {host: a b}}}"},
		{"the host set and added", refused, "headers.request", "headers: {request: {set: {host: a.com}, add: {Host: b.com}}}"},
		{"the host twice", refused, "headers.request", "rewrite: {authority: a.com}, headers: {request: {set: {host: b.com}}}"},
		{"the host removed", refused, "headers.request.remove[0]", "headers: {request: {remove: [host]}}"},
		{"the host of a response", refused, "headers.response", "headers: {response: {set: {host: a.com}}}"},
		{"a line break", refused, "headers.request.set[x-a]", `headers: {request: {set: {x-a: "b\r\nx-admin: 1"}}}`},
		{"a NUL", refused, "headers.response.set[x-a]", `headers: {response: {set: {x-a: "b\0"}}}`},
		{"a bell", refused, "headers.request.add[x-a]", `headers: {request: {add: {x-a: "\a"}}}`},
		{"a tab", fine, "", `headers: {request: {add: {x-a: "b\tc"}}}`},
		{"an escaped percent", fine, "", "headers: {request: {set: {x-a: 100%%}}}"},
		{"a percent alone", refused, "headers.request.set[x-a]", "headers: {request: {set: {x-a: abc%123}}}"},
		{"an operator", fine, "", "headers: {request: {set: {x-a: 'from %REQ(x-b?y)%'}}}"},
		{"no operator", refused, "headers.request.set[x-a]", "headers: {request: {set: {x-a: '%UPSTREAM_MOOD%'}}}"},
		{"an operator without end", refused, "headers.request.set[x-a]", "headers: {request: {set: {x-a: '%START_TIME%%'}}}"},
		{"a hop-by-hop header", warned, "headers.request.set[Connection]", "headers: {request: {set: {Connection: close}}}"},
		{"a length", warned, "headers.response.set[content-length]", "headers: {response: {set: {content-length: '0'}}}"},

		{"a rewrite of the authority", fine, "", "rewrite: {authority: a.example.com}"},
		{"a rewrite with a port", fine, "", "rewrite: {authority: 'a.example.com:8080'}"},
		{"a rewrite to no authority", refused, "rewrite.authority", "rewrite: {authority: 'http://a'}"},
		{"a rewrite to a path", fine, "", "match: [{uri: {prefix: /a}}], rewrite: {uri: /b}"},
		{"a rewrite to a blank", refused, "rewrite.uri", "rewrite: {uri: '/a b/'}"},
		{"a rewrite to a line break", refused, "rewrite.uri", `rewrite: {uri: "/a\n/"}`},
		{"a rewrite to a fragment", refused, "rewrite.uri", "rewrite: {uri: '/a#b/'}"},
		{"an empty rewrite", refused, "rewrite", "rewrite: {}"},
		{"a rewrite by pattern", fine, "", `rewrite: {uriRegexRewrite: {match: '^/a/(\d+)$', rewrite: '/b/\1'}}`},
		{"a rewrite by half a pattern", refused, "rewrite.uriRegexRewrite", "rewrite: {uriRegexRewrite: {match: /a}}"},
		{"a rewrite by no pattern", refused, "rewrite.uriRegexRewrite.match", "rewrite: {uriRegexRewrite: {match: '(', rewrite: /a}}"},
		{"a rewrite by pattern to a blank", refused, "rewrite.uriRegexRewrite.rewrite", "rewrite: {uriRegexRewrite: {match: /a, rewrite: '/a b'}}"},
		{"a rewrite by path and pattern", refused, "rewrite", "rewrite: {uri: /a/, uriRegexRewrite: {match: /a, rewrite: /b}}"},
		{"a rewrite that leaves two slashes", warned, "rewrite.uri", "match: [{uri: {prefix: /common}}], rewrite: {uri: /}"},
		{"a rewrite that swallows a slash", warned, "rewrite.uri", "match: [{uri: {prefix: /svc/}}], rewrite: {uri: /v2}"},
		{"a rewrite of every path", warned, "rewrite.uri", "rewrite: {uri: /path}"},
		{"a rewrite of every path below another", fine, "", "rewrite: {uri: /path/}"},
		{"a rewrite to what is no path", warned, "rewrite.uri", "match: [{uri: {prefix: /a}}], rewrite: {uri: b}"},
		{"a rewrite of a directory", fine, "", "match: [{uri: {prefix: /svc/}}], rewrite: {uri: /}"},
		{"a rewrite of one path", fine, "", "match: [{uri: {exact: /a}}], rewrite: {uri: /}"},

		{"a redirect", fine, "", "= redirect: {uri: /new, redirectCode: 308}"},
		{"a redirect to another scheme", fine, "", "= redirect: {scheme: https}"},
		{"a redirect to gopher", refused, "redirect.scheme", "= redirect: {scheme: gopher}"},
		{"a redirect to itself", refused, "redirect", "= redirect: {}"},
		{"a redirect with 200", refused, "redirect.redirectCode", "= redirect: {uri: /a, redirectCode: 200}"},
		{"a redirect with 300", warned, "redirect.redirectCode", "= redirect: {uri: /a, redirectCode: 300}"},
		{"a redirect with 399", warned, "redirect.redirectCode", "= redirect: {uri: /a, redirectCode: 399}"},
		{"a redirect with 400", refused, "redirect.redirectCode", "= redirect: {uri: /a, redirectCode: 400}"},
		{"a redirect with 304", warned, "redirect.redirectCode", "= redirect: {uri: /a, redirectCode: 304}"},
		{"a redirect to port 70000", refused, "redirect.port", "= redirect: {port: 70000}"},
		{"a redirect to a line break", refused, "redirect.uri", `= redirect: {uri: "/a\r\nset-cookie: a"}`},
		{"a redirect to no host", refused, "redirect.authority", "= redirect: {authority: 'a b'}"},
		{"a redirect and a route", refused, "spec.http[0]", "redirect: {uri: /a}"},
		{"a redirect and a fault", refused, "fault", "= redirect: {uri: /a}, fault: {abort: {httpStatus: 500, percentage: {value: 1}}}"},
		{"a redirect and a rewrite", refused, "rewrite", "= redirect: {uri: /a}, rewrite: {uri: /b/}"},
		{"an answer", fine, "", "= directResponse: {status: 503, body: {string: nothing}}"},
		{"an answer with 42", refused, "directResponse.status", "= directResponse: {status: 42}"},
		{"an answer and a route", refused, "spec.http[0]", "directResponse: {status: 200}"},

		{"weights", fine, "", "= route: [{destination: {host: web, subset: v1}, weight: 90}, {destination: {host: web, subset: v2}, weight: 10}]"},
		{"large weights", fine, "", "= route: [{destination: {host: web, subset: v1}, weight: 2000000}, {destination: {host: web, subset: v2}, weight: 1}]"},
		{"a weight below 0", refused, "route[0].weight", "= route: [{destination: {host: web}, weight: -1}]"},
		{"weights of 0", refused, "route", "= route: [{destination: {host: web, subset: v1}}, {destination: {host: web, subset: v2}}]"},
		{"a weight in quotes", refused, "route[0].weight", "= route: [{destination: {host: web}, weight: '100'}]"},
		{"no destination", refused, "route[0].destination", "= route: [{weight: 100}]"},
		{"a destination for everything", refused, "route[0].destination.host", "= route: [{destination: {host: '*'}}]"},
		{"a destination that is a wildcard", fine, "", "= route: [{destination: {host: '*.example.com', port: {number: 443}}}]"},
		{"a destination that is an address", refused, "route[0].destination.host", "= route: [{destination: {host: 10.0.0.1}}]"},
		{"a destination with a scheme", refused, "route[0].destination.host", "= route: [{destination: {host: 'http://web'}}]"},
		{"a destination's port 0", refused, "route[0].destination.port.number", "= route: [{destination: {host: web, port: {number: 0}}}]"},
		{"a destination's port 70000", refused, "route[0].destination.port.number", "= route: [{destination: {host: web, port: {number: 70000}}}]"},
		{"a subset with a dot", refused, "route[0].destination.subset", "= route: [{destination: {host: web, subset: v1.2}}]"},
		{"a subset that is not there", warned, "route[0].destination.subset", "= route: [{destination: {host: web, subset: v3}}]"},
		{"a Service of another namespace by its short name", warned, "route[0].destination.host", "= route: [{destination: {host: billing}}]"},
		{"a Service of another namespace", fine, "", "= route: [{destination: {host: billing.other}}]"},
		{"a destination's header with a line break", refused, "route[0].headers.request.set[x-a]", `= route: [{destination: {host: web}, headers: {request: {set: {x-a: "\n"}}}}]`},
	}
}

// httpMatches are conditions of an http rule.
func httpMatches() []ruling {
	return []ruling{
		{"a path", fine, "", "uri: {exact: /a}"},
		{"the empty prefix of paths", fine, "", "uri: {prefix: ''}"},
		{"an empty pattern", refused, "uri.regex", "uri: {regex: ''}"},
		{"no pattern", refused, "uri.regex", "uri: {regex: '('}"},
		{"a long pattern", refused, "uri.regex", "uri: {regex: " + strings.Repeat("a", 1025) + "}"},
		{"an empty prefix of methods", refused, "method.prefix", "method: {prefix: ''}"},
		{"an empty pattern of authorities", refused, "authority.regex", "authority: {regex: ''}"},
		{"an empty prefix of schemes", refused, "scheme.prefix", "scheme: {prefix: ''}"},
		{"an empty prefix of a parameter", refused, "queryParams[a].prefix", "queryParams: {a: {prefix: ''}}"},
		{"a parameter", fine, "", "queryParams: {a: {exact: ''}}"},
		{"a header", fine, "", "headers: {x-a: {exact: b}}"},
		{"a header that is there", fine, "", "headers: {x-a: {}}"},
		{"an empty prefix of a header", refused, "headers[x-a].prefix", "headers: {x-a: {prefix: ''}}"},
		{"a star of a header", refused, "headers[x-a].regex", "headers: {x-a: {regex: '*'}}"},
		{"a star of a missing header", fine, "", "withoutHeaders: {x-a: {regex: '*'}}"},
		{"a missing header", fine, "", "withoutHeaders: {x-a: {}}"},
		{"an empty prefix of a missing header", refused, "withoutHeaders[x-a].prefix", "withoutHeaders: {x-a: {prefix: ''}}"},
		{"a header with a blank", refused, "headers[x a]", "headers: {x a: {exact: b}}"},
		{"a pseudo-header", refused, "headers[:method]", "headers: {':method': {exact: GET}}"},
		{"a claim", refused, "headers[@request.auth.claims.sub]", "headers: {'@request.auth.claims.sub': {exact: a}}"},
		{"a port", fine, "", "port: 80"},
		{"port 70000", refused, "port", "port: 70000"},
		{"a port in quotes", refused, "port", "port: '80'"},
		{"labels", fine, "", "sourceLabels: {app.example.com/name: web}"},
		{"a label without value", fine, "", "sourceLabels: {app: ''}"},
		{"a label with a star", refused, "sourceLabels[app]", "sourceLabels: {app: '*'}"},
		{"no name of a label", refused, "sourceLabels", "sourceLabels: {'a b': c}"},
		{"a namespace", fine, "", "sourceNamespace: other"},
		{"no namespace", refused, "sourceNamespace", "sourceNamespace: A_B"},
		{"no gateway", refused, "gateways[0]", "gateways: ['a b']"},
	}
}

// tcpRules are whole specifications with rules for connections.
func tcpRules() []ruling {
	tls := func(match string) string {
		return "{hosts: ['*.example.com'], tls: [{match: [" + match + "], route: [{destination: {host: api, port: {number: 3307}}}]}]}"
	}
	tcp := func(rule string) string { return "{hosts: [api], tcp: [" + rule + "]}" }
	return []ruling{
		{"connections", fine, "", tcp("{match: [{port: 3307, destinationSubnets: [10.0.0.0/8, 10.1.2.3]}], route: [{destination: {host: api, port: {number: 3307}}}]}")},
		{"connections of a subnet", fine, "", tcp("{match: [{sourceSubnet: 10.244.0.0/16}], route: [{destination: {host: api, port: {number: 3307}}}]}")},
		{"connections of no subnet", refused, "tcp[0].match[0].sourceSubnet", tcp("{match: [{sourceSubnet: 10.244.0.0/33}], route: [{destination: {host: api}}]}")},
		{"no subnet", refused, "tcp[0].match[0].destinationSubnets[0]", tcp("{match: [{destinationSubnets: [10.0.0.0/40]}], route: [{destination: {host: api}}]}")},
		{"connections to nowhere", refused, "tcp[0].route", tcp("{match: [{port: 3307}]}")},
		{"connections to weights of 0", refused, "tcp[0].route", tcp("{route: [{destination: {host: api, port: {number: 3307}}}, {destination: {host: web}}]}")},
		{"names", fine, "", tls("{port: 443, sniHosts: [a.example.com]}")},
		{"no names", refused, "sniHosts", tls("{port: 443}")},
		{"names of others", refused, "sniHosts[0]", tls("{sniHosts: [a.com]}")},
		{"no name", refused, "sniHosts[0]", tls("{sniHosts: ['a b']}")},
		{"names without conditions", refused, "tls[0].match", "{hosts: [a.example.com], tls: [{route: [{destination: {host: api, port: {number: 3307}}}]}]}"},
		{"names for port 70000", refused, "port", tls("{port: 70000, sniHosts: [a.example.com]}")},
	}
}

func TestVerdictsVirtualService(t *testing.T) {
	rule(t, virtualServiceHead(), whole, virtualServices())
	rule(t, virtualServiceHead(), whole, tcpRules())
	rule(t, virtualServiceHead(), func(part string) string {
		if bare, ok := strings.CutPrefix(part, "= "); ok {
			return "{hosts: [web], http: [{" + bare + "}]}"
		}
		return "{hosts: [web], http: [{route: [{destination: {host: web}}], " + part + "}]}"
	}, httpRules())
	rule(t, virtualServiceHead(), func(match string) string {
		return "{hosts: [web], http: [{match: [{" + match + "}], route: [{destination: {host: web}}]}]}"
	}, httpMatches())
}
