//go:build kube && flagger

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/lab/demoapp"
)

// flaggerProviders are the names of canaries, and how Flagger is to roll each out. What judges them are the metrics that
// Flagger has built in for the provider: Istio's names, and with the Gateway API those of the app itself, by the sidecar.
var flaggerProviders = map[string]string{
	"mesh": `provider: istio
  service: {port: 8080}`,
	"route": `provider: gatewayapi:v1
  service:
    port: 8080
    gatewayRefs: [{group: core, kind: Service, name: route, port: 8080}]`,
	"split": `provider: smi:v1alpha2
  service: {port: 8080}`,
}

// flaggerStep is by how many percent a canary's weight grows, up to twice of it.
const flaggerStep = 25

// flaggerPatience bounds a whole rollout, of which each step takes Flagger ten seconds or more.
const flaggerPatience = 5 * time.Minute

// gate is asked by Flagger before each step and the promotion, and lets as many pass as it was told to. Probes are GET.
const gate = `
apiVersion: v1
kind: Service
metadata: {name: gate}
spec:
  selector: {app: gate}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata:
  name: gate
  labels: {app: gate, fairlead.dev/inject: disabled}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: app
      image: docker.io/library/python:3-slim
      readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
      command:
        - python3
        - -c
        - |
          import collections, http.server, json
          steps = collections.Counter()
          class Gate(http.server.BaseHTTPRequestHandler):
              def answer(self, status):
                  self.send_response(status)
                  self.end_headers()
              def do_GET(self):
                  self.answer(200)
              def do_PUT(self):
                  steps[self.path[1:]] += 1
                  self.answer(200)
              def do_POST(self):
                  name = json.loads(self.rfile.read(int(self.headers["content-length"])))["name"]
                  self.answer(200 if steps[name] else 403)
                  steps[name] -= steps[name] > 0
          http.server.HTTPServer(("", 8080), Gate).serve_forever()
`

// canaried is a Deployment and the Canary that Flagger follows.
func canaried(name, provider string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  selector:
    matchLabels: {app: %[1]s}
  template:
    metadata:
      labels: {app: %[1]s}
      annotations: {prometheus.io/scrape: "true", prometheus.io/port: "8080"}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
        - name: app
          image: fairlead.dev/demo-app:1
          args: [--name, %[1]s, --metrics, --version, v1]
          ports: [{containerPort: 8080}]
          readinessProbe:
            httpGet: {path: /healthz, port: 8080}
            periodSeconds: 1
---
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: %[1]s}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: %[1]s}
  progressDeadlineSeconds: 120
  %[2]s
  analysis:
    interval: 10s
    threshold: 10
    maxWeight: %[3]d
    stepWeight: %[4]d
    metrics:
      - {name: request-success-rate, interval: 30s, thresholdRange: {min: 99}}
      - {name: request-duration, interval: 30s, thresholdRange: {max: 1000}}
    webhooks:
      - {name: gate, type: confirm-traffic-increase, url: "http://gate.e2e-flagger/", timeout: 5s}
`, name, provider, 2*flaggerStep, flaggerStep)
}

// canary is what Flagger says of one.
type canary struct {
	Phase        string
	CanaryWeight int
}

func (n *namespace) canary(t *testing.T, name string) (c canary) {
	t.Helper()
	var got struct{ Status canary }
	if err := json.Unmarshal([]byte(n.kubectl(t, "get", "canary", name, "-o", "json")), &got); err != nil {
		t.Error(err)
	}
	return got.Status
}

// TestFlagger: real Flagger rolls a good version out, and a bad one back, by the metrics of a real Prometheus that scrapes
// the mesh; traffic follows each of its steps.
func TestFlagger(t *testing.T) {
	n := meshed(t, "flagger")
	n.apply(t, gate)
	for name, provider := range flaggerProviders {
		n.apply(t, canaried(name, provider))
	}
	n.startClient(t)
	n.kubectl(t, "wait", "--for=condition=Ready", "pod/gate", "--timeout=90s")
	for name := range flaggerProviders {
		eventually(t, name+" initialized", func() (string, bool) {
			c := n.canary(t, name)
			return c.Phase, c.Phase == "Initialized"
		})
	}
	t.Run("promotion", func(t *testing.T) {
		for name := range flaggerProviders {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				n.release(t, name, "v2")
				n.follow(t, rollout{name: name, from: "v1", to: "v2", steps: []int{0, flaggerStep, 2 * flaggerStep}, end: "Succeeded"})
			})
		}
	})
	t.Run("rollback", func(t *testing.T) {
		for name := range flaggerProviders {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				n.kubectl(t, "patch", "canary", name, "--type=merge", "-p", `{"spec":{"analysis":{"threshold":4}}}`)
				n.release(t, name, "v3", "--fail", "0.5")
				n.follow(t, rollout{name: name, from: "v2", to: "v3", steps: []int{0, flaggerStep}, fails: true, end: "Failed"})
				events := n.kubectl(t, "get", "events", "--field-selector", "involvedObject.kind=Canary,involvedObject.name="+name)
				if !strings.Contains(events, "advancement success rate") {
					t.Errorf("it was not the success rate that halted %s:\n%s", name, events)
				}
			})
		}
	})
}

// release gives a Deployment another version.
func (n *namespace) release(t *testing.T, name, version string, more ...string) {
	t.Helper()
	args, err := json.Marshal(append([]string{"--name", name, "--metrics", "--version", version}, more...))
	if err != nil {
		t.Fatal(err)
	}
	n.kubectl(t, "patch", "deployment", name, "--type=json", "-p", `[{"op":"replace","path":"/spec/template/spec/containers/0/args","value":`+string(args)+`}]`)
}

// rollout is one release of a canary as a user sees it. That the gate stands open does not help a version that fails.
type rollout struct {
	name, from, to string
	// steps are the weights of the new version, each of which the gate lets go on once traffic was seen to follow it.
	steps []int
	// fails: answers of the new version do.
	fails bool
	end   string
}

// follow calls the canary's Service until Flagger has ended, and compares who answers with the weight.
func (n *namespace) follow(t *testing.T, r rollout) {
	t.Helper()
	weight, seen, deadline := -1, 0, time.Now().Add(flaggerPatience)
	for ended := false; !ended; {
		before := n.canary(t, r.name)
		got := n.call(t, "client", "http://"+r.name+":8080/", "--count", "300", "--rate", "200", "--concurrency", "8")
		after := n.canary(t, r.name)
		if !r.fails {
			noneFailed(t, r.name, got)
		}
		said := fmt.Sprintf("%s: %+v, of %d calls %v", r.name, after, got.Requests, got.Versions)
		if time.Now().After(deadline) {
			t.Fatalf("not %s within %s: %s", r.end, flaggerPatience, said)
		}
		if steady := weight == before.CanaryWeight && before == after; steady && after.Phase == "Progressing" && seen < len(r.steps) && weight == r.steps[seen] {
			t.Log(said)
			r.compare(t, got, weight)
			seen++
			n.open(t, r.name)
		}
		weight, ended = after.CanaryWeight, before.Phase == r.end
	}
	if seen < len(r.steps) {
		t.Errorf("of the steps %v of %s, %d were seen", r.steps, r.name, seen)
	}
	stays := map[bool]string{false: r.to, true: r.from}[r.fails]
	got := n.call(t, "client", "http://"+r.name+":8080/", "--count", "100")
	noneFailed(t, r.name+" afterwards", got)
	if got.Versions[stays] != got.Requests {
		t.Errorf("after %s of %s: %v, want all of %s", r.end, r.name, got.Versions, stays)
	}
}

// compare wants a version's share of the calls near its weight: six standard deviations of what chance does.
func (r rollout) compare(t *testing.T, got demoapp.Report, weight int) {
	t.Helper()
	share := 100 * got.Versions[r.to] / got.Requests
	slack := 17
	if weight == 0 {
		slack = 0
	}
	if share < weight-slack || share > weight+slack || got.Versions[r.from]+got.Versions[r.to] != got.Requests {
		t.Errorf("%s: %v at a weight of %d", r.name, got.Versions, weight)
	}
}

// open lets Flagger take one step.
func (n *namespace) open(t *testing.T, name string) {
	t.Helper()
	if out, err := n.python(t, "gate", `import http.client as h; c = h.HTTPConnection("127.0.0.1:8080"); c.request("PUT", "/`+name+`"); print(c.getresponse().status)`); err != nil || strings.TrimSpace(out) != "200" {
		t.Fatalf("the gate: %v %s", err, out)
	}
}
