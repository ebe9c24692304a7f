package lab_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/admin"
)

const hungIP = "10.96.0.120"

// hungInterval and hungTimeout are those of the policy: an app that hangs is found within the interval and two timeouts. An app that is well
// answers within two timeouts, however busy the machine is. hungTry is how long a call waits for one that hangs.
const hungInterval, hungTimeout, hungTry = 2 * time.Second, time.Second, 4 * time.Second

const hungPolicy = `
apiVersion: fairlead.dev/v1alpha1
kind: HealthCheckPolicy
metadata: {name: hung, namespace: shop}
spec: {targetRefs: [{group: "", kind: Service, name: hung}], http: {path: /healthz}, interval: 2s, timeout: 1s, unhealthyThreshold: 2}
---`

// hungManifests: callers, and a server that Kubernetes calls ready whatever becomes of it.
func hungManifests(callers int) string {
	return app{name: "client", replicas: 1}.String() + app{name: "caller", replicas: callers}.String() +
		twins("hung", false) + service("hung", hungIP, "app: hung", http80) + hungPolicy + virtualService("hung", `
  http:
  - timeout: 15s
    retries: {attempts: 2, perTryTimeout: 4s, retryOn: "5xx,reset,connect-failure"}
    route: [{destination: {host: hung}}]`)
}

// failing gives what a caller knows of the endpoints that fail their checks, by pod.
func (m *mesh) failing(t *testing.T, caller string) map[string]admin.EndpointDump {
	t.Helper()
	out := map[string]admin.EndpointDump{}
	for _, e := range m.dump(t, caller).Endpoints {
		if strings.HasPrefix(e.Cluster, "outbound|80||hung.") && e.HealthCheck == "FAILED" {
			out[e.Workload] = e
		}
	}
	return out
}

// signalApp sends a signal to the app of a pod alone.
func (m *mesh) signalApp(t *testing.T, name, signal string) {
	t.Helper()
	m.signalAppFrom(t, client, name, signal)
}

// signalAppFrom does it from another pod: one process namespace is all of the lab's.
func (m *mesh) signalAppFrom(t *testing.T, from, name, signal string) {
	t.Helper()
	for _, c := range m.find(t, name).Containers {
		if c.Name == "app" {
			if code, _, errOut := m.exec(t, from, "kill", "-"+signal, strconv.Itoa(c.PID)); code != 0 {
				t.Fatal(errOut)
			}
		}
	}
}

// metric reads a series of a sidecar.
func (m *mesh) metric(t *testing.T, name, series string) float64 {
	t.Helper()
	page := m.do(t, name, "GET", "127.0.0.1:15000", "/stats/prometheus").body
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(page)
	if found == nil {
		return 0
	}
	v, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// passesFirst waits until the pods of hung have passed their check and callers know it: an app that is not listening yet fails it.
func (m *mesh) passesFirst(t *testing.T, callers ...string) {
	t.Helper()
	st, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range st.Pods {
		if strings.HasPrefix(p.Name, "hung-") {
			eventually(t, "the check of "+p.Name+" to have passed", func() bool {
				return m.metric(t, p.Name, `fairlead_health_checks_total{policy="hung",result="pass"}`) > 0
			})
		}
	}
	for _, caller := range callers {
		eventually(t, caller+" to know of no failing pod", func() bool { return len(m.failing(t, caller)) == 0 })
	}
}

// TestHungPod stops the app of one of two pods: it is ready, its kernel takes connections, and nothing answers.
func TestHungPod(t *testing.T) {
	t.Parallel()
	m := startMesh(t, hungManifests(1))
	const url, second = "http://hung/", "deploy/caller-v1"
	victim := m.find(t, "deploy/hung-v1").Name
	m.passesFirst(t, client, second)
	for _, caller := range []string{client, second} {
		m.bothAnswer(t, caller, url)
	}
	load := []string{url, "--rate", "100", "--concurrency", "600", "--timeout", "20s"}
	wait := m.begin(t, client, append(load, "--for", (2*hungInterval+time.Second).String())...)
	m.signalApp(t, victim, "STOP")
	stopped := time.Now()
	for _, caller := range []string{client, second} {
		eventually(t, caller+" to know", func() bool { return len(m.failing(t, caller)) == 1 })
	}
	took := time.Since(stopped)
	first := wait()
	t.Logf("out for all callers after %s; meanwhile: %s; failed or slower than a second, by second: %v", took.Round(time.Millisecond), brief(&first), first.Late)
	if most := hungInterval + 2*hungTimeout; took > most+patience/4 { // the rest is the machine's
		t.Errorf("out after %s, want %s at most", took, most)
	}
	if first.Failed > 0 {
		t.Errorf("retries and a second pod, and yet: %+v", first)
	}
	e := m.failing(t, client)[victim]
	if e.Status != "UNHEALTHY" || e.HealthPolicy != "HealthCheckPolicy shop/hung" || e.HealthReason != "no answer within 1s" ||
		e.HealthSince == nil || time.Since(*e.HealthSince) > time.Minute {
		t.Errorf("shown of the endpoint: %+v", e)
	}
	if lines := keep(m.cli(t, "proxy-config", "endpoints", client+".shop"), "hung.shop", "FAILED", "no answer within 1s (HealthCheckPolicy shop/hung)"); len(lines) != 1 {
		t.Errorf("proxy-config endpoints: %q", lines)
	}
	if lines := keep(m.cli(t, "health-checks"), victim+".shop", "FAILED", "shop/hung", "no answer within 1s"); len(lines) != 1 {
		t.Errorf("health-checks: %q", lines)
	}
	m.awaitLog(t, victim, "health check fails")
	if r := m.call(t, client, append(load, "--for", "3s")...); r.Failed > 0 || r.Pods[victim] > 0 || r.Max > float64(hungTry.Milliseconds()) {
		t.Errorf("while it is out: %+v", r)
	}
	t.Run("a_restart_of_the_control_plane", func(t *testing.T) { m.keepsFailing(t, victim) })
	m.signalApp(t, victim, "CONT")
	resumed := time.Now()
	for _, caller := range []string{client, second} {
		eventually(t, caller+" to hear that it is back", func() bool { return len(m.failing(t, caller)) == 0 })
	}
	t.Logf("back for all callers after %s", time.Since(resumed).Round(time.Millisecond))
	if r := m.call(t, client, url, "--count", "40"); r.OK != 40 || r.Pods[victim] == 0 {
		t.Errorf("when it is back: %+v", r)
	}
}

// keepsFailing kills the control plane: what is known stays, is there after the restart, and is told to newcomers.
func (m *mesh) keepsFailing(t *testing.T, victim string) {
	t.Helper()
	m.controller(t, "kill")
	if len(m.failing(t, client)) != 1 {
		t.Error("forgotten while the control plane is away")
	}
	m.controller(t, "start")
	eventually(t, "the sidecars to have the control plane back", func() bool {
		out := m.cli(t, "proxy-status")
		return len(keep(out, "client-", "SYNCED")) == 1 && len(keep(out, victim, "SYNCED")) == 1
	})
	eventually(t, "the control plane to know again", func() bool {
		return len(m.failing(t, client)) == 1 && m.call(t, client, "http://hung/", "--count", "20").Pods[victim] == 0
	})
}

// TestAllPodsFailTheirChecks: a check that everybody fails takes nothing away.
func TestAllPodsFailTheirChecks(t *testing.T) {
	t.Parallel()
	m := startMesh(t, strings.Replace(hungManifests(1), hungPolicy, strings.Replace(hungPolicy, "/healthz", "/status/500", 1), 1))
	m.call(t, client, "http://hung/", "--count", "1")
	eventually(t, "both to fail", func() bool { return len(m.failing(t, client)) == 2 })
	m.bothAnswer(t, client, "http://hung/")
}
