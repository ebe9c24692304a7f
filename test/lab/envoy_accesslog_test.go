//go:build envoy

package lab_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/test/envoy"
)

// loggedFormats are formats of which a sidecar and an Envoy know the same of a call. Each is a member of an object, and all of them
// are one text.
func loggedFormats() map[string]string {
	return map[string]string{
		"method": "%REQ(:METHOD)%", "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "authority": "%REQ(:AUTHORITY)%", "scheme": "%REQ(:SCHEME)%",
		"agent": "%REQ(USER-AGENT)%", "cut": "%REQ(X-LONG):5%", "or": "%REQ(X-GONE?X-LONG):3%", "gone": "%REQ(X-GONE)%", "number": "%REQ(X-NUMBER)%",
		"type": "%RESP(CONTENT-TYPE)%", "says": "%RESP(x-app?x-other)%", "code": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%", "long": "%RESPONSE_FLAGS_LONG%",
		"details": "%RESPONSE_CODE_DETAILS%", "protocol": "%PROTOCOL%", "received": "%BYTES_RECEIVED%", "sent": "%BYTES_SENT%",
		"host": "%UPSTREAM_HOST%", "port": "%UPSTREAM_REMOTE_PORT%", "ip": "%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
		"failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%", "sni": "%REQUESTED_SERVER_NAME%", "trailer": "%TRAILER(X-GONE)%",
		"grpc": "%GRPC_STATUS%", "snake": "%GRPC_STATUS(SNAKE_STRING)%", "grpc_number": "%GRPC_STATUS(NUMBER)%", "grpc_status": "%GRPC_STATUS_NUMBER%",
		"whole": "%PATH%", "bare": "%PATH(NQ)%", "own": "%PATH(NQ:PATH):3%", "original": "%PATH(WQ:ORIG)%",
		"query": "%QUERY_PARAM(a)%", "query_b": "%QUERY_PARAM(b):3%", "query_c": "%QUERY_PARAM(c)%", "query_d": "%QUERY_PARAM(d d)%", "query_case": "%QUERY_PARAM(A)%",
		"query_5": "%QUERY_PARAM(e)%",
		"onward":  "%UPSTREAM_PROTOCOL%", "client_id": "%DOWNSTREAM_PEER_URI_SAN%", "own_id": "%DOWNSTREAM_LOCAL_URI_SAN%",
		"type_of_log": "%ACCESS_LOG_TYPE%", "virtual": "%VIRTUAL_CLUSTER_NAME%",
		"year": "%START_TIME(%Y)%", "day": "%START_TIME(%d/%b/%Y 100%%)%",
		"mixed": "%REQ(:METHOD)% \"%REQ(X-GONE)%\" %RESPONSE_CODE%%RESPONSE_FLAGS% 100%%", "plain": "as it is", "empty": "",
	}
}

// TestEnvoyAccessLogs has a sidecar and an Envoy log the same calls by the same formats, as objects and as text.
func TestEnvoyAccessLogs(t *testing.T) {
	t.Parallel()
	path, err := envoy.Binary()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary("endpoint"), "fairlead.dev/fairlead/test/envoy/endpoint").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	formats := loggedFormats()
	text := "text"
	var textSb48 strings.Builder
	for _, name := range slices.Sorted(maps.Keys(formats)) {
		textSb48.WriteString("|" + name + "=" + formats[name])
	}
	text += textSb48.String()
	providers, _ := json.Marshal([]any{
		map[string]any{"name": "objects", "envoyFileAccessLog": map[string]any{"logFormat": map[string]any{"labels": formats}}},
		map[string]any{"name": "texts", "envoyFileAccessLog": map[string]any{"logFormat": map[string]any{"text": text}}},
	})
	m := startMesh(t, app{name: "client", replicas: 1}.String()+program("endpoint", "app: endpoint", binary("endpoint"), "8080")+
		service("endpoint", "10.96.14.1", "app: endpoint", "{name: http, port: 80, targetPort: 8080}"),
		withMesh("mesh.extensionProviders="+string(providers), `mesh.defaultProviders={"accessLogging": ["objects", "texts"]}`))
	upstream := netip.AddrPortFrom(m.find(t, "endpoint").IPs[0], 8080)
	const logType = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
	logs := func(format envoy.Tree) envoy.Tree {
		return envoy.Tree{"name": "envoy.access_loggers.stdout", "typed_config": envoy.Tree{"@type": logType, "log_format": format}}
	}
	members := envoy.Tree{}
	for name, format := range formats {
		members[name] = format
	}
	listener := envoy.Logged(envoy.Listener(20000, "endpoint", 0), envoy.List{
		logs(envoy.Tree{"json_format": members}), logs(envoy.Tree{"text_format_source": envoy.Tree{"inline_string": text + "\n"}}),
	})
	args, err := envoy.Bootstrap{Listeners: envoy.List{listener}, Clusters: envoy.List{envoy.Cluster("endpoint", []netip.AddrPort{upstream}, envoy.HTTP1(), nil)}}.Args()
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "oracle.yaml", program(oracle, "app: oracle", append([]string{path}, args...)...))
	admin := envoy.Admin{Client: m.client(t, oracle, "127.0.0.1:19901")}
	eventually(t, "Envoy to be ready", func() bool { return admin.Ready(t.Context()) == nil })

	calls := []struct {
		method, path string
		header       []string
	}{
		{http.MethodGet, "/plain", nil},
		{http.MethodGet, "/more?a=b", []string{"X-Long: abcdefgh", "X-Number: 17", "User-Agent: curl/8", "X-Says: x-app: said", "X-Says: content-type: text/x"}},
		{http.MethodPost, "/missing", []string{"X-Answers: *=404", "X-Long: ab", "X-Says: x-other: it"}},
		{http.MethodGet, "/broken", []string{"X-Answers: *=503"}},
		{http.MethodPost, "/grpc", []string{"Content-Type: application/grpc", "X-Answers: *=grpc=4"}},
		{http.MethodPost, "/grpc-ok", []string{"Content-Type: application/grpc"}},
		{http.MethodGet, "/odd%22%20path", []string{`User-Agent: a\b`}},
		{http.MethodGet, "/queries?a=1&b=a%20b+c&c&d%20d=%zz%4&a=2&e=%5b%41", nil},
		{http.MethodGet, "/query-2?&&=x&a=&b=%7axyz&c=%c3%a9&e==1;2", nil},
	}
	file := m.LogPath(pod(m.find(t, "deploy/client-v1").Name), "proxy")
	for _, c := range calls {
		for _, from := range [][2]string{{oracle, "127.0.0.1:20000"}, {client, "10.96.14.1:80"}} {
			if _, err := request(t.Context(), m.client(t, from[0], from[1]), c.method, "http://endpoint"+c.path, c.header...); err != nil {
				t.Fatalf("%s from %s: %v", c.path, from[0], err)
			}
		}
	}
	for _, c := range calls {
		for _, form := range []string{"{", "text|"} {
			line := func(file string) string {
				for _, l := range keep(read(t, file), c.path) {
					if strings.HasPrefix(l, form) {
						return l
					}
				}
				return ""
			}
			oracleFile := m.LogPath(pod(oracle), "app")
			eventually(t, "lines of "+c.path, func() bool { return line(file) != "" && line(oracleFile) != "" })
			if diff := cmp.Diff(fieldsOfLine(t, line(oracleFile)), fieldsOfLine(t, line(file))); diff != "" {
				t.Errorf("%s, %s (-Envoy +sidecar):\n%s", c.path, form, diff)
			}
		}
	}
}

// fieldsOfLine takes a line apart: an object, or texts.
func fieldsOfLine(t *testing.T, line string) any {
	t.Helper()
	if !strings.HasPrefix(line, "{") {
		return strings.Split(line, "|")
	}
	var out map[string]any
	if err := json.Unmarshal([]byte(line), &out); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return out
}
