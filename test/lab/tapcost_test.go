package lab_test

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// spent gives the processor time of a pod's sidecar so far, in seconds.
func (m *mesh) spent(t *testing.T, pod string) float64 {
	t.Helper()
	page := m.do(t, pod, http.MethodGet, "127.0.0.1:15020", "/stats/prometheus").body
	found := regexp.MustCompile(`(?m)^istio_agent_process_cpu_seconds_total (\S+)$`).FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("the sidecar of %s does not say what it has spent: %s", pod, page)
	}
	seconds, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return seconds
}

// TestTapCost says what a tap that shows every request costs the sidecars of both ends: processor time per request with it
// and without, in turns of one run, so that what else the machine does is in both. It compares nothing with a bound, for
// such times are the machine's; that a tap which nobody has costs no allocation is internal/observe's to test.
func TestTapCost(t *testing.T) {
	t.Parallel()
	const ip, server, calls, rounds = "10.96.0.145", "deploy/server-v1", 4000, 3
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1}.String()+service("server", ip, "app: server", http80))
	round := func(path string) float64 {
		before := m.spent(t, client) + m.spent(t, server)
		if r := m.call(t, client, "http://"+ip+path, "--count", strconv.Itoa(calls), "--concurrency", "4"); r.Failed > 0 {
			t.Fatalf("%d calls failed", r.Failed)
		}
		return (m.spent(t, client) + m.spent(t, server) - before) / calls * 1e6
	}
	round("/warm")
	var without, with, ratios []float64
	for range rounds {
		plain := round("/calls")
		tap := m.tap(t, "ns/shop", "--max-rps", "10000")
		m.warm(t, tap, "/warm", "proxy=in ")
		m.warm(t, tap, "/warm", "proxy=out")
		tapped := round("/calls")
		shown := 0
		eventually(t, "every call of a round, shown from both ends or counted as missed", func() bool {
			shown = len(tap.lines("req ", ":path=/calls"))
			return shown == 2*calls || shown > calls && tap.notes() != ""
		})
		tap.end(t)
		t.Logf("%.1f µs of both sidecars per request, %.1f with a tap that shows %d of %d heads: %.2f times", plain, tapped, shown, 2*calls, tapped/plain)
		without, with, ratios = append(without, plain), append(with, tapped), append(ratios, tapped/plain)
	}
	slices.Sort(ratios)
	t.Logf("in the median %.2f times; without %.1f µs, with %.1f", ratios[rounds/2], without, with)
}
