//go:build envoy

package lab_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/lab/demoapp"
	"fairlead.dev/fairlead/test/envoy"
)

// servedEnvoys are Envoys that the control plane serves, by each of the protocols.
var servedEnvoys = []struct {
	name   string
	deltas bool
}{
	{"states", false},
	{"deltas", true},
}

// beside is a pod of an app that calls an Envoy at its loopback address.
func beside(name string, argv []string) string {
	command, _ := json.Marshal(argv) // strings always can be
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: shop, labels: {app: %[1]s}, annotations: {fairlead.dev/inject: "false"}}
spec:
  containers:
  - {name: app, image: fairlead.dev/demo-app, args: [--name, %[1]s]}
  - {name: envoy, image: any, command: %[2]s}
---`, name, command)
}

// servedRule has an Envoy give a connection up sooner than the app gives up the call. A pod that was killed is gone with its
// network, so that nothing refuses a connection that is being opened to it, and an Envoy's own patience is ten seconds.
var servedRule = object("networking.istio.io/v1", "DestinationRule", "users", `
  host: users
  trafficPolicy: {connectionPool: {tcp: {connectTimeout: 1s}}}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}`)

func servedRoutes(v1, v2 int) string {
	return virtualService("users", fmt.Sprintf(`
  http:
  - retries: {attempts: 3, retryOn: "reset,connect-failure,refused-stream"}
    route: [{destination: {host: users, subset: v1}, weight: %d}, {destination: {host: users, subset: v2}, weight: %d}]`, v1, v2))
}

// servedEnvoy is one of them, as its app and its operator see it.
type servedEnvoy struct {
	*mesh
	name  string
	load  string // the URL that its app calls
	admin envoy.Admin
}

// args is what the app is told to do.
func (e servedEnvoy) args(more ...string) []string {
	return append([]string{e.load, "--header", "Host: users"}, more...)
}

func (e servedEnvoy) call(t *testing.T, more ...string) demoapp.Report {
	t.Helper()
	return e.mesh.call(t, e.name, e.args(more...)...)
}

// answers reports whether the next call is answered by a version.
func (e servedEnvoy) answers(t *testing.T, version string) bool {
	t.Helper()
	a, err := request(t.Context(), e.client(t, e.name, "127.0.0.1:8081"), http.MethodGet, "http://users/")
	return err == nil && a.Header.Get("X-Demo-Version") == version
}

// await waits until a version answers as often in a row as it would not by chance.
func (e servedEnvoy) await(t *testing.T, version string) {
	t.Helper()
	eventually(t, "all calls to be answered by "+version, func() bool {
		for range 30 {
			if !e.answers(t, version) {
				return false
			}
		}
		return true
	})
}

// synced waits until it has all that there is, and gives what proxy-status says.
func (e servedEnvoy) synced(t *testing.T) string {
	t.Helper()
	out := ""
	eventually(t, "it to have all of it", func() bool {
		raw, err := e.cliCommand(t, "proxy-status", e.name+".shop").Output()
		out = string(raw)
		return err == nil && strings.Count(out, " SYNCED ") == 5 // its row and its types
	})
	return out
}

func (e servedEnvoy) counters(t *testing.T, names string) map[string]uint64 {
	t.Helper()
	all, err := e.admin.Counters(t.Context(), names)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// counter is one of the cluster of v1.
func (e servedEnvoy) counter(t *testing.T, name string) uint64 {
	t.Helper()
	n, err := e.admin.Counter(t.Context(), "cluster.outbound|8081|v1|users.shop.svc.cluster.local."+name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// config is what is in force. By deltas nothing comes again, so that it is as old as before.
func (e servedEnvoy) config(t *testing.T) any {
	t.Helper()
	all, err := e.admin.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if e.name != "deltas" {
		envoy.Undate(all)
	}
	return all
}

// TestEnvoyServed has Envoys call what the control plane tells them of.
func TestEnvoyServed(t *testing.T) {
	path, err := envoy.Binary()
	if err != nil {
		t.Fatal(err)
	}
	manifests := []string{
		app{name: "users", version: "v1", replicas: 3, bare: true}.String(), app{name: "users", version: "v2", replicas: 1, bare: true}.String(),
		service("users", "10.96.4.1", "app: users", "{name: http, port: 8081, targetPort: web}"),
		servedRule,
	}
	for _, e := range servedEnvoys {
		args, err := envoy.Bootstrap{ControlPlane: netip.MustParseAddrPort("10.244.0.1:15010"), Deltas: e.deltas}.Args()
		if err != nil {
			t.Fatal(err)
		}
		manifests = append(manifests, beside(e.name, append([]string{path}, args...)))
	}
	m := startMesh(t, strings.Join(manifests, ""))
	m.write(t, "routes.yaml", servedRoutes(90, 10))
	envoys := func(t *testing.T, run func(t *testing.T, e servedEnvoy)) {
		t.Helper()
		for _, e := range servedEnvoys {
			t.Run(e.name, func(t *testing.T) {
				run(t, servedEnvoy{m, e.name, "http://127.0.0.1:8081/", envoy.Admin{Client: m.client(t, e.name, fmt.Sprint("127.0.0.1:", envoy.AdminPort))}})
			})
		}
	}
	t.Run("ninety_to_ten", func(t *testing.T) {
		envoys(t, func(t *testing.T, e servedEnvoy) {
			eventually(t, "the weights to be in force", func() bool { // without them a quarter goes to v2
				v2 := e.call(t, "--count", "1000", "--concurrency", "4").Versions["v2"]
				return v2 > 0 && v2 < 170
			})
			r := e.call(t, "--count", "2000", "--concurrency", "4")
			if v2 := r.Versions["v2"]; r.Failed > 0 || r.Versions["v1"]+v2 != 2000 || v2 < 120 || v2 > 280 {
				t.Errorf("of 2000 calls %v were answered and %d failed (%v), want 200 ± 80 by v2", r.Versions, r.Failed, r.Errors)
			}
		})
	})
	t.Run("who_is_connected", func(t *testing.T) {
		envoys(t, func(t *testing.T, e servedEnvoy) {
			if out := e.synced(t); !strings.Contains(out, "envoy 1.") {
				t.Errorf("proxy-status does not say that it is an Envoy:\n%s", out)
			}
		})
	})
	t.Run("an_edit", func(t *testing.T) {
		envoys(t, func(t *testing.T, e servedEnvoy) {
			for i, w := range [][2]int{{0, 100}, {100, 0}} {
				began := time.Now()
				m.write(t, "routes.yaml", servedRoutes(w[0], w[1]))
				e.await(t, fmt.Sprint("v", 2-i))
				took := time.Since(began)
				t.Logf("in force after %s, with the calls that show it", took)
				if long && took > time.Second {
					t.Errorf("an edit was in force after %s, want less than a second", took)
				}
			}
		})
	})
	t.Run("a_pod_killed", func(t *testing.T) {
		var reports []func()
		envoys(t, func(_ *testing.T, e servedEnvoy) {
			e.load += "?delay=10ms" // so that there are calls under way to the pod that is killed
			before := e.counter(t, "upstream_rq_total")
			wait := m.begin(t, e.name, e.args("--count", "1000", "--concurrency", "8")...)
			eventually(t, "calls to be under way", func() bool { return e.counter(t, "upstream_rq_total") > before+20 })
			reports = append(reports, func() {
				if r := wait(); r.Failed > 0 || r.Versions["v1"] != 1000 {
					t.Errorf("%s: of 1000 calls %v were answered and %d failed: %v, %v", e.name, r.Versions, r.Failed, r.Statuses, r.Errors)
				}
			})
		})
		if _, err := m.Kill(t.Context(), pod("deploy/users-v1")); err != nil {
			t.Error(err)
		}
		for _, report := range reports {
			report()
		}
		m.settle(t)
	})
	t.Run("without_the_control_plane", func(t *testing.T) { m.servedAgain(t, envoys) })
	envoys(t, func(t *testing.T, e servedEnvoy) {
		for name, n := range e.counters(t, "update_rejected$") {
			if n > 0 {
				t.Errorf("%s = %d, want 0", name, n)
			}
		}
	})
}

// servedAgain takes the control plane away and brings it back.
func (m *mesh) servedAgain(t *testing.T, envoys func(*testing.T, func(*testing.T, servedEnvoy))) {
	t.Helper()
	configs, updates := map[string]any{}, map[string]map[string]uint64{}
	envoys(t, func(t *testing.T, e servedEnvoy) {
		eventually(t, "the Envoy to know all endpoints", func() bool { return e.counter(t, "membership_healthy") == 3 })
		configs[e.name], updates[e.name] = e.config(t), e.counters(t, "update_success$")
	})
	var names []string
	for _, e := range servedEnvoys {
		names = append(names, e.name)
	}
	load := func(t *testing.T, name string) calls {
		t.Helper()
		r := m.call(t, name, "http://127.0.0.1:8081/", "--header", "Host: users", "--count", "200", "--concurrency", "4")
		return calls{made: 200, failed: 200 - r.Versions["v1"], why: fmt.Sprint(r.Statuses, r.Errors)}
	}
	m.throughAnOutage(t, m.frozen(t), names, load)
	m.throughAnOutage(t, m.stopped(), names, load)
	envoys(t, func(t *testing.T, e servedEnvoy) {
		e.synced(t)
		if diff := cmp.Diff(configs[e.name], e.config(t)); diff != "" {
			t.Errorf("what is in force is not what was (-before +now):\n%s", diff)
		}
	})
	m.write(t, "routes.yaml", servedRoutes(0, 100))
	envoys(t, func(t *testing.T, e servedEnvoy) {
		e.await(t, "v2")
		var came []string
		for name, n := range e.counters(t, "update_success$") {
			if n != updates[e.name][name] {
				came = append(came, name)
			}
		}
		// The edit comes after all that is sent at the beginning of a stream.
		if e.name == "deltas" && (len(came) != 1 || !strings.HasSuffix(came[0], ".rds.8081.update_success")) {
			t.Errorf("%q came again, want nothing but the routes that were edited", slices.Sorted(slices.Values(came)))
		}
		if r := e.call(t, "--count", "500", "--concurrency", "4"); r.Failed > 0 {
			t.Errorf("%d of 500 calls failed: %v, %v", r.Failed, r.Statuses, r.Errors)
		}
	})
}
