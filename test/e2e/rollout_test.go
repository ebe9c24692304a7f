//go:build kube

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/lab/demoapp"
)

// rolled is a Service with a port for each protocol, in the mesh, and a caller outside it.
const rolled = `
apiVersion: v1
kind: Service
metadata: {name: rolled}
spec:
  selector: {app: rolled}
  ports:
    - {name: http, port: 80, targetPort: 8080}
    - {name: http2, port: 82, targetPort: 8080}
    - {name: grpc, port: 90, targetPort: 8080}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: rolled}
spec:
  replicas: 3
  selector:
    matchLabels: {app: rolled}
  template:
    metadata:
      labels: {app: rolled}
    spec:
      terminationGracePeriodSeconds: 30
      containers:
        - name: app
          image: fairlead.dev/demo-app:1
          args: [--name, rolled, --http, "8080", --drain, 20s]
          readinessProbe:
            httpGet: {path: /healthz, port: 8080}
            periodSeconds: 1
---
apiVersion: v1
kind: Pod
metadata:
  name: outside
  labels: {app: outside}
  annotations: {fairlead.dev/inject: "false"}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: app
      image: fairlead.dev/demo-app:1
`

// restarts is how often the deployment is rolled.
func restarts() int {
	if n, err := strconv.Atoi(os.Getenv("FAIRLEAD_RESTARTS")); err == nil {
		return n
	}
	return 2
}

// A deployment is rolled again and again under 500 requests per second of every kind, from the mesh and from outside it, while
// two replicas of the control plane each have some of the sidecars: no call fails, no stream or download is cut, and no
// manifest sleeps for that.
func TestRolloutsUnderMixedLoad(t *testing.T) {
	n := meshed(t, "rollouts")
	replicas(t, 2)
	n.apply(t, rolled)
	n.startClient(t)
	n.kubectl(t, "wait", "--for=condition=Ready", "pod/outside", "--timeout=90s")
	n.rollout(t, "deployment/rolled")
	if hooks := n.kubectl(t, "get", "pods", "-l", "app=rolled", "-o", `jsonpath={range .items[*].spec['initContainers','containers'][*]}{.name}={.lifecycle.preStop} {end}`); strings.Contains(hooks, "sleep") ||
		strings.Contains(hooks, "exec") || !strings.Contains(hooks, `app={"httpGet":{"path":"/drain/hold"`) {
		t.Errorf("the preStop hooks are %s, want none but that of the injector", hooks)
	}
	loads := []struct {
		name, from string
		args       []string
	}{
		{"http/1.1", "client", []string{"http://rolled/", "--rate", "150", "--concurrency", "4"}},
		{"POST", "client", []string{"http://rolled/", "--method", "POST", "--body", "order", "--rate", "100", "--concurrency", "4"}},
		{"new connections", "client", []string{"http://rolled/", "--new-connections", "--rate", "50", "--concurrency", "4"}},
		{"http/2", "client", []string{"http://rolled:82/", "--http2", "--rate", "150", "--concurrency", "4"}},
		{"gRPC streams", "client", []string{"http://rolled:90" + demoapp.StreamMethod + "?count=20&interval=100ms", "--grpc", "--concurrency", "10"}},
		{"downloads", "client", []string{"http://rolled/stream?count=30&interval=100ms", "--concurrency", "10"}},
		{"outside the mesh", "outside", []string{"http://rolled/", "--method", "POST", "--body", "order", "--rate", "50", "--concurrency", "4"}},
	}
	before := drains(t)
	total, failed := 0, 0
	for round := 1; round <= restarts(); round++ {
		waits, over := make([]func() demoapp.Report, len(loads)), make(chan struct{})
		for i, l := range loads {
			waits[i] = n.loadUntil(t, over, l.from, append(l.args, "--for", "25s", "--timeout", "25s")...)
		}
		n.kubectl(t, "rollout", "restart", "deployment/rolled")
		if round == 1 {
			n.releasedOneIsShown(t)
		}
		n.rollout(t, "deployment/rolled")
		close(over)
		for i, l := range loads {
			r := waits[i]()
			total, failed = total+r.Requests, failed+r.Failed
			if r.Failed > 0 || r.Requests < 10 {
				t.Errorf("restart %d, %s: %d of %d failed: statuses %v, errors %v", round, l.name, r.Failed, r.Requests, r.Statuses, r.Errors)
			}
		}
	}
	after := drains(t)
	count := after.count - before.count
	t.Logf("%d restarts of 3 pods, %d calls, %d failed; %.0f drains of %.2f s on average, %.0f forced", restarts(), total, failed,
		count, (after.seconds-before.seconds)/max(1, count), after.forced-before.forced)
	if after.forced != before.forced || count < float64(3*(restarts()-1)) {
		t.Errorf("%.0f drains, %.0f of them forced", count, after.forced-before.forced)
	}
}

// releasedOneIsShown waits until rollout status shows a pod that nobody chooses any more, and that ends with what is open.
func (n *namespace) releasedOneIsShown(t *testing.T) {
	t.Helper()
	type row struct {
		Pod, State      string
		OpenConnections int
		SecondsLeft     float64
	}
	eventually(t, "a pod that ends with what is open", func() (string, bool) {
		out := fairlead(t, "", "rollout", "status", "deployment/rolled", "-n", n.name, "-o", "json")
		var rows []row
		if err := json.Unmarshal([]byte(out), &rows); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, r := range rows {
			if r.State == "RELEASED" && r.OpenConnections > 0 && strings.HasPrefix(r.Pod, "rolled-") && r.SecondsLeft > 0 && r.SecondsLeft < 30 {
				return out, true
			}
		}
		return out, false
	})
}

// drained is what the control plane's replicas have counted.
type drained struct{ count, seconds, forced float64 }

func drains(t *testing.T) (d drained) {
	t.Helper()
	for pod := range strings.FieldsSeq(control(t, "get", "pods", "-l", "app.kubernetes.io/component=controller", "-o", "jsonpath={.items[*].metadata.name}")) {
		page := must(t, "", "get", "--raw", fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:15014/proxy/metrics", system, pod))
		for name, into := range map[string]*float64{
			"fairlead_drain_duration_seconds_count": &d.count, "fairlead_drain_duration_seconds_sum": &d.seconds, "fairlead_drains_forced_total": &d.forced,
		} {
			found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(page)
			if found == nil {
				t.Fatalf("pod %s has no series %s", pod, name)
			}
			v, err := strconv.ParseFloat(found[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			*into += v
		}
	}
	return d
}
