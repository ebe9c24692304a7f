package controlplane

import (
	"strings"
	"testing"
)

// Rows for fields that are less often written. Each has the verdict of Istio's validation, but for those whose name says
// "unlike Istio": docs/reference/manifests.md lists these with the reason.

// rarerHTTPRules are what stands in one http rule, as in [httpRules].
func rarerHTTPRules() []ruling {
	return []ruling{
		{"a pause between tries", fine, "", "retries: {attempts: 1, backoff: 10ms}"},
		{"a pause of no time", refused, "retries.backoff", "retries: {attempts: 1, backoff: 0s}"},
		{"a pause finer than a millisecond", refused, "retries.backoff", "retries: {attempts: 1, backoff: 1500us}"},
		{"a pause of no retries", fine, "", "retries: {attempts: 0, backoff: 10ms}"},
		{"no time for a try", refused, "retries.perTryTimeout", "retries: {attempts: 1, perTryTimeout: 0s}"},
		{"other localities of no retries", refused, "retries.attempts", "retries: {attempts: 0, retryRemoteLocalities: true}"},
		{"the same host", fine, "", "retries: {attempts: 1, retryIgnorePreviousHosts: false}"},
		{"every condition", fine, "", "retries: {attempts: 1, retryOn: '5xx,gateway-error,reset,reset-before-request,connect-failure,retriable-4xx,refused-stream,retriable-status-codes," +
			"retriable-headers,envoy-ratelimited,http3-post-connect-failure,cancelled,deadline-exceeded,internal,resource-exhausted,unavailable'}"},
		{"a status that is no status", refused, "retries.retryOn", "retries: {attempts: 1, retryOn: '0'}"},

		{"a pattern of origins", refused, "corsPolicy.allowOrigins[0].regex", "corsPolicy: {allowOrigins: [{regex: '('}]}"},
		{"an origin without match", refused, "corsPolicy.allowOrigins[0]", "corsPolicy: {allowOrigins: [{}]}"},
		{"a prefix of origins", fine, "", "corsPolicy: {allowOrigins: [{prefix: 'https://a.'}]}"},
		{"a header to expose", refused, "corsPolicy.exposeHeaders[0]", "corsPolicy: {exposeHeaders: ['a b']}"},
		{"every cross-origin header", fine, "", "corsPolicy: {allowOrigins: [{exact: 'https://a.com'}], allowHeaders: ['*']}"},
		{"a cross-origin age of no time", refused, "corsPolicy.maxAge", "corsPolicy: {maxAge: 0s}"},

		{"mirrors of 101 percent", refused, "mirrors[0].percentage.value", "mirrors: [{destination: {host: api, port: {number: 9090}}, percentage: {value: 101}}]"},
		{"mirrors to every host", refused, "mirrors[0].destination.host", "mirrors: [{destination: {host: '*'}}]"},

		{"an answer with 199", refused, "directResponse.status", "= directResponse: {status: 199}"},
		{"an answer with 599", fine, "", "= directResponse: {status: 599}"},
		{"an answer with 600, unlike Istio", refused, "directResponse.status", "= directResponse: {status: 600}"},
		{"an answer that is too large", refused, "directResponse.body", "= directResponse: {status: 200, body: {string: " + strings.Repeat("a", 1<<20+1) + "}}"},
		{"a redirect by code alone", refused, "redirect", "= redirect: {redirectCode: 308}"},
		{"a redirect to another port", fine, "", "= redirect: {port: 8443}"},

		{"a pattern of a rule that delegates", refused, "match[0].uri.regex", "= match: [{uri: {regex: '/a.*'}}], delegate: {name: part}"},
		{"a header's pattern of a rule that delegates", refused, "match[0].headers[x-a].regex", "= match: [{headers: {x-a: {regex: a+}}}], delegate: {name: part}"},
		{"a parameter's pattern of a rule that delegates", refused, "match[0].queryParams[a].regex", "= match: [{queryParams: {a: {regex: a+}}}], delegate: {name: part}"},
		{"an absent header's pattern of a rule that delegates", refused, "match[0].withoutHeaders[x-a].regex", "= match: [{withoutHeaders: {x-a: {regex: a+}}}], delegate: {name: part}"},
		{"a prefix of a rule that delegates", warned, "delegate", "= match: [{uri: {prefix: /a}}], delegate: {name: part}"},
	}
}

// delegates are whole specifications of VirtualServices without hosts.
func delegateRules() []ruling {
	of := func(match string) string {
		return "{http: [{match: [{" + match + "}], route: [{destination: {host: web}}]}]}"
	}
	return []ruling{
		{"a prefix of a delegate", warned, "spec.hosts", of("uri: {prefix: /a}")},
		{"a pattern of a delegate", refused, "match[0].uri.regex", of("uri: {regex: /a.*}")},
		{"a method's pattern of a delegate", refused, "match[0].method.regex", of("method: {regex: GET|PUT}")},
		{"an authority's pattern of a delegate", refused, "match[0].authority.regex", of("authority: {regex: a.*}")},
		{"a scheme's pattern of a delegate", refused, "match[0].scheme.regex", of("scheme: {regex: http.*}")},
	}
}

// rarerPolicies are what stands in trafficPolicy.
func rarerPolicies() []ruling {
	return []ruling{
		{"a retry budget", fine, "", "connectionPool: {tcp: {maxConnections: 1}}, retryBudget: {percent: 10, minRetryConcurrency: 5}"},
		{"a retry budget of 101 percent", refused, "retryBudget.percent", "retryBudget: {percent: 101}"},
		{"a retry budget of -1 percent", refused, "retryBudget.percent", "retryBudget: {percent: -1}"},
		{"a retry budget below 0", refused, "retryBudget.minRetryConcurrency", "retryBudget: {minRetryConcurrency: -1}"},

		{"connections that are idle for ever", fine, "", "connectionPool: {tcp: {idleTimeout: 0s}}"},
		{"keep-alives at intervals of no time", refused, "connectionPool.tcp.tcpKeepalive.interval", "connectionPool: {tcp: {tcpKeepalive: {interval: 0s}}}"},
		{"keep-alives without probes", fine, "", "connectionPool: {tcp: {tcpKeepalive: {time: 60s}}}"},
		{"requests that are idle for no time", refused, "connectionPool.http.idleTimeout", "connectionPool: {http: {idleTimeout: 0s}}"},
		{"the client's protocol", fine, "", "connectionPool: {http: {useClientProtocol: true}}"},
		{"the client's protocol and no upgrade", fine, "", "connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE, useClientProtocol: true}}"},
		{"an upgrade of another kind", refused, "connectionPool.http.h2UpgradePolicy", "connectionPool: {http: {h2UpgradePolicy: ALWAYS}}"},

		{"warming up", fine, "", "loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 30s, minimumPercent: 10, aggression: 2}}"},
		{"warming up for an unknown time", refused, "loadBalancer.warmup.duration", "loadBalancer: {simple: ROUND_ROBIN, warmup: {aggression: 2}}"},
		{"warming up from 101 percent", refused, "loadBalancer.warmup.minimumPercent", "loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 30s, minimumPercent: 101}}"},
		{"warming up too gently", refused, "loadBalancer.warmup.aggression", "loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 30s, aggression: 0.5}}"},
		{"a table of no size, unlike Istio", fine, "", "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {}}}"},

		{"TLS with a key and no certificate", refused, "tls", "tls: {mode: MUTUAL, privateKey: /b}"},
		{"TLS with a certificate and neither", refused, "tls", "tls: {mode: MUTUAL}"},
		{"outliers of local origin that are split", fine, "", "outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 5}"},
	}
}

// rarerServiceEntries are whole specifications.
func rarerServiceEntries() []ruling {
	const web = "ports: [{number: 80, name: http, protocol: HTTP}]"
	return []ruling{
		{"names of calls", fine, "", "{hosts: ['*.b.com'], " + web + ", resolution: DYNAMIC_DNS}"},
		{"names of calls that name nothing", refused, "spec.hosts[0]", "{hosts: [a.com], " + web + ", resolution: DYNAMIC_DNS}"},
		{"names of calls and endpoints", refused, "spec.endpoints", "{hosts: ['*.b.com'], " + web + ", resolution: DYNAMIC_DNS, endpoints: [{address: 10.1.2.3}]}"},
		{"names of calls by TCP", refused, "spec.ports[0].protocol", "{hosts: ['*.b.com'], ports: [{number: 9, name: tcp, protocol: TCP}], resolution: DYNAMIC_DNS}"},
		{"a target port", fine, "", "{hosts: [a.com], ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}], resolution: DNS}"},
		{"a target port 70000", refused, "spec.ports[0].targetPort", "{hosts: [a.com], ports: [{number: 80, name: http, protocol: HTTP, targetPort: 70000}], resolution: DNS}"},
		{"a selector that selects nothing", warned, "spec.workloadSelector", "{hosts: [a.com], " + web + ", resolution: NONE, workloadSelector: {labels: {app: a}}}"},
		{"names of a server", fine, "", "{hosts: [a.com], " + web + ", resolution: DNS, subjectAltNames: [b.com]}"},
		{"an endpoint to look up with a port", refused, "spec.endpoints[0].address", "{hosts: [a.com], " + web + ", resolution: DNS, endpoints: [{address: 'b.com:80'}]}"},
	}
}

// workloadEntries are whole specifications; nothing selects them, which is a warning.
func workloadEntries() []ruling {
	return []ruling{
		{"an address", warned, "", "{address: 10.1.2.3, labels: {app: a}, ports: {http: 8080}, weight: 2}"},
		{"a name", warned, "", "{address: a.example.com}"},
		{"no address", refused, "spec.address", "{labels: {app: a}}"},
		{"no address in a network", warned, "", "{network: a}"},
		{"an address with a port", refused, "spec.address", "{address: '10.1.2.3:80'}"},
		{"a port 0", refused, "spec.ports[http]", "{address: 10.1.2.3, ports: {http: 0}}"},
		{"no name of a port", refused, "spec.ports[a b]", "{address: 10.1.2.3, ports: {'a b': 80}}"},
		{"no label", refused, "spec.labels", "{address: 10.1.2.3, labels: {'a b': c}}"},
	}
}

// healthCheckPolicies are whole specifications of the project's own kind.
func healthCheckPolicies() []ruling {
	of := func(rest string) string { return "{targetRefs: [{group: '', kind: Service, name: web}], " + rest + "}" }
	return []ruling{
		{"a check", fine, "", of("http: {path: /healthz}")},
		{"no target", refused, "spec.targetRefs", "{http: {path: /healthz}}"},
		{"a target that is not there", warned, "spec.targetRefs[0].name", "{targetRefs: [{group: '', kind: Service, name: nobody}], http: {path: /healthz}}"},
		{"two checks", refused, "spec", of("http: {path: /a}, tcp: {send: a, receive: b}")},
		{"no check", refused, "spec", of("interval: 10s")},
		{"a check at no time", refused, "spec.interval", of("http: {path: /a}, interval: 0s")},
	}
}

func TestVerdictsOfRarerFields(t *testing.T) {
	rule(t, virtualServiceHead(), func(part string) string {
		if bare, ok := strings.CutPrefix(part, "= "); ok {
			return "{hosts: [web], http: [{" + bare + "}]}"
		}
		return "{hosts: [web], http: [{route: [{destination: {host: web}}], " + part + "}]}"
	}, rarerHTTPRules())
	rule(t, virtualServiceHead(), whole, delegateRules())
	rules := head{"networking.istio.io/v1", "DestinationRule"}
	rule(t, rules, func(policy string) string { return "{host: api, trafficPolicy: {" + policy + "}}" }, rarerPolicies())
	rule(t, head{"networking.istio.io/v1", "ServiceEntry"}, whole, rarerServiceEntries())
	rule(t, head{"networking.istio.io/v1", "WorkloadEntry"}, whole, workloadEntries())
	rule(t, head{"fairlead.dev/v1alpha1", "HealthCheckPolicy"}, whole, healthCheckPolicies())
}
