package istio

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"fairlead.dev/fairlead/internal/model"
)

func TestDestinationRuleProblems(t *testing.T) {
	t.Parallel()
	with := func(policy string) string { return "host: users\ntrafficPolicy: {" + policy + "}" }
	const lls = "spec.trafficPolicy.loadBalancer.localityLbSetting"
	tests := []problemCase{
		{"nothing wrong", with("loadBalancer: {simple: RANDOM}"), nil},
		{"no host", "{}", []string{"error spec.host: no host"}},
		{"a bad host", "host: http://users", []string{"error spec.host: not a host"}},
		{"a workload selector", "{host: users, exportTo: [.], workloadSelector: {matchLabels: {a: b}}}", nil},
		{"a workload selector of its namespace", "{host: users, exportTo: [myapp], workloadSelector: {matchLabels: {a: b}}}", nil},
		{"a workload selector for others", "{host: users, exportTo: [., shop], workloadSelector: {matchLabels: {a: b}}}", []string{`error spec.exportTo[1]: "shop" beside workloadSelector`}},
		{"a workload selector for all", "{host: users, exportTo: ['*'], workloadSelector: {matchLabels: {a: b}}}", []string{`error spec.exportTo[0]: "*" beside workloadSelector`}},
		{"a workload selector without labels", "{host: users, workloadSelector: {}}", []string{"warning spec.workloadSelector: for every workload"}},
		{"a workload selector with a star", "{host: users, workloadSelector: {matchLabels: {a: '*'}}}", []string{"error spec.workloadSelector.matchLabels[a]: not a label value"}},
		{"a subset without name", "{host: users, subsets: [{labels: {a: b}}]}", []string{"error spec.subsets[0].name: no name"}},
		{"a bad subset name", "{host: users, subsets: [{name: 'a b'}]}", []string{"error spec.subsets[0].name: cannot be a name"}},
		{"two subsets of a name", "{host: users, subsets: [{name: a}, {name: a}]}", []string{"error spec.subsets[1].name: two subsets"}},
		{"a wildcard label", "{host: users, subsets: [{name: a, labels: {v: '*'}}]}", []string{"error spec.subsets[0].labels[v]: not a label value"}},
		{"a subset's policy", "{host: users, subsets: [{name: a, trafficPolicy: {outlierDetection: {}}}]}", nil},
		{"outlier detection", with("outlierDetection: {interval: 0s, maxEjectionPercent: 101, consecutiveLocalOriginFailures: 1, consecutiveErrors: 3, outlierDetectionHttpErrorCodes: [600]}"), []string{
			"error spec.trafficPolicy.outlierDetection.interval: below 1ms", "error spec.trafficPolicy.outlierDetection.maxEjectionPercent: 101",
			"error spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures: needs splitExternalLocalOriginErrors",
			"warning spec.trafficPolicy.outlierDetection.consecutiveErrors: an old name", "error spec.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes[0]: not a status",
		}},
		{"errors by an old name and by a new one", with("outlierDetection: {consecutiveErrors: 3, consecutiveGatewayErrors: 0}"), []string{"warning spec.trafficPolicy.outlierDetection.consecutiveErrors: no effect beside"}},
		{"fewer errors than none", with("outlierDetection: {consecutiveErrors: -1}"), []string{"error spec.trafficPolicy.outlierDetection.consecutiveErrors: -1 is not a number of errors"}},
		{"consistent hash", with("loadBalancer: {consistentHash: {useSourceIp: true}}"), nil},
		{"consistent hash of nothing", with("loadBalancer: {consistentHash: {useSourceIp: false}}"), []string{"warning spec.trafficPolicy.loadBalancer.consistentHash: spread at random"}},
		{"a hash of no header", with("loadBalancer: {consistentHash: {httpHeaderName: 'x user'}}"), []string{"error spec.trafficPolicy.loadBalancer.consistentHash.httpHeaderName: not a header"}},
		{"a hash of no pseudo-header", with("loadBalancer: {consistentHash: {httpHeaderName: ':status'}}"), []string{"error spec.trafficPolicy.loadBalancer.consistentHash.httpHeaderName: not a header"}},
		{"a cookie that ends the line", with(`loadBalancer: {consistentHash: {httpCookie: {name: "a;b", path: "/\nx", ttl: -1s, attributes: [{name: "", value: "a;b"}]}}}`), []string{
			"error spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.name: cannot be the name", "error spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.path: cannot stand in a cookie",
			"error spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.ttl: not a time to live", "error spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.attributes[0].name: not an attribute",
			"error spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.attributes[0].value: cannot stand in a cookie",
		}},
		{"a ring that is too large", with("loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 8388609}}}"), []string{"error spec.trafficPolicy.loadBalancer.consistentHash.ringHash.minimumRingSize: above 8388608"}},
		{"locality", with(`loadBalancer: {localityLbSetting: {failover: [{from: west, to: east}], failoverPriority: [rack, "tier=gold"]}}`), nil},
		{"localities that share out calls", with(`loadBalancer: {localityLbSetting: {distribute: [{from: west/a, to: {west/a: 80, "west/b/*": 20}}, {from: "*", to: {east: 100}}]}}`), nil},
		{"shares that make no whole", with(`loadBalancer: {localityLbSetting: {distribute: [{from: west, to: {west: 80, east: 10}}, {from: east, to: {}}]}}`), []string{"error " + lls + ".distribute[0].to: the shares are 90 together", "error " + lls + ".distribute[1].to: the shares are 0 together"}},
		{"a share of nothing", with(`loadBalancer: {localityLbSetting: {distribute: [{from: west, to: {west: 100, east: 0}}]}}`), []string{"error " + lls + ".distribute[0].to[east]: 0 is not a share"}},
		{"localities that are none", with(`loadBalancer: {localityLbSetting: {distribute: [{from: /a, to: {"we*": 50, a/b/c/d: 50}}]}}`), []string{
			"error " + lls + ".distribute[0].from: has an empty part", "error " + lls + ".distribute[0].to[a/b/c/d]: has 4 parts", "error " + lls + ".distribute[0].to[we*]: * must be the last part",
		}},
		{"localities that overlap", with(`loadBalancer: {localityLbSetting: {distribute: [{from: west/a, to: {west: 50, west/b: 50}}, {from: "west/*", to: {"*": 100}}]}}`), []string{
			"error " + lls + `.distribute[0].to[west/b]: "west/b" overlaps with "west"`, "error " + lls + `.distribute[1].from: "west/*" overlaps with "west/a"`,
		}},
		{"distribute and failover", with(`loadBalancer: {localityLbSetting: {distribute: [{from: west, to: {west: 100}}], failover: [{from: west, to: east}], failoverPriority: [rack]}}`), []string{"error " + lls + ".distribute: cannot go with failover", "warning " + lls + ".failoverPriority: no effect beside distribute"}},
		{"failover to nowhere", with(`loadBalancer: {localityLbSetting: {failover: [{from: west, to: west}, {from: west/a, to: "*"}, {from: west, to: east}]}}`), []string{
			"error " + lls + ".failover[0].to: fails over to itself", "error " + lls + ".failover[1].from: is not a region", "error " + lls + ".failover[1].to: is not a region", "warning " + lls + ".failover[2].from: there twice",
		}},
		{"failover by labels", with(`loadBalancer: {localityLbSetting: {failover: [{from: west, to: east}], failoverPriority: ["", "topology.kubernetes.io/zone=a", "a=b=c"]}}`), []string{
			"error " + lls + ".failoverPriority[0]: names no label", "error " + lls + ".failoverPriority[1]: topology.kubernetes.io/zone cannot go with failover", "error " + lls + ".failoverPriority[2]: is not a label",
		}},
		{"reported load", with("loadBalancer: {backendUtilization: {metricNamesForComputingUtilization: [cpu_utilization, named_metrics.a]}}"), nil},
		{"reported load badly", with("loadBalancer: {backendUtilization: {weightUpdatePeriod: 99ms, weightExpirationPeriod: 0s, metricNamesForComputingUtilization: [cpu, named_metrics.]}}"), []string{
			"error spec.trafficPolicy.loadBalancer.backendUtilization.weightExpirationPeriod: below 1ms", "error spec.trafficPolicy.loadBalancer.backendUtilization.weightUpdatePeriod: below 100ms",
			"warning spec.trafficPolicy.loadBalancer.backendUtilization.metricNamesForComputingUtilization[0]: in no report", "warning spec.trafficPolicy.loadBalancer.backendUtilization.metricNamesForComputingUtilization[1]: in no report",
		}},
		{"a share of failures", with("outlierDetection: {failurePercentageThreshold: 50}"), nil},
		{"a share of no failures", with("outlierDetection: {failurePercentageThreshold: 0}"), []string{
			"warning spec.trafficPolicy.outlierDetection.failurePercentageThreshold: ejects nothing",
		}},
		{"a share of more than all", with("outlierDetection: {failurePercentageThreshold: 101}"), []string{
			"error spec.trafficPolicy.outlierDetection.failurePercentageThreshold: 101",
		}},
		{"warm-up", with("loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 1s}, warmupDurationSecs: 1s}"), nil},
		{"a warm-up of the default", with("loadBalancer: {warmupDurationSecs: 1s}"), nil},
		{"a warm-up of no length", with("loadBalancer: {warmup: {minimumPercent: 101, aggression: 0}, warmupDurationSecs: 0s}"), []string{
			"error spec.trafficPolicy.loadBalancer.warmupDurationSecs: below 1ms", "error spec.trafficPolicy.loadBalancer.warmup.duration: missing",
			"error spec.trafficPolicy.loadBalancer.warmup.minimumPercent: 101", "error spec.trafficPolicy.loadBalancer.warmup.aggression: not a number from 1",
		}},
		{"a warm-up beside RANDOM", with("loadBalancer: {simple: RANDOM, warmup: {duration: 1s}}"), []string{"warning spec.trafficPolicy.loadBalancer.warmup: no effect with RANDOM"}},
		{"a warm-up beside a hash", with("loadBalancer: {consistentHash: {useSourceIp: true}, warmupDurationSecs: 1s}"), []string{"warning spec.trafficPolicy.loadBalancer.warmupDurationSecs: no effect with RING_HASH"}},
		{"tcp", with("connectionPool: {tcp: {tcpKeepalive: {}, maxConnectionDuration: 1s, maxConnections: -1, connectTimeout: 0s}}"), []string{"error spec.trafficPolicy.connectionPool.tcp.maxConnections: negative", "error spec.trafficPolicy.connectionPool.tcp.connectTimeout: below 1ms"}},
		{"tcp that the kernel does not take", with("connectionPool: {tcp: {tcpKeepalive: {probes: 128, time: 10h, interval: 0s}, maxConnectionDuration: 0s}}"), []string{
			"error spec.trafficPolicy.connectionPool.tcp.maxConnectionDuration: below 1ms", "warning spec.trafficPolicy.connectionPool.tcp.tcpKeepalive.probes: 128 is more",
			"warning spec.trafficPolicy.connectionPool.tcp.tcpKeepalive.time: 10h0m0s is more", "error spec.trafficPolicy.connectionPool.tcp.tcpKeepalive.interval: below 1ms",
		}},
		{"http", with("connectionPool: {http: {maxRetries: 1, h2UpgradePolicy: UPGRADE, useClientProtocol: true, maxConcurrentStreams: -1, http2KeepAlive: {}}}"), []string{
			"error spec.trafficPolicy.connectionPool.http.maxConcurrentStreams: negative",
			"error spec.trafficPolicy.connectionPool.http.useClientProtocol: cannot go with",
			"error spec.trafficPolicy.connectionPool.http.http2KeepAlive.interval: missing", "error spec.trafficPolicy.connectionPool.http.http2KeepAlive.timeout: missing",
		}},
		{"pings", with("connectionPool: {http: {useClientProtocol: true, maxConcurrentStreams: 1, http2KeepAlive: {interval: 1s, timeout: 0s}}}"), []string{"error spec.trafficPolicy.connectionPool.http.http2KeepAlive.timeout: below 1ms"}},
		{"what else a policy may hold", with("tunnel: {targetHost: a, targetPort: 1}, proxyProtocol: {}"), []string{"error spec.trafficPolicy.proxyProtocol: cannot go with tunnel"}},
		{"a retry budget", with("retryBudget: {percent: 20, minRetryConcurrency: 3, budgetInterval: 0s}"), nil},
		{"a retry budget that is none", with("retryBudget: {percent: 101, budgetInterval: 0.0001s}"), []string{"error spec.trafficPolicy.retryBudget.percent: 101", "error spec.trafficPolicy.retryBudget.budgetInterval: below 1ms"}},
		{"a port without number", with("portLevelSettings: [{loadBalancer: {simple: RANDOM}}]"), []string{"error spec.trafficPolicy.portLevelSettings[0].port.number: out of range"}},
		{"a port twice", with("portLevelSettings: [{port: {number: 1}, tls: {}}, {port: {number: 1}, tls: {}}]"), []string{"warning spec.trafficPolicy.portLevelSettings[1].port.number: twice"}},
		{"mutual without certificate", with("tls: {mode: MUTUAL}"), []string{"error spec.trafficPolicy.tls: without a client certificate"}},
		{"mutual with both", with("tls: {mode: MUTUAL, credentialName: a, clientCertificate: b}"), []string{"error spec.trafficPolicy.tls: both"}},
		{"a Secret for nobody", with("tls: {mode: MUTUAL, credentialName: a}"), []string{"warning spec.trafficPolicy.tls.credentialName: workloadSelector"}},
		{"CAs of a Secret for nobody", with("portLevelSettings: [{port: {number: 1}, tls: {mode: SIMPLE, caCertCredentialName: a}}]"), []string{"warning spec.trafficPolicy.portLevelSettings (port 1).tls.caCertCredentialName: workloadSelector"}},
		{"CAs of a Secret and of a file", with("tls: {mode: SIMPLE, caCertCredentialName: a, caCertificates: b}"), []string{"error spec.trafficPolicy.tls: both"}},
		{"CAs of a Secret and nothing to verify", with("tls: {mode: SIMPLE, caCertCredentialName: a, insecureSkipVerify: true}"), []string{"error spec.trafficPolicy.tls.insecureSkipVerify: caCertCredentialName"}},
		{"a ConfigMap", with("tls: {mode: SIMPLE, credentialName: 'configmap://a'}"), []string{"error spec.trafficPolicy.tls.credentialName: ConfigMap"}},
		{"a Secret of another namespace", with("tls: {mode: MUTUAL, credentialName: b/a}"), []string{"error spec.trafficPolicy.tls.credentialName: not the name"}},
		{"simple with both", with("tls: {mode: SIMPLE, credentialName: a, caCertificates: b}"), []string{"error spec.trafficPolicy.tls: both"}},
		{"mesh certificates with others", with("tls: {mode: ISTIO_MUTUAL, privateKey: a}"), []string{"warning spec.trafficPolicy.tls: mesh's certificates"}},
		{"a revocation list", with("tls: {mode: SIMPLE, caCertificates: a, caCrl: b}"), nil},
		{"a revocation list of nobody", with("tls: {mode: SIMPLE, caCrl: a}"), []string{"warning spec.trafficPolicy.tls.caCrl: without caCertificates"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, problems := destination(t, tt.spec)
			check(t, tt, got == nil, problems)
		})
	}
}

func TestDestinationRule(t *testing.T) {
	t.Parallel()
	got, problems := destination(t, `
host: users
exportTo: ["."]
trafficPolicy:
  loadBalancer: {simple: LEAST_CONN}
  connectionPool: {tcp: {connectTimeout: 2s}}
  portLevelSettings: [{port: {number: 8080}, tls: {mode: MUTUAL, clientCertificate: a, privateKey: b, caCertificates: c, sni: d, subjectAltNames: [e]}}]
subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}]
`)
	want := &model.DestinationPolicy{
		Ref:  model.Ref{Kind: "DestinationRule", Key: model.Key{Namespace: "myapp", Name: "users"}},
		Host: "users.myapp.svc.cluster.local", ExportTo: []string{"."},
		Default: model.TrafficPolicy{LB: model.LeastRequest, ConnectionPool: model.ConnectionPool{ConnectTimeout: 2 * time.Second}, PoolSaid: true},
		PerPort: map[uint16]model.TrafficPolicy{8080: {TLS: model.TLSSettings{
			Mode: model.TLSMutual, ClientCert: "a", Key: "b", CACert: "c", SNI: "d", SubjectAltNames: []string{"e"},
		}}},
		Subsets: []model.Subset{{Name: "v1", Field: "spec.subsets[0]", Labels: map[string]string{"version": "v1"}, Policy: model.TrafficPolicy{LB: model.RoundRobin}}},
	}
	if diff := cmp.Diff(want, got); diff != "" || len(problems) > 0 {
		t.Errorf("DestinationRule: problems %v, value (-want +got):\n%s", problems, diff)
	}
}

// The annotation names the algorithm for what the rule's policies leave open.
func TestAnnotatedLoadBalancer(t *testing.T) {
	t.Parallel()
	const pool = "connectionPool: {tcp: {maxConnections: 1}}"
	for _, tt := range []struct {
		name, value, spec string
		want              [4]model.LBKind // of the rule, its port, its subset, and the port of that
		problems          string
	}{
		{"everywhere", "PEAK_EWMA", pool, [4]model.LBKind{model.PeakEWMA, model.PeakEWMA, model.LBUnset, model.PeakEWMA}, ""},
		{"as_istio_spells_it", "ROUND_ROBIN", pool, [4]model.LBKind{model.RoundRobin, model.RoundRobin, model.LBUnset, model.RoundRobin}, ""},
		{"beside_a_balancer", "PEAK_EWMA", "loadBalancer: {simple: RANDOM}", [4]model.LBKind{model.Random, model.Random, model.Random, model.Random}, "warning metadata.annotations[fairlead.dev/load-balancer]: no effect beside spec.trafficPolicy.loadBalancer, which says RANDOM"},
		{"nothing", "", pool, [4]model.LBKind{}, ""},
		{"no_algorithm", "MAGLEV", pool, [4]model.LBKind{}, `warning metadata.annotations[fairlead.dev/load-balancer]: "MAGLEV" is no algorithm: no effect`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := &networkingv1.DestinationRule{ObjectMeta: *meta.DeepCopy()}
			in.Annotations = map[string]string{model.LoadBalancerAnnotation: tt.value}
			policy := "{" + tt.spec + ", portLevelSettings: [{port: {number: 1}, " + tt.spec + "}]}"
			decode(t, "{host: users, trafficPolicy: "+policy+", subsets: [{name: v1, trafficPolicy: "+policy+"}]}", &in.Spec)
			p, problems := DestinationRule(in, domain)
			got := [4]model.LBKind{p.Default.LB, p.PerPort[1].LB, p.Subsets[0].Policy.LB, p.Subsets[0].PerPort[1].LB}
			var text []string
			for _, q := range problems {
				text = append(text, fmt.Sprintf("%v %s: %s", q.Severity, q.Field, q.Message))
			}
			if got != tt.want || strings.Join(text, "\n") != tt.problems {
				t.Errorf("%v, want %v; problems %q, want %q", got, tt.want, text, tt.problems)
			}
		})
	}
}

func TestConsistentHash(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, spec string
		kind       model.LBKind
		want       model.HashPolicy
	}{
		{"header", "{httpHeaderName: X-User}", model.RingHash, model.HashPolicy{By: model.HashByHeader, Name: "x-user"}},
		{"path", "{httpHeaderName: ':path'}", model.RingHash, model.HashPolicy{By: model.HashByHeader, Name: ":path"}},
		{"source", "{useSourceIp: true, minimumRingSize: 7}", model.RingHash, model.HashPolicy{By: model.HashBySource, TableSize: 7}},
		{"query", "{httpQueryParameterName: User, ringHash: {minimumRingSize: 4096}}", model.RingHash, model.HashPolicy{By: model.HashByQuery, Name: "User", TableSize: 4096}},
		{"cookie_of_the_app", "{httpCookie: {name: user}, maglev: {}}", model.Maglev, model.HashPolicy{By: model.HashByCookie, Name: "user"}},
		{
			"cookie", "{httpCookie: {name: user, ttl: 1h, path: /, attributes: [{name: SameSite, value: Lax}, {name: Secure}]}, maglev: {tableSize: 5011}}", model.Maglev,
			model.HashPolicy{By: model.HashByCookie, Name: "user", TableSize: 5011, Issue: true, TTL: time.Hour, Path: "/", Attributes: []model.HeaderValue{{Name: "SameSite", Value: "Lax"}, {Name: "Secure"}}},
		},
		{"cookie_until_the_browser_closes", "{httpCookie: {name: user, ttl: 0s}}", model.RingHash, model.HashPolicy{By: model.HashByCookie, Name: "user", Issue: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, problems := destination(t, "{host: users, trafficPolicy: {loadBalancer: {consistentHash: "+tt.spec+"}}}")
			if got == nil || len(problems) > 0 {
				t.Fatalf("problems: %v", problems)
			}
			if diff := cmp.Diff(tt.want, got.Default.Hash); diff != "" || got.Default.LB != tt.kind {
				t.Errorf("%v, want %v; (-want +got):\n%s", got.Default.LB, tt.kind, diff)
			}
		})
	}
}

// The annotation bounds the loads of all policies of the rule that hash.
func TestAnnotatedHashBalance(t *testing.T) {
	t.Parallel()
	const hashes, other = "loadBalancer: {consistentHash: {useSourceIp: true}}", "loadBalancer: {simple: RANDOM}"
	for _, tt := range []struct {
		name, value, spec string
		want              [4]uint32 // of the rule, its port, its subset, and the port of that
		problems          string
	}{
		{"everywhere", "125", hashes, [4]uint32{125, 125, 125, 125}, ""},
		{"100_is_the_least", "100", hashes, [4]uint32{100, 100, 100, 100}, ""},
		{"off", "0", hashes, [4]uint32{}, ""},
		{"nothing", "", hashes, [4]uint32{}, ""},
		{"below_100", "99", hashes, [4]uint32{}, `warning metadata.annotations[fairlead.dev/hash-balance-factor]: "99" is no percentage of 100 and above: no effect`},
		{"a_factor", "1.25", hashes, [4]uint32{}, `warning metadata.annotations[fairlead.dev/hash-balance-factor]: "1.25" is no percentage of 100 and above: no effect`},
		{"without_a_hash", "125", other, [4]uint32{}, "warning metadata.annotations[fairlead.dev/hash-balance-factor]: no effect without consistentHash"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := &networkingv1.DestinationRule{ObjectMeta: *meta.DeepCopy()}
			in.Annotations = map[string]string{model.HashBalanceAnnotation: tt.value}
			policy := "{" + tt.spec + ", portLevelSettings: [{port: {number: 1}, " + tt.spec + "}]}"
			decode(t, "{host: users, trafficPolicy: "+policy+", subsets: [{name: v1, trafficPolicy: "+policy+"}]}", &in.Spec)
			p, problems := DestinationRule(in, domain)
			got := [4]uint32{
				p.Default.Hash.BalanceFactor, p.PerPort[1].Hash.BalanceFactor,
				p.Subsets[0].Policy.Hash.BalanceFactor, p.Subsets[0].PerPort[1].Hash.BalanceFactor,
			}
			var text []string
			for _, q := range problems {
				text = append(text, fmt.Sprintf("%v %s: %s", q.Severity, q.Field, q.Message))
			}
			if got != tt.want || strings.Join(text, "\n") != tt.problems {
				t.Errorf("%v, want %v; problems %q, want %q", got, tt.want, text, tt.problems)
			}
		})
	}
}

func TestOutlierDetection(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, spec string
		want       *model.OutlierDetection
	}{
		{"defaults", "{}", &model.OutlierDetection{Consecutive5xx: 5, Interval: 10 * time.Second, BaseEjectionTime: 30 * time.Second, MaxEjectionPercent: 10}},
		{
			"all", "{consecutive5xxErrors: 0, consecutiveGatewayErrors: 2, splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3, " +
				"interval: 1s, baseEjectionTime: 2s, maxEjectionPercent: 50, minHealthPercent: 40, outlierDetectionHttpErrorCodes: [429, 503]}",
			&model.OutlierDetection{
				ConsecutiveGateway: 2, SplitLocal: true, ConsecutiveLocal: 3, Codes: []int{429, 503},
				Interval: time.Second, BaseEjectionTime: 2 * time.Second, MaxEjectionPercent: 50, MinHealthPercent: 40,
			},
		},
		{"split", "{splitExternalLocalOriginErrors: true}", &model.OutlierDetection{
			Consecutive5xx: 5, SplitLocal: true, ConsecutiveLocal: 5, Interval: 10 * time.Second, BaseEjectionTime: 30 * time.Second, MaxEjectionPercent: 10,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, problems := destination(t, "{host: users, trafficPolicy: {outlierDetection: "+tt.spec+"}}")
			if got == nil || len(problems) > 0 {
				t.Fatalf("problems: %v", problems)
			}
			if diff := cmp.Diff(tt.want, got.Default.Outlier); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The name of older versions counts 502, 503 and 504, unless a newer one is there.
func TestConsecutiveErrors(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string][2]uint32{ // of 5xx, and of the gateway's
		"{consecutiveErrors: 7}":                              {0, 7},
		"{consecutiveErrors: 0}":                              {5, 0},
		"{consecutiveErrors: 7, consecutive5xxErrors: 3}":     {3, 0},
		"{consecutiveErrors: 7, consecutiveGatewayErrors: 2}": {5, 2},
	} {
		got, problems := destination(t, "{host: users, trafficPolicy: {outlierDetection: "+spec+"}}")
		if got == nil {
			t.Fatalf("%s: %v", spec, problems)
		}
		if o := got.Default.Outlier; o.Consecutive5xx != want[0] || o.ConsecutiveGateway != want[1] {
			t.Errorf("%s: %d of 5xx, %d of the gateway's; want %v", spec, o.Consecutive5xx, o.ConsecutiveGateway, want)
		}
	}
}
