package controlplane

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/source/file"
	"fairlead.dev/fairlead/internal/validate"
)

// destinationRules are whole specifications.
func destinationRules() []ruling {
	return []ruling{
		{"a host", fine, "", "{host: api}"},
		{"every host", fine, "", "{host: '*'}"},
		{"every host of a domain", fine, "", "{host: '*.example.com'}"},
		{"a wildcard inside a label", fine, "", "{host: '*-v1.example.com'}"},
		{"no host", refused, "spec.host", "{}"},
		{"a scheme", refused, "spec.host", "{host: 'https://api'}"},
		{"a port in a host", refused, "spec.host", "{host: 'api:80'}"},
		{"an address", refused, "spec.host", "{host: 10.0.0.1}"},
		{"a host that is not there", warned, "spec.host", "{host: nobody}"},
		{"a short host of another namespace", warned, "spec.host", "{host: billing}"},
		{"export to the own namespace", fine, "", "{host: api, exportTo: [.]}"},
		{"export to nobody", refused, "spec.exportTo[0]", "{host: api, exportTo: ['~']}"},
		{"a selector", fine, "", "{host: api, workloadSelector: {matchLabels: {app: web}}}"},
		{"a selector without labels", warned, "spec.workloadSelector", "{host: api, workloadSelector: {}}"},
		{"a selector with a star", refused, "spec.workloadSelector.matchLabels[app]", "{host: api, workloadSelector: {matchLabels: {app: '*'}}}"},
		{"a selector for all namespaces", refused, "spec.exportTo[0]", "{host: api, exportTo: ['*'], workloadSelector: {matchLabels: {app: web}}}"},
		{"subsets", fine, "", "{host: api, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}"},
		{"a subset without labels", fine, "", "{host: api, subsets: [{name: all}]}"},
		{"a subset without name", refused, "spec.subsets[0].name", "{host: api, subsets: [{labels: {version: v1}}]}"},
		{"a subset with an underscore", refused, "spec.subsets[0].name", "{host: api, subsets: [{name: v_1, labels: {version: v1}}]}"},
		{"a subset twice", refused, "spec.subsets[1].name", "{host: api, subsets: [{name: v1}, {name: v1}]}"},
		{"a subset with a star", refused, "spec.subsets[0].labels[version]", "{host: api, subsets: [{name: v1, labels: {version: '*'}}]}"},
		{"a subset with no label", refused, "spec.subsets[0].labels", "{host: api, subsets: [{name: v1, labels: {'a b': c}}]}"},
		{"a subset with an empty policy", refused, "spec.subsets[0].trafficPolicy", "{host: api, subsets: [{name: v1, labels: {a: b}, trafficPolicy: {}}]}"},
		{"an empty policy", refused, "spec.trafficPolicy", "{host: api, trafficPolicy: {}}"},
	}
}

// trafficPolicies are what stands in trafficPolicy.
func trafficPolicies() []ruling {
	return []ruling{
		{"balancing", fine, "", "loadBalancer: {simple: ROUND_ROBIN}"},
		{"balancing of old", fine, "", "loadBalancer: {simple: LEAST_CONN}"},
		{"no balancing", refused, "loadBalancer.simple", "loadBalancer: {simple: FASTEST}"},
		{"balancing by number", refused, "loadBalancer.simple", "loadBalancer: {simple: 4}"},
		{"a hash", fine, "", "loadBalancer: {consistentHash: {httpHeaderName: x-user}}"},
		{"a cookie without name", refused, "consistentHash.httpCookie.name", "loadBalancer: {consistentHash: {httpCookie: {ttl: 0s}}}"},
		{"a table", fine, "", "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 65537}}}"},
		{"a table that is not prime", refused, "consistentHash.maglev.tableSize", "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 65536}}}"},
		{"a table that is too large", refused, "consistentHash.maglev.tableSize", "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 5000011}}}"},
		{"two ring sizes", refused, "consistentHash.minimumRingSize", "loadBalancer: {consistentHash: {useSourceIp: true, minimumRingSize: 10, ringHash: {minimumRingSize: 10}}}"},
		{"localities", fine, "", "loadBalancer: {localityLbSetting: {failover: [{from: eu, to: us}]}}"},
		{"localities that fail over to themselves", refused, "localityLbSetting.failover[0].to", "loadBalancer: {localityLbSetting: {failover: [{from: eu, to: eu}]}}"},
		{"localities of 90 percent", refused, "localityLbSetting.distribute[0].to", "loadBalancer: {localityLbSetting: {distribute: [{from: eu/*, to: {eu/a: 80, eu/b: 10}}]}}"},
		{"localities both ways", refused, "localityLbSetting.distribute", "loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 100}}], failover: [{from: a, to: b}]}}"},
		{"warming up in no time", refused, "loadBalancer.warmupDurationSecs", "loadBalancer: {simple: RANDOM, warmupDurationSecs: 1us}"},

		{"pools", fine, "", "connectionPool: {tcp: {maxConnections: 10, connectTimeout: 1s}, http: {http1MaxPendingRequests: 5}}"},
		{"an empty pool", refused, "connectionPool", "connectionPool: {}"},
		{"connections below 0", refused, "connectionPool.tcp.maxConnections", "connectionPool: {tcp: {maxConnections: -1}}"},
		{"connections in quotes", refused, "connectionPool.tcp.maxConnections", "connectionPool: {tcp: {maxConnections: '10'}}"},
		{"no time to connect", refused, "connectionPool.tcp.connectTimeout", "connectionPool: {tcp: {connectTimeout: 0s}}"},
		{"a time to connect without unit", refused, "connectionPool.tcp.connectTimeout", "connectionPool: {tcp: {connectTimeout: 5}}"},
		{"keep-alives in no time", refused, "connectionPool.tcp.tcpKeepalive.time", "connectionPool: {tcp: {tcpKeepalive: {time: 1us}}}"},
		{"a duration of no time", refused, "connectionPool.tcp.maxConnectionDuration", "connectionPool: {tcp: {maxConnectionDuration: 0s}}"},
		{"pending requests below 0", refused, "connectionPool.http.http1MaxPendingRequests", "connectionPool: {http: {http1MaxPendingRequests: -1}}"},
		{"requests below 0", refused, "connectionPool.http.http2MaxRequests", "connectionPool: {http: {http2MaxRequests: -1}}"},
		{"requests of a connection below 0", refused, "connectionPool.http.maxRequestsPerConnection", "connectionPool: {http: {maxRequestsPerConnection: -1}}"},
		{"retries below 0", refused, "connectionPool.http.maxRetries", "connectionPool: {http: {maxRetries: -1}}"},
		{"streams below 0", refused, "connectionPool.http.maxConcurrentStreams", "connectionPool: {http: {maxConcurrentStreams: -1}}"},
		{"idle for no time", refused, "connectionPool.http.idleTimeout", "connectionPool: {http: {idleTimeout: 1us}}"},
		{"an upgrade and the client's protocol", refused, "connectionPool.http.useClientProtocol", "connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}"},
		{"an upgrade", fine, "", "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}"},

		{"outliers", fine, "", "outlierDetection: {consecutive5xxErrors: 5, interval: 10s, maxEjectionPercent: 50}"},
		{"outliers of 150 percent", refused, "outlierDetection.maxEjectionPercent", "outlierDetection: {maxEjectionPercent: 150}"},
		{"outliers of -1 percent", refused, "outlierDetection.minHealthPercent", "outlierDetection: {minHealthPercent: -1}"},
		{"outliers in no time", refused, "outlierDetection.interval", "outlierDetection: {interval: 1us}"},
		{"outliers for no time", refused, "outlierDetection.baseEjectionTime", "outlierDetection: {baseEjectionTime: 0s}"},
		{"outliers of local origin", refused, "outlierDetection.consecutiveLocalOriginFailures", "outlierDetection: {consecutiveLocalOriginFailures: 5}"},

		{"TLS", fine, "", "tls: {mode: SIMPLE, sni: a.com}"},
		{"TLS of the mesh", fine, "", "tls: {mode: ISTIO_MUTUAL}"},
		{"TLS of the mesh with files", warned, "tls", "tls: {mode: ISTIO_MUTUAL, clientCertificate: a, privateKey: b}"},
		{"TLS with a certificate", fine, "", "tls: {mode: MUTUAL, clientCertificate: /a, privateKey: /b, caCertificates: /c}"},
		{"TLS with a certificate and no key", refused, "tls", "tls: {mode: MUTUAL, clientCertificate: /a}"},
		{"TLS of a Secret that must have another name", refused, "tls.credentialName", "tls: {mode: SIMPLE, credentialName: b/a}"},
		{"CAs of a Secret and of files", refused, "tls", "tls: {mode: SIMPLE, caCertCredentialName: a, caCertificates: /c}"},
		{"TLS of a Secret and of files", refused, "tls", "tls: {mode: SIMPLE, credentialName: a, caCertificates: /c}"},
		{"TLS of a Secret and a revocation list", refused, "tls", "tls: {mode: SIMPLE, credentialName: a, caCrl: /c}"},
		{"TLS that verifies nothing", fine, "", "tls: {mode: SIMPLE, insecureSkipVerify: true}"},
		{"TLS that verifies nothing with a CA", refused, "tls.insecureSkipVerify", "tls: {mode: SIMPLE, insecureSkipVerify: true, caCertificates: /c}"},
		{"TLS that verifies nothing with names", refused, "tls.insecureSkipVerify", "tls: {mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [a]}"},
		{"TLS that verifies nothing with a Secret", refused, "tls.insecureSkipVerify", "tls: {mode: SIMPLE, insecureSkipVerify: true, credentialName: a}"},
		{"TLS in another mode", refused, "tls.mode", "tls: {mode: STRICT}"},

		{"a port", fine, "", "portLevelSettings: [{port: {number: 9090}, loadBalancer: {simple: RANDOM}}]"},
		{"no port", refused, "portLevelSettings[0].port.number", "portLevelSettings: [{loadBalancer: {simple: RANDOM}}]"},
		{"nothing for a port", refused, "portLevelSettings[0]", "portLevelSettings: [{port: {number: 9090}}]"},
		{"a port twice", warned, "portLevelSettings[1].port.number", "portLevelSettings: [{port: {number: 9090}, tls: {mode: DISABLE}}, {port: {number: 9090}, tls: {mode: DISABLE}}]"},
		{"a tunnel", fine, "", "tunnel: {targetHost: a.com, targetPort: 443}"},
		{"a tunnel to nowhere", refused, "tunnel.targetHost", "tunnel: {targetHost: 'a b', targetPort: 443}"},
		{"a tunnel to port 0", refused, "tunnel.targetPort", "tunnel: {targetHost: a.com, targetPort: 0}"},
		{"a tunnel by GET", refused, "tunnel.protocol", "tunnel: {protocol: GET, targetHost: a.com, targetPort: 1}"},
		{"a tunnel and a proxy protocol", refused, "proxyProtocol", "tunnel: {targetHost: a.com, targetPort: 443}, proxyProtocol: {version: V2}"},
	}
}

// peerAuthentications are whole specifications.
func peerAuthentications() []ruling {
	return []ruling{
		{"a namespace", fine, "", "{mtls: {mode: PERMISSIVE}}"},
		{"no mode", refused, "spec.mtls.mode", "{mtls: {mode: ALWAYS}}"},
		{"ports of a workload", fine, "", "{selector: {matchLabels: {app: web}}, portLevelMtls: {8080: {mode: STRICT}}}"},
		{"ports of nobody", refused, "spec.portLevelMtls", "{portLevelMtls: {8080: {mode: STRICT}}}"},
		{"port 0", refused, "spec.portLevelMtls[0]", "{selector: {matchLabels: {app: web}}, portLevelMtls: {0: {mode: STRICT}}}"},
		{"port 70000", refused, "spec.portLevelMtls[70000]", "{selector: {matchLabels: {app: web}}, portLevelMtls: {70000: {mode: STRICT}}}"},
		{"a selector without labels", warned, "spec.selector", "{selector: {}, mtls: {mode: PERMISSIVE}}"},
		{"a star", refused, "spec.selector.matchLabels[app]", "{selector: {matchLabels: {app: '*'}}}"},
		{"no label", refused, "spec.selector.matchLabels", "{selector: {matchLabels: {'': a}}}"},
	}
}

func TestVerdictsPolicies(t *testing.T) {
	rules := head{"networking.istio.io/v1", "DestinationRule"}
	rule(t, rules, whole, destinationRules())
	rule(t, rules, func(policy string) string { return "{host: api, trafficPolicy: {" + policy + "}}" }, trafficPolicies())
	rule(t, head{"security.istio.io/v1", "PeerAuthentication"}, whole, peerAuthentications())
	rule(t, head{"telemetry.istio.io/v1", "Telemetry"}, whole, telemetries())
}

// telemetries are whole specifications.
func telemetries() []ruling {
	return []ruling{
		{"nothing", fine, "", "{}"},
		{"access logs", fine, "", "{accessLogging: [{providers: [{name: envoy}]}]}"},
		{"no access logs of calls that come", fine, "", "{accessLogging: [{match: {mode: SERVER}, disabled: true}]}"},
		{"access logs of errors", fine, "", "{accessLogging: [{filter: {expression: '!has(response.code) || response.code >= 400'}}]}"},
		{"an expression that is none", refused, "spec.accessLogging[0].filter.expression", "{accessLogging: [{filter: {expression: 'response.code >='}}]}"},
		{"an expression without a condition", refused, "spec.accessLogging[0].filter.expression", "{accessLogging: [{filter: {expression: response.code}}]}"},
		{"an attribute that is none", refused, "spec.accessLogging[0].filter.expression", "{accessLogging: [{filter: {expression: 'response.cod >= 400'}}]}"},
		{"an empty expression", refused, "spec.accessLogging[0].filter.expression", "{accessLogging: [{filter: {}}]}"},
		{"traces", fine, "", "{tracing: [{randomSamplingPercentage: 10, customTags: {team: {literal: {value: blue}}}, disableSpanReporting: true}]}"},
		{"traces of calls that are made", fine, "", "{tracing: [{match: {mode: CLIENT}, enableIstioTags: false, disableSpanReporting: true}]}"},
		{"a sampling that is none", refused, "spec.tracing[0].randomSamplingPercentage", "{tracing: [{randomSamplingPercentage: 101}]}"},
		{"a tag from nowhere", refused, "spec.tracing[0].customTags[a]", "{tracing: [{customTags: {a: {}}}]}"},
		{"a provider without name", refused, "spec.accessLogging[0].providers[0].name", "{accessLogging: [{providers: [{}]}]}"},
		{"a mode by number", refused, "spec.accessLogging[0].match.mode", "{accessLogging: [{match: {mode: 7}}]}"},
		{"metrics that are off", fine, "", "{metrics: [{providers: [{name: prometheus}], overrides: [{match: {metric: ALL_METRICS, mode: CLIENT}, disabled: true}]}]}"},
		{"labels that are added and removed", fine, "", "{metrics: [{overrides: [{tagOverrides: {request_method: {value: request.method}, source_principal: {operation: REMOVE}}}]}]}"},
		{"an interval", warned, "spec.metrics[0].reportingInterval", "{metrics: [{reportingInterval: 10s}]}"},
		{"a metric that is not Istio's", warned, "spec.metrics[0].overrides[0].match.customMetric", "{metrics: [{overrides: [{match: {customMetric: mine}}]}]}"},
		{"metrics for a provider that is not there", warned, "spec.metrics[0].providers[0].name", "{metrics: [{providers: [{name: stackdriver}]}]}"},
		{"a metric by number", refused, "spec.metrics[0].overrides[0].match.metric", "{metrics: [{overrides: [{match: {metric: 77}}]}]}"},
		{"a label without value", refused, "spec.metrics[0].overrides[0].tagOverrides[a].value", "{metrics: [{overrides: [{tagOverrides: {a: {}}}]}]}"},
		{"a label whose value is no expression", refused, "spec.metrics[0].overrides[0].tagOverrides[a].value", "{metrics: [{overrides: [{tagOverrides: {a: {value: 'request.pth'}}}]}]}"},
		{"a label that cannot be one", refused, "spec.metrics[0].overrides[0].tagOverrides[a-b]", "{metrics: [{overrides: [{tagOverrides: {a-b: {operation: REMOVE}}}]}]}"},
		{"a label with a star", refused, "spec.selector.matchLabels[app]", "{selector: {matchLabels: {app: '*'}}}"},
		{"a gateway", warned, "spec.targetRefs", "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: web}]}"},
		{"a gateway and a selector", refused, "spec.targetRefs", "{selector: {matchLabels: {app: web}}, targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: web}]}"},
	}
}

// TestProvidersThatTheMeshHasNot: a mesh knows its providers, files do not say them.
func TestProvidersThatTheMeshHasNot(t *testing.T) {
	p := &ControlPlane{engine: engineWith(t, verdictWorld), metrics: newMetrics("test")}
	for _, part := range []string{"accessLogging", "tracing"} {
		object := "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: judged, namespace: shop}\nspec: {" + part + ": [{providers: [{name: elsewhere}]}]}\n"
		objects, read := file.Decode("a.yaml", []byte(verdictWorld+"---\n"+object))
		for _, problem := range validate.Objects(objects, read, "cluster.local") {
			if problem.Ref.Kind == "Telemetry" {
				t.Errorf("%s: files have no providers, and yet %s", part, problem)
			}
		}
		raw, err := yaml.YAMLToJSON([]byte(object))
		if err != nil {
			t.Fatal(err)
		}
		r := askAdmission(t, p.validator(), admissionv1.Create, string(raw), "")
		if !r.Allowed || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "spec."+part+"[0].providers[0].name: ") || !strings.Contains(r.Warnings[0], `"elsewhere"`) {
			t.Errorf("%s: admission allows it: %v, warns %q", part, r.Allowed, r.Warnings)
		}
	}
}
