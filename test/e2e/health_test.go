//go:build kube

package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// healthCheckPolicy is one for the Service users; spec is what it says beside the target, on one line.
func healthCheckPolicy(spec string) string {
	return `
apiVersion: fairlead.dev/v1alpha1
kind: HealthCheckPolicy
metadata: {name: users}
spec: {targetRefs: [{group: "", kind: Service, name: users}], ` + spec + `}
`
}

// The API server refuses what cannot be meant by the rules of the definition, so that it holds while the webhook is away.
func TestHealthCheckPolicyRules(t *testing.T) {
	n := newNamespace(t, "health-rules") // not opted in: no webhook is asked
	for _, tt := range []struct{ name, spec, says string }{
		{"good", `http: {path: /healthz}, interval: 2s, timeout: 500ms`, ""},
		{"two_checks", `http: {path: /healthz}, tcp: {}`, "exactly one of http, tcp and grpc is given"},
		{"no_check", `interval: 2s`, "exactly one of http, tcp and grpc is given"},
		{"timeout_longer_than_the_interval", `http: {}, interval: 1s, timeout: 2s`, "the timeout is not longer than the interval"},
		{"interval_too_short", `http: {}, interval: 100ms, timeout: 50ms`, "the interval is 500ms to 1h"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := tryCombined(t, healthCheckPolicy(tt.spec), "-n", n.name, "apply", "--dry-run=server", "-f", "-")
			if (err != nil) != (tt.says != "") || !strings.Contains(out, tt.says) {
				t.Errorf("kubectl apply = %v, %q; want %q", err, out, tt.says)
			}
		})
	}
}

// A pod that is ready and fails its check is left alone by callers and says so in its status, until it passes again.
func TestFailingCheckOfAReadyPod(t *testing.T) {
	n := meshed(t, "health")
	ready := strings.Replace(server("users", 2), "path: /healthz", "path: /status/200", 1) // whatever the check finds
	n.apply(t, ready, healthCheckPolicy(`http: {path: /healthz}, interval: 1s, timeout: 500ms, unhealthyThreshold: 2`))
	n.rollout(t, "deployment/users")
	n.startClient(t)
	pods := strings.Fields(n.kubectl(t, "get", "pods", "-l", "app=users", "-o", "jsonpath={.items[*].metadata.name}"))
	if len(pods) != 2 {
		t.Fatalf("pods %q", pods)
	}
	sick, well := pods[0], pods[1]
	condition := func() string {
		return n.kubectl(t, "get", "pod", sick, "-o", `jsonpath={.status.conditions[?(@.type=="health.fairlead.dev/users")].status}`)
	}
	n.becomes(t, sick, "false")
	eventually(t, "the pod's condition", func() (string, bool) { c := condition(); return c, c == "False" })
	eventually(t, "calls go to the other pod alone", func() (string, bool) {
		r := n.call(t, "client", "--count", "40", "http://users:8080/")
		noneFailed(t, "while one fails its check", r)
		answer, _ := json.Marshal(r.Pods)
		return string(answer), r.Pods[well] == r.Requests
	})
	if got := n.kubectl(t, "get", "pod", sick, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`); got != "True" {
		t.Errorf("Ready is %s: the check must not be readiness", got)
	}
	n.becomes(t, sick, "true")
	eventually(t, "both are called again", func() (string, bool) {
		r := n.call(t, "client", "--count", "40", "http://users:8080/")
		noneFailed(t, "when it passes", r)
		answer, _ := json.Marshal(r.Pods)
		return string(answer), r.Pods[sick] > 0
	})
	eventually(t, "the pod's condition", func() (string, bool) { c := condition(); return c, c == "True" })
}

// becomes has the app of a pod pass its health check, or fail it.
func (n *namespace) becomes(t *testing.T, pod, healthy string) {
	t.Helper()
	noneFailed(t, pod+" healthy="+healthy, n.call(t, pod, "--method", "POST", "--count", "1", "http://127.0.0.1:8080/ready?ok="+healthy))
}
