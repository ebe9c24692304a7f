package lab_test

import (
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/lab"
)

const (
	lifeIP      = "10.96.0.60"
	sickIP      = "10.96.0.61"
	writtenIP   = "10.96.0.62"
	lifePlainIP = "10.96.0.63"
)

// lifeManifests has replicas pods of the server, its template marked with generation.
func lifeManifests(replicas int, generation string) string {
	return app{name: "client", replicas: 1}.String() +
		app{name: "server", replicas: replicas, annotations: "generation: " + generation}.String() +
		app{name: "plain", replicas: 3, bare: true}.String() +
		service("server", lifeIP, "app: server", http80) + service("plain", lifePlainIP, "app: plain", http80)
}

// loadTime is how long the load lasts in the stories that lose pods.
func loadTime() time.Duration {
	if long {
		return time.Minute
	}
	return 6 * time.Second
}

func TestPodsComeAndGo(t *testing.T) {
	t.Parallel()
	m := startMesh(t, lifeManifests(3, "a"))
	load := []string{"http://server/", "--rate", "200", "--concurrency", "8", "--timeout", "5s"}
	for _, name := range []string{"server", "plain"} {
		t.Run("killed_pods_cost_no_request/"+name, func(t *testing.T) { m.losePods(t, name, load[1:]) })
	}
	t.Run("a_rolling_restart_costs_no_request", func(t *testing.T) {
		before := podNames(m.settle(t), "server-v1")
		wait := m.begin(t, client, append(load, "--for", "6s")...)
		m.write(t, "all.yaml", lifeManifests(3, "b"))
		st := m.await(t, "new pods", func(st *lab.Status) bool {
			now := podNames(st, "server-v1")
			return st.Settled && len(now) == 3 && !slices.ContainsFunc(now, func(n string) bool { return slices.Contains(before, n) })
		})
		if r := wait(); r.Failed > 0 || r.Requests < 100 {
			t.Errorf("during the restart: %+v", r)
		}
		eventually(t, fmt.Sprintf("answers of all of %v", podNames(st, "server-v1")), func() bool { // the sidecar hears of them after the control plane
			r := m.call(t, client, "http://server/", "--count", "60")
			if r.OK != 60 {
				t.Fatalf("afterwards: %+v", r)
			}
			return len(r.Pods) == 3
		})
	})
	t.Run("scaled_to_none_and_back", func(t *testing.T) {
		for _, n := range []int{1, 0, 3, 0, 1} {
			m.write(t, "all.yaml", lifeManifests(n, "b"))
			m.await(t, fmt.Sprintf("%d pods", n), func(st *lab.Status) bool { return st.Settled && len(podNames(st, "server-v1")) == n })
			eventually(t, fmt.Sprintf("answers of %d pods", n), func() bool {
				r := m.call(t, client, "http://server/", "--count", "30")
				return len(r.Pods) == n && r.OK == min(30, 30*n)
			})
			if n > 0 {
				continue
			}
			if a := m.do(t, client, http.MethodGet, lifeIP+":80", "/"); a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "server.shop") {
				t.Errorf("without pods: status %d, %q", a.StatusCode, a.body)
			}
		}
	})
}

// losePods kills pods of a Deployment under load, one after the other.
func (m *mesh) losePods(t *testing.T, of string, load []string) {
	t.Helper()
	wait := m.begin(t, client, slices.Concat([]string{"http://" + of + "/", "--for", loadTime().String()}, load)...)
	killed := 0
	for begun := time.Now(); time.Since(begun) < loadTime()*3/4; killed++ {
		name, err := m.Kill(t.Context(), pod("deploy/"+of+"-v1"))
		if err != nil {
			t.Fatal(err)
		}
		m.await(t, "a replacement of "+name, func(st *lab.Status) bool { return st.Settled && st.Find(pod(name)) == nil })
	}
	r := wait()
	t.Logf("%d requests while %d pods were killed one after the other: %d failed, p50 %.1f ms, p99 %.1f ms, slowest %.0f ms, errors %v", r.Requests, killed, r.Failed, r.P50, r.P99, r.Max, r.Errors)
	if r.Failed > 0 || r.Requests < 100 || killed == 0 {
		t.Errorf("%d pods killed: %+v", killed, r)
	}
}

// A pool of connections that an app keeps open lives through every change of what is behind their address: here a rule
// that only the caller's namespace sees gives the service another name in the mesh, and takes it away again.
func TestKeepAliveOutlivesConfiguration(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1}.String()+
		service("server", lifeIP, "app: server", http80))
	c := m.client(t, client, lifeIP+":80")
	opened := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if !i.Reused {
			opened++
		}
	}})
	rule := func() string {
		for _, cluster := range m.dump(t, client).Clusters {
			if cluster.FQDN == "server.shop.svc.cluster.local" {
				return cluster.DestinationRule
			}
		}
		return "no cluster"
	}
	for _, step := range []struct{ name, manifest, rule string }{
		{"plain", "", ""},
		{"a_rule_of_the_namespace_alone", object("networking.istio.io/v1", "DestinationRule", "own",
			"  host: server\n  exportTo: [\".\"]\n  trafficPolicy: {connectionPool: {http: {http2MaxRequests: 1000}}}"), "own.shop"},
		{"plain_again", "", ""},
	} {
		t.Run(step.name, func(t *testing.T) {
			m.write(t, "own.yaml", step.manifest)
			for i := 0; i == 0 || rule() != step.rule; i++ {
				if a, err := request(ctx, c, http.MethodGet, "http://server/"); err != nil || a.StatusCode != 200 {
					t.Fatalf("call %d: %v %q %v", i, a.Response, a.body, err)
				}
			}
			if a, err := request(ctx, c, http.MethodGet, "http://server/"); err != nil || a.StatusCode != 200 {
				t.Errorf("with the new configuration: %v %q %v", a.Response, a.body, err)
			}
		})
	}
	if opened != 1 {
		t.Errorf("%d connections were opened, want one", opened)
	}
}

// podNames gives the pods of a Deployment.
func podNames(st *lab.Status, owner string) []string {
	var out []string
	for i := range st.Pods {
		if st.Pods[i].Owner == owner {
			out = append(out, st.Pods[i].Name)
		}
	}
	return out
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	manifests := app{name: "client", replicas: 1}.String() + app{name: "server", replicas: 2}.String() +
		service("server", lifeIP, "app: server", http80)
	m := startMesh(t, manifests)
	t.Run("a_pod_that_stops_being_ready_gets_none", func(t *testing.T) {
		names := podNames(m.settle(t), "server-v1")
		if r := m.call(t, client, "http://server/", "--count", "40"); len(r.Pods) != 2 {
			t.Fatalf("before: %+v", r)
		}
		m.do(t, names[0], http.MethodPost, "127.0.0.1:8080", "/ready?ok=false")
		eventually(t, names[0]+" to leave the endpoints", func() bool { return !m.healthy(t, names[0]) })
		if r := m.call(t, client, "http://server/", "--count", "100"); r.Pods[names[1]] != 100 {
			t.Errorf("100 calls: %+v, want all at %s", r, names[1])
		}
		m.do(t, names[0], http.MethodPost, "127.0.0.1:8080", "/ready?ok=true")
		eventually(t, names[0]+" to come back", func() bool { return m.healthy(t, names[0]) })
		if r := m.call(t, client, "http://server/", "--count", "100"); len(r.Pods) != 2 || r.OK != 100 {
			t.Errorf("afterwards: %+v", r)
		}
	})
	t.Run("publish_not_ready_addresses", func(t *testing.T) {
		m.write(t, "sick.yaml", app{name: "sick", replicas: 1, args: "--not-ready"}.String()+
			service("sick", sickIP, "app: sick", http80)+
			service("sick-published", "", "app: sick", "{name: http, port: 8080}", "clusterIP: None", "publishNotReadyAddresses: true"))
		m.await(t, "the sick pod to run", func(st *lab.Status) bool {
			p := st.Find(pod("deploy/sick-v1"))
			return p != nil && slices.ContainsFunc(p.Containers, func(c lab.ContainerStatus) bool { return c.Name == "app" && c.State == "Running" })
		})
		eventually(t, "the published name", func() bool {
			return m.call(t, client, "http://sick-published:8080/", "--timeout", "2s").OK == 1
		})
		if r := m.call(t, client, "http://sick-published:8080/", "--count", "10", "--new-connections"); r.OK != 10 {
			t.Errorf("10 calls of the name that publishes pods which are not ready: %+v", r)
		}
		if a := m.do(t, client, http.MethodGet, sickIP+":80", "/"); a.StatusCode != http.StatusServiceUnavailable || !strings.HasPrefix(a.body, "no healthy upstream") {
			t.Errorf("the other name: status %d, %q", a.StatusCode, a.body)
		}
	})
}

// healthy tells whether the client's sidecar would pick a pod.
func (m *mesh) healthy(t *testing.T, name string) bool {
	t.Helper()
	for _, e := range m.dump(t, client).Endpoints {
		if e.Workload == name && e.Status == "HEALTHY" {
			return true
		}
	}
	return false
}

// writtenSlice is an EndpointSlice that a user wrote, with n endpoints.
func writtenSlice(n int) string {
	var b strings.Builder
	b.WriteString(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: written-1, namespace: shop, labels: {kubernetes.io/service-name: written}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints:
`)
	for i := range n {
		fmt.Fprintf(&b, "- {addresses: [10.99.0.%d], conditions: {ready: true}}\n", i+1)
	}
	return b.String()
}

func TestEndpointChangesArriveQuickly(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String()+`
apiVersion: v1
kind: Service
metadata: {name: written, namespace: shop}
spec: {clusterIP: `+writtenIP+`, ports: [{name: http, port: 80, targetPort: 8080}]}
`)
	m.do(t, client, http.MethodGet, writtenIP+":80", "/") // the sidecar asks for the Service on first use
	admin := m.client(t, client, "127.0.0.1:15000")
	prefix := netip.MustParsePrefix("10.99.0.0/24")
	have := func() int {
		a, err := request(t.Context(), admin, http.MethodGet, "http://admin/config_dump")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(a.body, `"address": "`+strings.TrimSuffix(prefix.Addr().String(), "0"))
	}
	var took []time.Duration
	for i := range 24 {
		want := 1 + i%2*2
		begun := time.Now()
		m.write(t, "slice.yaml", writtenSlice(want))
		for have() != want {
			if time.Since(begun) > patience {
				t.Fatalf("the sidecar has %d endpoints, want %d", have(), want)
			}
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	median := took[len(took)/2]
	t.Logf("from the file to the sidecar's table: median %s, fastest %s, slowest %s", median, took[0], took[len(took)-1])
	if limit := 50 * time.Millisecond; long && median > limit {
		t.Errorf("median %s, want below %s", median, limit)
	}
}

func TestDownLeavesNothing(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 2}.String())
	state := m.StateDir()
	inside := func() []string { // processes that were started from the lab's directory
		var out []string
		entries, err := os.ReadDir("/proc")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if raw, err := os.ReadFile("/proc/" + e.Name() + "/cmdline"); err == nil && strings.Contains(string(raw), state) {
				out = append(out, e.Name()+" "+strings.ReplaceAll(string(raw), "\x00", " "))
			}
		}
		return out
	}
	if len(inside()) == 0 {
		t.Fatal("a running lab has no processes")
	}
	if out := m.cli(t, "lab", "down"); !strings.Contains(out, `lab "story" ended`) {
		t.Errorf("lab down printed %q", out)
	}
	if left := inside(); len(left) > 0 {
		t.Errorf("left running: %q", left)
	}
	if _, err := os.Stat(state); !os.IsNotExist(err) {
		t.Errorf("state directory: %v, want none", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if left := keep(string(mounts), state); len(left) > 0 {
		t.Errorf("left mounted: %q", left)
	}
	_, err = lab.Open(m.stateDir, "story")
	if err == nil || !strings.Contains(err.Error(), "not running") {
		t.Errorf("Open() = %v, want not running", err)
	}
	m.Client = nil
}
