package lab_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Telemetry objects decide what sidecars count and by which labels, for each side of a call; a client that says much is not told apart
// for ever.
func TestTelemetryObjectsDecideWhatIsCounted(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1}.String()+
		service("server", "10.96.7.2", "app: server", "{name: http, port: 8080, targetPort: web}"))
	const server = "deploy/server-v1"
	recorded := func(name string) string {
		return m.cli(t, "proxy-config", "telemetry", m.find(t, name).Name, "-n", "shop")
	}
	series := func(name, metric string) []string {
		return keep(m.cli(t, "proxy-config", "metrics", m.find(t, name).Name, "-n", "shop"), metric+"{")
	}
	call := func(path string) { m.do(t, client, http.MethodGet, "10.96.7.2:8080", path) }
	object := func(spec string) string {
		return "---\napiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: all, namespace: shop}\nspec: " + spec + "\n"
	}

	call("/before")
	eventually(t, "a series at both ends", func() bool {
		return len(series(client, "istio_requests_total")) == 1 && len(series(server, "istio_requests_total")) == 1
	})
	m.write(t, "telemetry.yaml", object(`{metrics: [{overrides: [
  {match: {metric: ALL_METRICS, mode: SERVER}, disabled: true},
  {match: {metric: REQUEST_SIZE, mode: CLIENT}, disabled: true},
  {match: {metric: REQUEST_COUNT, mode: CLIENT}, tagOverrides: {
    destination_principal: {operation: REMOVE}, path: {value: request.url_path}, port: {value: "destination.port + 1"}}}]}]}`))
	eventually(t, "the rules at both ends", func() bool {
		return strings.Contains(recorded(client), "REQUEST_COUNT -destination_principal path=request.url_path") && strings.Contains(recorded(server), "ALL_METRICS off")
	})
	for i := range 70 {
		call(fmt.Sprintf("/%d?secret=%d", i, i))
	}
	counted := func(part string) (n int) {
		for _, s := range keep(strings.Join(series(client, "istio_requests_total"), "\n"), part) {
			var one int
			if _, err := fmt.Sscan(s[strings.LastIndexByte(s, ' ')+1:], &one); err != nil {
				t.Fatal(err)
			}
			n += one
		}
		return n
	}
	eventually(t, "70 calls since the rules changed", func() bool { return counted("") == 70 })
	if n := counted(`path="other",port="other"`); n != 6 {
		t.Errorf("%d calls whose path has no place, want 6", n)
	}
	for _, s := range series(client, "istio_requests_total") {
		if strings.Contains(s, "destination_principal") || strings.Contains(s, "secret") || strings.Contains(s, `path="/`) != strings.Contains(s, `port="8081"`) {
			t.Errorf("labels %s", s)
		}
	}
	if s := series(client, "istio_request_bytes_count"); len(s) != 0 {
		t.Errorf("a metric that is off: %q", s)
	}
	if s := series(client, "istio_request_duration_milliseconds_count"); len(s) != 1 || !strings.Contains(s[0], "destination_principal=") {
		t.Errorf("a metric that is as it was: %q", s)
	}
	if s := series(server, "istio_requests_total"); len(s) != 0 {
		t.Errorf("all metrics of calls that come are off: %q", s)
	}

	m.write(t, "telemetry.yaml", object(`{metrics: [{overrides: [{tagOverrides: {a: {value: request.pth}}}]}]}`))
	eventually(t, "the problem of an expression", func() bool { return strings.Contains(m.problems(t), "undefined field 'pth'") })
	call("/still")
	eventually(t, "the last good rules", func() bool { return counted("") == 71 })
}
