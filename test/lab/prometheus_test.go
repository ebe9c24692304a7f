//go:build prometheus

package lab_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/lab"
	"fairlead.dev/fairlead/internal/lab/demoapp"
)

const prometheus = "prom"

// dashboardQuery is a row of the documentation's table.
type dashboardQuery struct {
	by, query string
	data      bool // it has a result
}

// askedQueries reads the table.
func askedQueries(t *testing.T) (all []dashboardQuery) {
	t.Helper()
	page, err := os.ReadFile("../../docs/reference/prometheus.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 3 || !strings.HasPrefix(cells[1], "`") {
			continue
		}
		query := strings.ReplaceAll(strings.Trim(strings.TrimSpace(cells[1]), "`"), `\|`, "|")
		result := strings.TrimSpace(cells[2])
		if result != "data" && !strings.HasPrefix(result, "no data: ") {
			t.Errorf("row %q says neither data nor no data", line)
		}
		all = append(all, dashboardQuery{by: strings.TrimSpace(cells[0]), query: query, data: result == "data"})
	}
	if len(all) < 40 {
		t.Fatalf("%d queries in the table: it is read wrongly", len(all))
	}
	return all
}

// ofPrometheus gives a directory for the files of a Prometheus.
func ofPrometheus(t *testing.T) string {
	t.Helper()
	own := t.TempDir()
	if os.Getenv("FAIRLEAD_PROMETHEUS") == "" {
		t.Fatal("FAIRLEAD_PROMETHEUS is not set: run make prometheus")
	}
	if err := os.Chmod(own, 0o777); err != nil { // Prometheus has a user of its own
		t.Fatal(err)
	}
	return own
}

// prometheusPod is a real Prometheus, as make prometheus has it, with prometheus.yml in its directory.
func prometheusPod(own string, flags ...string) string {
	command, _ := json.Marshal(append([]string{
		filepath.Join(os.Getenv("FAIRLEAD_PROMETHEUS"), "prometheus"), "--config.file=" + filepath.Join(own, "prometheus.yml"),
		"--storage.tsdb.path=" + filepath.Join(own, "data"), "--log.level=warn",
	}, flags...))
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: shop, annotations: {fairlead.dev/inject: "false"}}
spec:
  containers:
  - {name: app, image: any, command: %s, readinessProbe: {httpGet: {path: /-/ready, port: 9090}, periodSeconds: 1}}
---`, prometheus, command)
}

// TestPrometheus: a real Prometheus scrapes sidecars and control plane, and has what dashboards ask it for.
func TestPrometheus(t *testing.T) {
	const ip, echoIP, emptyIP = "10.96.0.150", "10.96.0.151", "10.96.0.152"
	own := ofPrometheus(t)
	if err := replaceFile(own, "prometheus.yml", `
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [alerts.yaml]
scrape_configs:
- {job_name: sidecars, metrics_path: /stats/prometheus, file_sd_configs: [{files: [sidecars.json], refresh_interval: 1s}]}
- {job_name: control plane, static_configs: [{targets: ['10.244.0.1:15014'], labels: {app: istiod, pod: controller}}]}
`); err != nil {
		t.Fatal(err)
	}
	alerts, err := os.ReadFile(chartFiles + "alerts/fairlead.yaml")
	if err == nil {
		err = replaceFile(own, "alerts.yaml", string(alerts))
	}
	if err != nil {
		t.Fatal(err)
	}
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1, args: `--tcp, "9000"`}.String()+
		app{name: "plain", replicas: 1, bare: true}.String()+
		service("server", ip, "app: server", http80)+service("echo", echoIP, "app: server", "{name: tcp, port: 9000, targetPort: 9000}")+service("empty", emptyIP, "app: nothing", http80)+limitedServer+prometheusPod(own))
	m.scrape(t, own, "client", "server")

	ctx, end := context.WithCancel(t.Context())
	defer end()
	busy := make(chan error, 6)
	for _, caller := range []string{"client", "plain"} {
		go func() { busy <- m.keepCalling(ctx, t, "deploy/"+caller+"-v1", ip) }()
	}
	go func() { busy <- m.keepCalling(ctx, t, "deploy/client-v1", emptyIP) }()
	go func() { busy <- m.keepChanging(ctx) }()
	go func() { busy <- m.keepStreaming(ctx, "deploy/client-v1", ip+":80") }()
	go func() { busy <- m.keepTalking(ctx, "deploy/client-v1", echoIP+":9000") }()
	t.Cleanup(func() { // before the lab ends
		end()
		for range cap(busy) {
			if err := <-busy; err != nil {
				t.Error(err)
			}
		}
	})

	for _, q := range append(askedQueries(t), shownQueries(t)...) {
		last := ""
		if !q.data {
			if last = m.ask(t, q.query); last != "[]" {
				t.Errorf("%s: %s\n has data: %s", q.by, q.query, last)
			}
			continue
		}
		eventually(t, "data for "+q.query, func() bool {
			last = m.ask(t, q.query)
			return last != "[]" && !strings.Contains(last, `"NaN"`)
		})
	}
	m.rulesAreLoaded(t)
	m.promtool(t)
}

// limitedServer has what is counted of the server's endpoints and connections counted.
const limitedServer = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: server, namespace: shop}
spec:
  host: server
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 1000000, maxEjectionPercent: 100}
    connectionPool: {tcp: {maxConnections: 1000}}
---`

// replaceFile puts a file into a directory at once.
func replaceFile(dir, name, content string) error {
	path := filepath.Join(dir, name)
	err := os.WriteFile(path+".tmp", []byte(content), 0o644) // Prometheus has a user of its own
	return errors.Join(err, os.Rename(path+".tmp", path))
}

// keepChanging changes the configuration until ctx ends.
func (m *mesh) keepChanging(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for i := 1; ; i++ {
		spec := fmt.Sprintf("  http:\n  - timeout: %ds\n    retries: {attempts: 1, retryOn: 5xx}\n    route: [{destination: {host: server}}]", 20+i)
		if err := replaceFile(m.dir, "late.yaml", virtualService("server", spec)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// scrape says which pods' sidecars Prometheus is to scrape.
func (m *mesh) scrape(t *testing.T, dir string, apps ...string) {
	t.Helper()
	type target struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	var targets []target
	for _, name := range apps {
		p := m.find(t, "deploy/"+name+"-v1")
		targets = append(targets, target{[]string{p.IPs[0].String() + ":15020"}, map[string]string{"namespace": "shop", "pod": name}})
	}
	raw, err := json.Marshal(targets)
	if err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(dir, "sidecars.json", string(raw)); err != nil {
		t.Fatal(err)
	}
}

// keepCalling makes calls that end well and badly until ctx ends.
func (m *mesh) keepCalling(ctx context.Context, t *testing.T, from, ip string) error {
	c := m.client(t, from, ip+":80")
	for i := 0; ctx.Err() == nil; i++ {
		path := []string{"/", "/bytes/1000", "/status/404", "/status/503"}[i%4]
		if _, err := request(ctx, c, http.MethodGet, "http://"+ip+path); err != nil && ctx.Err() == nil {
			return fmt.Errorf("call from %s: %w", from, err)
		}
	}
	return nil
}

// keepStreaming makes calls of gRPC until ctx ends.
func (m *mesh) keepStreaming(ctx context.Context, from, address string) error {
	none, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer none.Close()
	argv := []string{"fairlead", "demo-app", "call", "http://" + address + demoapp.StreamMethod + "?interval=1ms", "--grpc", "--count", "20", "--messages", "3"}
	for ctx.Err() == nil {
		code, err := m.Exec(ctx, lab.ExecOptions{Pod: pod(from), Command: argv, Stdout: none, Stderr: none})
		if ctx.Err() == nil && (err != nil || code != 0) {
			return fmt.Errorf("gRPC from %s: exit code %d, %w", from, code, err)
		}
	}
	return nil
}

// keepTalking makes TCP connections until ctx ends.
func (m *mesh) keepTalking(ctx context.Context, from, address string) error {
	const hello = "hello\n"
	for ctx.Err() == nil {
		conn, err := m.talk(ctx, from, address, hello)
		if err == nil {
			_, err = io.ReadFull(conn, make([]byte, len(hello)))
			conn.Close()
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("connection from %s: %w", from, err)
		}
	}
	return nil
}

// prometheus asks the lab's Prometheus.
func (m *mesh) prometheus(t *testing.T, path string) string {
	t.Helper()
	c := &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return m.DialPod(ctx, pod(prometheus), address)
		},
		DisableKeepAlives: true,
	}}
	a, err := request(t.Context(), c, http.MethodGet, "http://127.0.0.1:9090"+path)
	if err != nil {
		t.Fatal(err)
	}
	return a.body
}

// ask gives Prometheus' answer to a query, "[]" where there is none.
func (m *mesh) ask(t *testing.T, query string) string {
	t.Helper()
	body := m.prometheus(t, "/api/v1/query?query="+url.QueryEscape(query))
	var said struct {
		Status, Error string
		Data          struct{ Result json.RawMessage }
	}
	if err := json.Unmarshal([]byte(body), &said); err != nil || said.Status != "success" {
		t.Fatalf("%s: %v: %s", query, err, body)
	}
	return string(said.Data.Result)
}

// promtool has Prometheus' own checker read the pages.
func (m *mesh) promtool(t *testing.T) {
	t.Helper()
	for name, page := range map[string]string{
		"sidecar":       m.do(t, "deploy/server-v1", http.MethodGet, "127.0.0.1:15020", "/stats/prometheus").body,
		"control plane": m.controllerPage(t, "/metrics").body,
	} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(os.Getenv("FAIRLEAD_PROMETHEUS"), "promtool"), "check", "metrics")
		cmd.Stdin = strings.NewReader(page)
		out, err := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 0 && code != 3 { // 3: read, and does not like names, which are Istio's
			t.Errorf("promtool of the %s's page: %v\n%s", name, err, out)
		}
	}
}
