package compile_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/plan"
)

// calledPod is a pod of namespace shop behind a Service.
const calledPod = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.9, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}, {name: admin, port: 81, targetPort: 9090}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web, version: v1}}
spec: {serviceAccountName: web, containers: [{name: app, image: web}]}
status: {phase: Running, podIP: 10.244.0.7, podIPs: [{ip: 10.244.0.7}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: admin, port: 9090}]
endpoints: [{addresses: [10.244.0.7], conditions: {ready: true}, targetRef: {kind: Pod, namespace: shop, name: web-1}}]
---`

func poolRule(namespace, name, spec string) string {
	return `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ` + name + `, namespace: ` + namespace + `}
spec:
  host: web.shop.svc.cluster.local
` + spec + "\n---"
}

// TestInboundPool: a called sidecar obeys the connectionPool of its own Service's rule, as Istio's inbound clusters do.
func TestInboundPool(t *testing.T) {
	one := plan.AppPool{MaxConnections: 1}
	for _, tt := range []struct {
		name  string
		rules []string
		rule  string // of port 8080
		http  plan.AppPool
		admin plan.AppPool // of port 9090
	}{
		{name: "none"},
		{
			name: "all_that_is_about_the_app", rule: "all.shop",
			rules: []string{poolRule("shop", "all", `
  trafficPolicy:
    connectionPool:
      tcp: {maxConnections: 2, connectTimeout: 3s, maxConnectionDuration: 1h, idleTimeout: 9s, tcpKeepalive: {probes: 4, time: 5s, interval: 6s}}
      http: {http1MaxPendingRequests: 7, http2MaxRequests: 8, maxRequestsPerConnection: 1, maxConcurrentStreams: 11, idleTimeout: 12s, maxRetries: 13, h2UpgradePolicy: UPGRADE}`)},
			http: plan.AppPool{
				MaxConnections: 2, MaxPendingRequests: 7, MaxRequests: 8, MaxRequestsPerConnection: 1, MaxConcurrentStreams: 11,
				ConnectTimeout: 3 * time.Second, HTTPIdleTimeout: 12 * time.Second, MaxConnectionDuration: time.Hour,
			},
		},
		{
			name: "a_port_instead_of_the_host", rule: "ports.shop", http: one, admin: plan.AppPool{MaxConnections: 9},
			rules: []string{poolRule("shop", "ports", `
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 9}}
    portLevelSettings: [{port: {number: 80}, connectionPool: {tcp: {maxConnections: 1}}}]`)},
		},
		{
			name: "not_that_of_a_subset", rules: []string{poolRule("shop", "subset", `
  subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}}]`)},
		},
		{
			name: "not_that_of_a_callers_namespace", rules: []string{poolRule("front", "theirs", `
  trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}`)},
		},
		{
			name: "the_root_namespaces", rule: "everybodys.fairlead-system", http: one, admin: one, rules: []string{poolRule("fairlead-system", "everybodys", `
  trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}`)},
		},
		{
			name: "no_outlier_detection_nor_balancing", rules: []string{poolRule("shop", "other", `
  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 1}, loadBalancer: {simple: RANDOM}}`)},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := compiletest.Resources(t, calledPod+strings.Join(tt.rules, ""), "in/shop/web-1")[0].(*plan.InboundPolicy)
			if !ok || len(got.Ports) != 2 {
				t.Fatalf("policy %+v", got)
			}
			if tt.name == "all_that_is_about_the_app" {
				tt.http.KeepAlive.Probes, tt.http.KeepAlive.Time, tt.http.KeepAlive.Interval = 4, 5*time.Second, 6*time.Second
				tt.admin = tt.http
			}
			if diff := cmp.Diff([]plan.AppPool{tt.http, tt.admin}, []plan.AppPool{got.Ports[0].Pool, got.Ports[1].Pool}); diff != "" {
				t.Errorf("pools (-want +got):\n%s", diff)
			}
			if got.Ports[0].Rule != tt.rule {
				t.Errorf("the rule is %q, want %q", got.Ports[0].Rule, tt.rule)
			}
		})
	}
}
