package lab_test

import (
	"net/http"
	"strings"
	"testing"
)

// Telemetry objects decide what sidecars log: for the mesh, a namespace and a workload, for each side of a call, and by what became
// of it. The mesh's own switch is off.
func TestTelemetryObjectsDecideWhatIsLogged(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1}.String()+
		service("server", "10.96.7.1", "app: server", "{name: http, port: 8080, targetPort: web}"))
	const server = "deploy/server-v1"
	logs := func(name, path string) int {
		return len(keep(read(t, m.LogPath(pod(m.find(t, name).Name), "proxy")), "\"GET "+path))
	}
	recorded := func(name string) string {
		return m.cli(t, "proxy-config", "telemetry", m.find(t, name).Name, "-n", "shop")
	}
	call := func(path string) {
		t.Helper()
		m.do(t, client, http.MethodGet, "10.96.7.1:8080", path)
	}
	object := func(name, spec string) string {
		return "---\napiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: " + name + ", namespace: shop}\nspec: " + spec + "\n"
	}

	call("/before")
	m.write(t, "telemetry.yaml", object("all", `{accessLogging: [{providers: [{name: envoy}]}]}`))
	eventually(t, "an object's switch at both ends", func() bool {
		return strings.Count(recorded(client), "text") == 2 && strings.Count(recorded(server), "text") == 2
	})
	call("/logged")
	eventually(t, "a line at both ends", func() bool { return logs(client, "/logged") == 1 && logs(server, "/logged") == 1 })

	m.write(t, "telemetry.yaml", object("all", `{accessLogging: [{providers: [{name: envoy}], match: {mode: SERVER}}]}`)+
		object("server", `{selector: {matchLabels: {app: server}}, accessLogging: [{filter: {expression: "response.code == 404 || request.headers['x-log'] == 'yes'"}}]}`))
	eventually(t, "a workload's filter, and no calls that are made", func() bool {
		return strings.Contains(recorded(client), "off") && strings.Contains(recorded(server), "x-log")
	})
	call("/passed-over")
	m.do(t, client, http.MethodGet, "10.96.7.1:8080", "/wanted", "X-Log: yes")
	eventually(t, "the line that the filter lets through", func() bool { return logs(server, "/wanted") == 1 })
	for _, path := range []string{"/before", "/passed-over"} {
		if n := logs(server, path); n != 0 {
			t.Errorf("the server's sidecar has logged %s %d times", path, n)
		}
	}
	if n := logs(client, "/wanted") + logs(client, "/passed-over"); n != 0 {
		t.Errorf("the client's sidecar has logged %d calls that it made", n)
	}

	m.write(t, "telemetry.yaml", object("all", `{accessLogging: [{filter: {expression: "response.cod == 404"}}]}`))
	eventually(t, "the problem of an expression", func() bool { return strings.Contains(m.problems(t), "undefined field 'cod'") })
}
