//go:build proxyless

package lab_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// proxylessApps are gRPC apps, each of another library, and what proxy-status calls it.
var proxylessApps = []struct{ name, agent string }{
	{"go", "gRPC Go"},
	{"python", "gRPC C-core"},
	{"node", "gRPC Node Pure JS"},
	{"java", "gRPC Java"},
}

// proxylessPrograms says how those apps are started, but for their arguments, and in which environment. The program is that in Go, which
// has a server too. FAIRLEAD_PROXYLESS says where those of other languages are.
func proxylessPrograms(t *testing.T) (program string, commands map[string][]string, env map[string]string) {
	t.Helper()
	dir := os.Getenv("FAIRLEAD_PROXYLESS")
	if dir == "" {
		t.Fatal("run this test by `make proxyless`")
	}
	program = binary("proxyless")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", "../proxyless", "-trimpath", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	classes := filepath.Join(dir, "java")
	commands = map[string][]string{
		"go":     {program, "client"},
		"python": {"python3", filepath.Join(dir, "client.py")},
		"node":   {"node", filepath.Join(dir, "client.js")},
		"java":   {"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m", "-cp", classes + ":" + classes + "/*", "Client"},
	}
	return program, commands, map[string]string{"PYTHONPATH": filepath.Join(dir, "python"), "PATH": os.Getenv("PATH")}
}

const (
	proxylessPort = "9000"
	proxylessCtl  = "127.0.0.1:9001"
)

// proxylessPod is a pod without a sidecar that runs one program.
func proxylessPod(name, version, account string, env map[string]string, argv ...string) string {
	command, _ := json.Marshal(argv) // strings always can be
	var vars []map[string]string
	for k, v := range env {
		vars = append(vars, map[string]string{"name": k, "value": v})
	}
	environ, _ := json.Marshal(vars)
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: shop, labels: {app: %[2]s, version: %[3]s}, annotations: {fairlead.dev/inject: "false"}}
spec:
  containers:
  - name: app
    image: any
    command: %[4]s
    env: %[5]s
    ports: [{name: grpc, containerPort: %[6]s}]
---`, name, account, version, command, environ, proxylessPort)
}

func proxylessRoutes(v1, v2 int) string {
	return virtualService("users", fmt.Sprintf(`
  http:
  - retries: {attempts: 3, retryOn: "unavailable,cancelled,connect-failure"}
    route: [{destination: {host: users, subset: v1}, weight: %d}, {destination: {host: users, subset: v2}, weight: %d}]`, v1, v2))
}

// TestProxyless has gRPC apps without sidecars call by their libraries' own xDS clients.
func TestProxyless(t *testing.T) {
	program, commands, env := proxylessPrograms(t)
	var manifests strings.Builder
	for i, version := range []string{"v1", "v1", "v1", "v2"} {
		manifests.WriteString(proxylessPod(fmt.Sprint("users-", i), version, "users", nil, program, "server", version, ":"+proxylessPort))
	}
	manifests.WriteString(service("users", "10.96.3.1", "app: users", "{name: grpc, port: "+proxylessPort+"}") + subsets("users"))
	boot := filepath.Join(bin, "bootstrap.json")
	env["GRPC_XDS_BOOTSTRAP"] = boot
	for _, a := range proxylessApps {
		argv := append(slices.Clone(commands[a.name]), "xds:///users.shop.svc.cluster.local:"+proxylessPort, proxylessCtl)
		manifests.WriteString(proxylessPod(a.name, "v1", a.name, env, argv...))
	}
	writeBootstrap(t, boot, "10.244.0.1:15010")
	m := startMesh(t, manifests.String())
	m.write(t, "routes.yaml", proxylessRoutes(90, 10))

	apps := func(t *testing.T, run func(t *testing.T, name string)) {
		t.Helper()
		for _, a := range proxylessApps {
			t.Run(a.name, func(t *testing.T) { run(t, a.name) })
		}
	}
	t.Run("ninety_to_ten", func(t *testing.T) {
		apps(t, func(t *testing.T, name string) {
			m.awaitProxyless(t, name)
			eventually(t, "the weights are in force", func() bool { // without them a quarter goes to v2
				v2 := m.proxyless(t, name, "n=1000&c=4").Answered["v2"]
				return v2 > 0 && v2 < 170
			})
			r := m.proxyless(t, name, "n=2000&c=4")
			if v2 := r.Answered["v2"]; r.Failed > 0 || r.Answered["v1"]+v2 != 2000 || v2 < 120 || v2 > 280 {
				t.Errorf("of 2000 calls %v were answered and %d failed (%s), want 200 ± 80 by v2", r.Answered, r.Failed, r.Error)
			}
		})
	})
	t.Run("who_is_connected", func(t *testing.T) {
		for _, a := range proxylessApps {
			out := ""
			eventually(t, a.name+" to have all of it", func() bool {
				out = m.cli(t, "proxy-status", a.name+".shop")
				return strings.Count(out, " SYNCED ") == 5 // its row and its types
			})
			if !strings.Contains(out, a.agent) || !strings.Contains(out, "LDS SYNCED") {
				t.Errorf("proxy-status does not show %s:\n%s", a.agent, out)
			}
		}
	})
	t.Run("an_edit", func(t *testing.T) {
		weights := [][2]int{{0, 100}, {100, 0}}
		apps(t, func(t *testing.T, name string) {
			for i, w := range weights {
				began := time.Now()
				m.write(t, "routes.yaml", proxylessRoutes(w[0], w[1]))
				m.proxylessPage(t, name, fmt.Sprintf("/until?name=v%d&run=30", 2-i))
				took := time.Since(began)
				t.Logf("in force after %s, with the calls that show it", took)
				if long && took > time.Second {
					t.Errorf("an edit was in force after %s, want less than a second", took)
				}
			}
		})
	})
	t.Run("a_pod_killed", func(t *testing.T) {
		m.write(t, "routes.yaml", proxylessRoutes(100, 0))
		done := make(chan proxylessReport, len(proxylessApps))
		for _, a := range proxylessApps {
			m.proxylessPage(t, a.name, "/until?name=v1&run=30")
			go func() { done <- m.proxyless(t, a.name, "n=3000&c=4") }()
		}
		if _, err := m.Kill(t.Context(), pod("users-0")); err != nil {
			t.Error(err)
		}
		for range proxylessApps {
			r := <-done
			if r.Error == "UNKNOWN: channel closed" && r.Failed <= 4 { // docs/reference/xds.md: of grpc-java, one of each worker
				r.Answered["v1"] += r.Failed
				r.Failed = 0
			}
			if r.Failed > 0 || r.Answered["v1"] != 3000 {
				t.Errorf("of 3000 calls %v were answered and %d failed: %s", r.Answered, r.Failed, r.Error)
			}
		}
	})
	var names []string
	for _, a := range proxylessApps {
		names = append(names, a.name)
	}
	load := func(t *testing.T, name string) calls {
		t.Helper()
		r := m.proxyless(t, name, "n=200&c=4")
		return calls{made: 200, failed: 200 - r.Answered["v1"], why: r.Error}
	}
	t.Run("without_the_control_plane", func(t *testing.T) { m.throughAnOutage(t, m.stopped(), names, load) })
	t.Run("the_control_plane_is_frozen", func(t *testing.T) { m.throughAnOutage(t, m.frozen(t), names, load) })
}

// writeBootstrap writes the file of docs/reference/xds.md.
func writeBootstrap(t *testing.T, path, server string) {
	t.Helper()
	if _, err := netip.ParseAddrPort(server); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]any{
		"xds_servers": []any{map[string]any{
			"server_uri": server, "channel_creds": []any{map[string]string{"type": "insecure"}}, "server_features": []string{"xds_v3"},
		}},
		"node": map[string]any{
			"id": "test", "locality": map[string]string{"region": "unknown"}, "metadata": map[string]string{"GENERATOR": "grpc"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
}

// proxylessReport is what an app says of the calls that it was told to make.
type proxylessReport struct {
	Answered map[string]int
	Failed   int
	Error    string
}

func (m *mesh) proxyless(t *testing.T, name, query string) (r proxylessReport) {
	t.Helper()
	if err := json.Unmarshal([]byte(m.proxylessPage(t, name, "/call?"+query)), &r); err != nil {
		t.Error(err)
	}
	return r
}

func (m *mesh) proxylessPage(t *testing.T, name, path string) string {
	t.Helper()
	c := m.client(t, name, proxylessCtl)
	c.Timeout = 3 * patience
	a, err := request(t.Context(), c, http.MethodGet, "http://app"+path)
	if err != nil {
		t.Error(err)
	}
	return a.body
}
