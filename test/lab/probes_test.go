package lab_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/admin"
)

const probedIP = "10.96.0.121"

// plainPolicy checks pods without a sidecar once a second.
const plainPolicy = `
apiVersion: fairlead.dev/v1alpha1
kind: HealthCheckPolicy
metadata: {name: plain, namespace: shop}
spec: {targetRefs: [{group: "", kind: Service, name: plain}], http: {path: /healthz}, interval: 1s, timeout: 900ms, unhealthyThreshold: 2}
---`

// probed gives what the control plane knows of the endpoints that callers check.
func (m *mesh) probed(t *testing.T) (list []admin.Probed) {
	t.Helper()
	a := m.controllerPage(t, "/debug/probez")
	if err := json.Unmarshal([]byte(a.body), &list); err != nil {
		t.Fatalf("probez: %v: %s", err, a.body)
	}
	return list
}

// probersOf lists the sidecars that check endpoints.
func probersOf(list []admin.Probed) (ids []string) {
	for _, e := range list {
		for _, p := range e.Probers {
			ids = append(ids, p.ID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// probesMade sums the checks that sidecars have made of others, and counts the sidecars that have made any.
func (m *mesh) probesMade(t *testing.T, pods []string) (sum float64, by int) {
	t.Helper()
	for _, p := range pods {
		n := m.metric(t, p, `fairlead_health_probes_total{policy="shop/plain",result="pass"}`) + m.metric(t, p, `fairlead_health_probes_total{policy="shop/plain",result="fail"}`)
		if sum += n; n > 0 {
			by++
		}
	}
	return sum, by
}

// TestFiftyCallersAreNotFiftyProbers: two pods without a sidecar, called by fifty that have one. Three of those check each; all
// fifty hear of it when one hangs; when a sidecar that checks ends, another takes its place.
func TestFiftyCallersAreNotFiftyProbers(t *testing.T) {
	t.Parallel()
	const accounts, replicas = 5, 10
	manifests := []string{twins("plain", true), service("plain", probedIP, "app: plain", http80), plainPolicy}
	for i := range accounts {
		manifests = append(manifests, app{name: fmt.Sprintf("caller-%c", 'a'+i), replicas: replicas, notProbed: true}.String())
	}
	m := startMesh(t, strings.Join(manifests, ""))
	st, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var callers []string
	for i := range st.Pods {
		if strings.HasPrefix(st.Pods[i].Name, "caller-") {
			callers = append(callers, st.Pods[i].Name)
		}
	}
	if len(callers) != accounts*replicas {
		t.Fatalf("%d callers", len(callers))
	}
	m.bothAnswer(t, callers[0], "http://plain/")
	for _, c := range callers {
		if a := m.do(t, c, "GET", probedIP+":80", "/"); a.StatusCode != 200 {
			t.Fatalf("%s: %s", c, a.Status)
		}
	}
	eventually(t, "three sidecars to check each pod", func() bool {
		list := m.probed(t)
		return len(list) == 2 && !slices.ContainsFunc(list, func(e admin.Probed) bool {
			return len(e.Probers) != 3 || slices.ContainsFunc(e.Probers, func(p admin.Prober) bool { return p.Says != "passes" })
		})
	})
	began := time.Now()
	before, _ := m.probesMade(t, callers)
	after, by := before, 0
	eventually(t, "thirty checks more", func() bool {
		after, by = m.probesMade(t, callers)
		return after >= before+30
	})
	took, made := time.Since(began).Seconds(), after-before
	t.Logf("%d sidecars have made %.0f checks of two endpoints in %.2f s or less, at an interval of 1s", by, made, took)
	// Three check each of two endpoints once a second: one more where the span begins with a check, and one where one was late.
	if made > 3*2*(took+2) || made < took/2 {
		t.Errorf("%.0f checks of two endpoints in %.2f s, want three per endpoint and second", made, took)
	}

	victim := m.find(t, "deploy/plain-v1").Name
	failing := func(caller string) (pods []string) {
		for _, e := range m.dump(t, caller).Endpoints {
			if strings.HasPrefix(e.Cluster, "outbound|80||plain.") && e.HealthCheck == "FAILED" {
				pods = append(pods, e.Workload)
			}
		}
		return pods
	}
	m.signalAppFrom(t, callers[0], victim, "STOP")
	stopped := time.Now()
	for _, c := range callers {
		eventually(t, c+" to know", func() bool { return slices.Equal(failing(c), []string{victim}) })
	}
	t.Logf("out for all callers after %s", time.Since(stopped).Round(time.Millisecond))
	if r := m.call(t, callers[0], "http://plain/", "--count", "40"); r.OK != 40 || r.Pods[victim] > 0 {
		t.Errorf("while it is out: %+v", r)
	}
	if lines := keep(m.cli(t, "health-checks"), "FAILED", "shop/plain", "(fails)", "no answer within 900ms"); len(lines) != 1 {
		t.Errorf("health-checks:\n%s", m.cli(t, "health-checks"))
	}
	gone, _, _ := strings.Cut(m.probed(t)[0].Probers[0].ID, ".")
	for _, c := range m.find(t, gone).Containers {
		if c.Name == "proxy" {
			if code, _, errOut := m.exec(t, gone, "kill", "-STOP", strconv.Itoa(c.PID)); code != 0 {
				t.Fatal(errOut)
			}
		}
	}
	eventually(t, "another one to check in its place", func() bool {
		list := m.probed(t)
		return !slices.Contains(probersOf(list), gone+".shop") && len(list[0].Probers) == 3 && list[0].Failing
	})
	m.signalAppFrom(t, callers[0], victim, "CONT")
	for _, c := range callers {
		if c != gone {
			eventually(t, c+" to hear that it is back", func() bool { return len(failing(c)) == 0 })
		}
	}
}
