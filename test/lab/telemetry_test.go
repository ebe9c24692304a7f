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

// Telemetry objects decide about traces: how many, of which side, with which tags, and where they go. A provider that is not there
// is a problem of the object.
func TestTelemetryObjectsDecideAboutTraces(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1}.String()+zipkinPod()+
		service("server", "10.96.12.1", "app: server", "{name: http, port: 8080, targetPort: web}"),
		withMesh("tracing.zipkin.endpoint=collector.shop:9411", "tracing.sampling=0"))
	const server = "deploy/server-v1"
	recorded := func(name string) string {
		return m.cli(t, "proxy-config", "telemetry", m.find(t, name).Name, "-n", "shop")
	}
	call := func(path string) {
		t.Helper()
		m.do(t, client, http.MethodGet, "10.96.12.1:8080", path, "X-Tenant: blue")
	}
	// In force at both ends: what the sidecar of each says of its sides.
	inForce := func(spec, ofClient, ofServer string) {
		t.Helper()
		m.write(t, "telemetry.yaml", "---\napiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: all, namespace: shop}\nspec: "+spec+"\n")
		eventually(t, "at both ends "+ofClient+" and "+ofServer, func() bool {
			return holdsSides(recorded(client), ofClient, ofServer) && holdsSides(recorded(server), ofClient, ofServer)
		})
	}
	spansOf := func(path, want string) {
		t.Helper()
		eventually(t, path+": "+want, func() bool {
			spans, _ := m.sentSpans(t, "collector")
			return tracesOf(spans, path) == want
		})
	}

	call("/untraced")
	inForce(`{tracing: [{randomSamplingPercentage: 100, customTags: {tenant: {header: {name: x-tenant}}, team: {literal: {value: red}}}}]}`, "100% to zipkin", "100% to zipkin")
	call("/traced")
	spansOf("/traced", "1 CLIENT, 1 SERVER, 1 of those behind a CLIENT")
	inForce(`{tracing: [{randomSamplingPercentage: 100}, {match: {mode: CLIENT}, disableSpanReporting: true}]}`, "100%, not sent", "100% to zipkin")
	call("/called")
	spansOf("/called", "0 CLIENT, 1 SERVER, 0 of those behind a CLIENT")

	inForce(`{tracing: [{randomSamplingPercentage: 100, providers: [{name: jaeger}]}]}`, "passed on", "passed on")
	call("/nowhere")
	eventually(t, "one problem of a provider that is not there", func() bool {
		return strings.Count(m.problems(t), `no provider of the mesh that spans can be sent to is called "jaeger": none are sent (write one of those that the mesh has: zipkin)`) == 1
	})
	m.write(t, "telemetry.yaml", "---\napiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: all, namespace: shop}\nspec: {tracing: [{randomSamplingPercentage: 101}]}\n")
	eventually(t, "the problem of a percentage", func() bool { return strings.Contains(m.problems(t), "101 is not a percentage") })
	inForce(`{tracing: [{randomSamplingPercentage: 100}]}`, "100% to zipkin", "100% to zipkin")
	call("/last")
	spansOf("/last", "1 CLIENT, 1 SERVER, 1 of those behind a CLIENT")

	spans, _ := m.sentSpans(t, "collector")
	for _, s := range spans {
		switch path := s.Tags["http.url"]; {
		case strings.HasSuffix(path, "/untraced"), strings.HasSuffix(path, "/nowhere"):
			t.Errorf("a span of %s", path)
		case strings.HasSuffix(path, "/traced") && (s.Tags["tenant"] != "blue" || s.Tags["team"] != "red"):
			t.Errorf("a span with the tags %v", s.Tags)
		}
	}
}

// holdsSides reports whether the table of proxy-config telemetry says so of both sides.
func holdsSides(table, ofClient, ofServer string) bool {
	client, server := "", ""
	for line := range strings.Lines(table) {
		switch {
		case strings.HasPrefix(line, "CLIENT "):
			client = line
		case strings.HasPrefix(line, "SERVER "):
			server = line
		}
	}
	return strings.Contains(client, ofClient) && strings.Contains(server, ofServer)
}

// Access logs in formats of their own: the mesh's, a provider's for one namespace, and an object that names none of the mesh's.
func TestFormatsOfAccessLogs(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1}.String()+
		service("server", "10.96.13.1", "app: server", "{name: http, port: 8080, targetPort: web}"),
		withMesh("mesh.accessLog=text", "mesh.accessLogFormat=%REQ(:METHOD)% of %REQ(:PATH)% by %REQ(x-gone?USER-AGENT):4% is %RESPONSE_CODE% of %PROTOCOL% %REQ(X-GONE)% 100%%",
			`mesh.extensionProviders=[{"name": "codes", "envoyFileAccessLog": {"logFormat": {"labels": {"code": "%RESPONSE_CODE%", "path": "%REQ(:PATH)%", "gone": "%REQ(X-GONE)%"}}}},
				{"name": "ids", "envoyFileAccessLog": {"logFormat": {"text": "%REQ_WITHOUT_QUERY(:PATH)% q=%QUERY_PARAM(q)% of %DOWNSTREAM_PEER_URI_SAN% to %DOWNSTREAM_LOCAL_URI_SAN%, %UPSTREAM_PROTOCOL% of %UPSTREAM_LOCAL_URI_SAN% to %UPSTREAM_PEER_URI_SAN%"}}}]`))
	linesOf := func(name, path string) []string {
		return keep(read(t, m.LogPath(pod(m.find(t, name).Name), "proxy")), path)
	}
	lines := func(path string) []string { return linesOf("deploy/server-v1", path) }
	call := func(path string) {
		t.Helper()
		m.do(t, client, http.MethodGet, "10.96.13.1:8080", path, "User-Agent: crawler")
	}
	object := func(provider string) {
		m.write(t, "telemetry.yaml", "---\napiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: all, namespace: shop}\nspec: {accessLogging: [{providers: [{name: "+provider+"}]}]}\n")
	}
	call("/mesh")
	eventually(t, "a line as the mesh says", func() bool {
		got := lines("/mesh")
		return len(got) == 1 && strings.TrimSpace(got[0]) == "GET of /mesh by craw is 200 of HTTP/1.1 - 100%"
	})
	object("codes")
	eventually(t, "the provider at both ends", func() bool {
		return strings.Count(m.cli(t, "proxy-config", "telemetry", m.find(t, "deploy/server-v1").Name, "-n", "shop"), "custom json (codes)") == 2
	})
	call("/codes")
	eventually(t, "a line as the provider says", func() bool {
		got := lines("/codes")
		return len(got) == 1 && strings.TrimSpace(got[0]) == `{"code":200,"gone":null,"path":"/codes"}`
	})
	object("ids")
	eventually(t, "the identities at both ends", func() bool {
		return strings.Count(m.cli(t, "proxy-config", "telemetry", m.find(t, "deploy/server-v1").Name, "-n", "shop"), "custom text (ids)") == 2 &&
			strings.Count(m.cli(t, "proxy-config", "telemetry", m.find(t, client).Name, "-n", "shop"), "custom text (ids)") == 2
	})
	call("/ids?q=a%20b")
	const clientID, serverID = "spiffe://cluster.local/ns/shop/sa/client", "spiffe://cluster.local/ns/shop/sa/server"
	for name, want := range map[string]string{
		client:             "/ids q=a b of - to -, HTTP/1.1 of " + clientID + " to " + serverID,
		"deploy/server-v1": "/ids q=a b of " + clientID + " to " + serverID + ", HTTP/1.1 of - to -",
	} {
		eventually(t, "identities as "+name+" knows them", func() bool {
			got := linesOf(name, "/ids")
			return len(got) == 1 && strings.TrimSpace(got[0]) == want
		})
	}
	object("elsewhere")
	eventually(t, "the problem of a provider", func() bool {
		return strings.Count(m.problems(t), `no provider for access logs is called "elsewhere": nothing is logged there (write envoy for the sidecar's standard output, or codes, or ids)`) == 1
	})
}
