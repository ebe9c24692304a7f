package lab_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/lab"
	"fairlead.dev/fairlead/internal/lab/demoapp"
)

const (
	rolledIP = "10.96.0.95"
	heldIP   = "10.96.0.96"
)

// rolledManifests is a server with a port for each protocol, callers in the mesh, and one outside.
func rolledManifests(generation int) string {
	ports := "{name: http, port: 80, targetPort: web}, {name: http2, port: 82, targetPort: web}, {name: grpc, port: 90, targetPort: web}"
	return app{name: "client", replicas: 1}.String() + app{name: "outside", replicas: 1, bare: true}.String() +
		app{name: "server", replicas: 3, annotations: fmt.Sprintf("generation: g%d", generation)}.String() +
		service("server", rolledIP, "app: server", ports)
}

// rounds is how many times the server is restarted in the story, and how long a round of load lasts.
func rounds() (n int, round time.Duration) {
	if long {
		return 20, 15 * time.Second
	}
	return 2, 8 * time.Second
}

// A deployment is rolled again and again while it is called in every way that there is, from the mesh and from outside it:
// no call fails, no stream or download is cut, and no manifest has a sleep for that.
func TestRolloutsUnderMixedLoad(t *testing.T) {
	t.Parallel()
	m := startMesh(t, rolledManifests(0))
	loads := []struct {
		name, from string
		args       []string
	}{
		{"http/1.1", client, []string{"http://server/", "--rate", "150", "--concurrency", "4"}},
		{"POST", client, []string{"http://server/", "--method", "POST", "--body", "order", "--rate", "100", "--concurrency", "4"}},
		{"new connections", client, []string{"http://server/", "--new-connections", "--rate", "50", "--concurrency", "4"}},
		{"http/2", client, []string{"http://server:82/", "--http2", "--rate", "150", "--concurrency", "4"}},
		{"gRPC streams", client, []string{"http://server:90" + demoapp.StreamMethod + "?count=20&interval=100ms", "--grpc", "--concurrency", "10"}},
		{"downloads", client, []string{"http://server/stream?count=30&interval=100ms", "--concurrency", "10"}},
		{"outside the mesh", "deploy/outside-v1", []string{"http://server/", "--method", "POST", "--body", "order", "--rate", "50", "--concurrency", "4"}},
	}
	n, length := rounds()
	total, failed := 0, 0
	for round := 1; round <= n; round++ {
		waits := make([]func() demoapp.Report, len(loads))
		for i, l := range loads {
			waits[i] = m.begin(t, l.from, append(l.args, "--for", length.String(), "--timeout", "20s")...)
		}
		before := podNames(m.settle(t), "server-v1")
		m.write(t, "all.yaml", rolledManifests(round))
		m.await(t, "new pods", func(st *lab.Status) bool {
			now := podNames(st, "server-v1")
			return st.Settled && len(now) == 3 && !slices.ContainsFunc(now, func(n string) bool { return slices.Contains(before, n) })
		})
		for i, l := range loads {
			r := waits[i]()
			total, failed = total+r.Requests, failed+r.Failed
			if r.Failed > 0 || r.Requests < 10 {
				t.Errorf("restart %d, %s: %d of %d failed: %v %v", round, l.name, r.Failed, r.Requests, r.Statuses, r.Errors)
			}
		}
	}
	var metrics string
	count := 0.0
	eventually(t, "every drain to be counted", func() bool { // a sidecar says how it went when it ends, and the control plane hears of it
		metrics = m.controllerPage(t, "/metrics").body
		count = metric(t, metrics, "fairlead_drain_duration_seconds_count")
		return count >= float64(3*n)
	})
	sum := metric(t, metrics, "fairlead_drain_duration_seconds_sum")
	t.Logf("%d restarts of 3 pods, %d calls, %d failed; %.0f drains of %.2f s on average", n, total, failed, count, sum/max(1, count))
	if count != float64(3*n) || metric(t, metrics, "fairlead_drains_forced_total") != 0 {
		t.Errorf("%.0f drains, %.0f forced; want %d, none", count, metric(t, metrics, "fairlead_drains_forced_total"), 3*n)
	}
}

// metric gives the value of a series without labels.
func metric(t *testing.T, page, name string) float64 {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("no series %s", name)
	}
	v, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// heldManifests is one server, whose app ends at once when it is told to, and two callers.
func heldManifests(replicas int) string {
	return app{name: "client", replicas: 1}.String() + app{name: "frozen", replicas: 1}.String() +
		app{name: "held", replicas: replicas, args: "--drain, 0s"}.String() + service("held", heldIP, "app: held", http80)
}

// A caller whose sidecar does not take what it is sent keeps a pod that ends: rollout status names it, the app is not told to
// end meanwhile, and once the caller has acknowledged, all goes on.
func TestRolloutStatusNamesWhoHolds(t *testing.T) {
	t.Parallel()
	m := startMesh(t, heldManifests(2))
	const frozen = "deploy/frozen-v1"
	for _, from := range []string{client, frozen} {
		if r := m.call(t, from, "http://held/", "--count", "20"); r.OK != 20 {
			t.Fatalf("before: %+v", r)
		}
	}
	if out := m.cli(t, "rollout", "status", "-n", "shop"); out != "no pod is ending\n" {
		t.Errorf("before: %q", out)
	}
	names := podNames(m.settle(t), "held-v1")
	sidecar := m.sidecar(t, frozen)
	caller := m.find(t, frozen).Name
	signal := func(name string) {
		if code, _, errOut := m.exec(t, frozen, "sh", "-c", fmt.Sprintf("kill -%s %d", name, sidecar.PID)); code != 0 {
			t.Fatalf("kill: %s", errOut)
		}
	}
	signal("STOP")
	m.write(t, "all.yaml", heldManifests(1))
	type row struct {
		Pod, State string
		Held       int
		Holders    []string
	}
	var rows []row
	eventually(t, "one caller to hold the pod", func() bool {
		if err := json.Unmarshal([]byte(m.cli(t, "rollout", "status", "deploy/held-v1", "-n", "shop", "-o", "json")), &rows); err != nil {
			t.Fatal(err)
		}
		return len(rows) == 1 && rows[0].State == "HELD" && slices.Equal(rows[0].Holders, []string{caller + ".shop"})
	})
	if !slices.Contains(names, rows[0].Pod) {
		t.Errorf("%s ends, want one of %v", rows[0].Pod, names)
	}
	if out := m.cli(t, "rollout", "status", "-n", "shop"); !strings.Contains(out, "HELD") || !strings.Contains(out, caller+".shop") {
		t.Errorf("the table: %s", out)
	}
	app := m.find(t, rows[0].Pod).Containers
	if i := slices.IndexFunc(app, func(c lab.ContainerStatus) bool { return c.Name == "app" }); i < 0 || app[i].State != "Running" {
		t.Errorf("the app was told to end while it was held: %+v", app)
	}
	begun := time.Now()
	signal("CONT")
	m.await(t, "the pod to end", func(st *lab.Status) bool { return st.Settled && st.Find(pod(rows[0].Pod)) == nil })
	t.Logf("the pod ended %s after its last caller had let go", time.Since(begun).Round(time.Millisecond))
	if metric(t, m.controllerPage(t, "/metrics").body, "fairlead_drains_forced_total") != 0 {
		t.Error("the end was forced")
	}
}
