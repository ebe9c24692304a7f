package lab_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/traffic/view"
)

// trafficChain is legacy (no sidecar) → web → api → db, and web → old, which is legacy by a Service. To db the hop is opaque TCP.
const (
	chainWebIP, chainAPIIP, chainDBIP, chainOldIP = "10.96.0.161", "10.96.0.162", "10.96.0.163", "10.96.0.164"
	chainLegacy, chainWeb, chainAPI               = "deploy/legacy-v1", "deploy/web-v1", "deploy/api-v1"
)

func startTrafficChain(t *testing.T) *mesh {
	t.Helper()
	return startMesh(t, app{name: "legacy", replicas: 1, bare: true}.String()+app{name: "web", replicas: 1}.String()+app{name: "api", replicas: 2}.String()+
		app{name: "db", replicas: 1, args: `--tcp, "9000"`}.String()+
		service("web", chainWebIP, "app: web", http80)+service("api", chainAPIIP, "app: api", http80)+service("old", chainOldIP, "app: legacy", http80)+
		service("db", chainDBIP, "app: db", "{name: tcp-db, port: 9000}")+
		virtualService("api", `
  http:
  - name: failing
    match: [{uri: {prefix: /status/}}]
    route: [{destination: {host: api}}]
    retries: {attempts: 1, retryOn: "5xx"}
  - route: [{destination: {host: api}}]`))
}

// inJSON runs a command and decodes what it prints.
func inJSON[T any](t *testing.T, m *mesh, args ...string) (v T) {
	t.Helper()
	out := m.cli(t, append(args, "-n", "shop", "-o", "json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("fairlead %q: %v:\n%s", args, err, out)
	}
	return v
}

// TestEdgesAndStatistics: each call of a chain of services, and nothing else, is told of by the command line, without a
// Prometheus: who called whom and how that was secured, how often, and with what success.
func TestEdgesAndStatistics(t *testing.T) {
	t.Parallel()
	m := startTrafficChain(t)
	if out, errOut := m.cliBoth(t, "edges", "deploy", "-n", "shop"); out != "" || !strings.Contains(errOut, "No edges found.\n") {
		t.Errorf("edges of nothing: %q, %q", out, errOut)
	}
	if out, errOut := m.cliBoth(t, "routes", "svc", "-n", "shop"); out != "" || !strings.Contains(errOut, "No traffic found.\n") {
		t.Errorf("routes of nothing: %q, %q", out, errOut)
	}
	uncalled := m.cli(t, "stat", "svc", "-n", "shop")
	if lines := keep(uncalled, "api"); len(lines) != 1 || strings.Join(strings.Fields(lines[0]), " ") != "api - - - - - - -" {
		t.Errorf("stat of Services that nobody has called:\n%s", uncalled)
	}
	const toWeb, toAPI, toOld, failing, bytesToDB = 400, 600, 50, 30, 1000
	m.call(t, chainLegacy, "http://"+chainWebIP+":80/", "--count", strconv.Itoa(toWeb))
	m.call(t, chainWeb, "http://"+chainAPIIP+":80/", "--count", strconv.Itoa(toAPI))
	m.call(t, chainWeb, "http://"+chainOldIP+":80/", "--count", strconv.Itoa(toOld))
	m.call(t, chainWeb, "http://"+chainAPIIP+":80/status/500", "--count", strconv.Itoa(failing))
	conn := m.dialTo(t, chainAPI, chainDBIP+":9000")
	if _, err := conn.Write(bytes.Repeat([]byte("x"), bytesToDB)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, bytesToDB)); err != nil {
		t.Fatal(err)
	}

	ip := m.find(t, chainLegacy).IPs[0].String()
	want := []view.EdgeRow{
		{Src: "api-v1", SrcNamespace: "shop", Dst: "db-v1", DstNamespace: "shop", ClientID: "api.shop", ServerID: "db.shop"},
		{Src: "legacy-v1", SrcNamespace: "shop", Dst: "web-v1", DstNamespace: "shop", NoTLSReason: "Not Provided By Remote"},
		{Src: "web-v1", SrcNamespace: "shop", Dst: "api-v1", DstNamespace: "shop", ClientID: "web.shop", ServerID: "api.shop"},
		{Src: "web-v1", SrcNamespace: "shop", Dst: "legacy-v1", DstNamespace: "shop", NoTLSReason: "Not Provided By Service Discovery"},
	}
	var rows []view.EdgeRow
	eventually(t, "the sidecars to report who called whom", func() bool {
		rows = inJSON[[]view.EdgeRow](t, m, "edges", "deploy")
		return len(rows) >= len(want)
	})
	text := m.cli(t, "viz", "edges", "deploy", "-n", "shop", "-o", "wide")
	for _, words := range [][]string{
		{"SRC", "DST", "SRC_NS", "DST_NS", "CLIENT_ID", "SERVER_ID", "SECURED"},
		{"api-v1", "db-v1", "√"},
		{"web-v1", "api-v1", "web.shop", "√"},
		{"legacy-v1", "web-v1", "plaintext from " + ip + ", not in the mesh"},
	} {
		if len(keep(text, words...)) != 1 {
			t.Errorf("edges -o wide lacks a line with %q:\n%s", words, text)
		}
	}

	for _, tt := range []struct {
		args     string
		requests map[string]uint64
		failures uint64
	}{
		{"deploy", map[string]uint64{"web-v1": toWeb, "api-v1": toAPI + 2*failing, "db-v1": 0, "legacy-v1": toOld}, 2 * failing},
		{"svc", map[string]uint64{"web": toWeb, "api": toAPI + failing, "old": toOld, "db": 0}, failing},
		{"deploy --from deploy/web-v1", map[string]uint64{"web-v1": 0, "api-v1": toAPI + failing, "db-v1": 0, "legacy-v1": toOld}, failing},
		{"deploy/web-v1 --to svc/api", map[string]uint64{"web-v1": toAPI + failing}, failing},
	} {
		got, failures := map[string]uint64{}, uint64(0)
		sum := func(of map[string]uint64) (n uint64) {
			for _, requests := range of {
				n += requests
			}
			return n
		}
		eventually(t, "every sidecar to report all of its calls, for stat "+tt.args, func() bool { // each reports at times of its own
			clear(got)
			failures = 0
			for _, r := range inJSON[[]view.StatRow](t, m, append([]string{"stat", "--since", "10m"}, strings.Fields(tt.args)...)...) {
				got[r.Name] = r.Requests
				failures += r.Failures
			}
			return sum(got) >= sum(tt.requests)
		})
		if fmt.Sprint(got) != fmt.Sprint(tt.requests) || failures != tt.failures {
			t.Errorf("stat %s: %v with %d failures, want %v with %d", tt.args, got, failures, tt.requests, tt.failures)
		}
	}
	if rows = inJSON[[]view.EdgeRow](t, m, "edges", "deploy"); fmt.Sprint(rows) != fmt.Sprint(want) { // all have reported
		t.Errorf("edges:\n got %+v\nwant %+v", rows, want)
	}
	eventually(t, "the sidecar of db to report", func() bool {
		return inJSON[[]view.StatRow](t, m, "stat", "deploy/db-v1", "--since", "10m")[0].TCPConn != nil
	})
	db := inJSON[[]view.StatRow](t, m, "stat", "deploy/db-v1", "--since", "10m")[0]
	if db.TCPConn == nil || *db.TCPConn != 1 || *db.ReadRate == 0 || db.Success != nil {
		t.Errorf("an open connection: %+v", db)
	}

	outbound := m.cli(t, "stat-outbound", chainWeb, "-n", "shop", "--since", "10m")
	if lines := keep(outbound, "web-v1", "api:80", "failing", "0.00%", "100.00%"); len(lines) != 1 { // each was retried once
		t.Errorf("stat-outbound:\n%s", outbound)
	}
	inbound := m.cli(t, "stat-inbound", "deploy", "-n", "shop", "--since", "10m")
	if lines := keep(inbound, "web-v1", "web:8080", "100.00%"); len(lines) != 1 {
		t.Errorf("stat-inbound:\n%s", inbound)
	}
	byRule := inJSON[map[string][]view.RouteRow](t, m, "routes", "svc/api", "--since", "10m")["svc/api"]
	if len(byRule) != 2 || byRule[0].Route != "failing" || byRule[0].Requests != failing || byRule[1].Route != view.DefaultRoute || byRule[1].Requests != toAPI {
		t.Errorf("routes svc/api: %+v", byRule)
	}
	if a := m.do(t, chainWeb, http.MethodGet, chainAPIIP+":80", "/"); a.StatusCode != http.StatusOK {
		t.Errorf("status %d", a.StatusCode)
	}
}

// cliBoth runs the fairlead command and gives what it wrote to both of its streams.
func (m *mesh) cliBoth(t *testing.T, args ...string) (out, errOut string) {
	t.Helper()
	cmd := m.cliCommand(t, args...)
	var both [2]bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both[0], &both[1]
	if err := cmd.Run(); err != nil {
		return both[0].String(), both[1].String() + err.Error()
	}
	return both[0].String(), both[1].String()
}

// TestQuestionsAboutTrafficThatCannotBeAnswered: one line each, that says what to do.
func TestQuestionsAboutTrafficThatCannotBeAnswered(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String())
	for args, want := range map[string]string{
		"edges":                        "a kind is missing: fairlead edges deploy",
		"edges widgets":                `cannot find the kind "widgets": use one of`,
		"edges deploy/client-v1":       "Edges cannot be returned for a specific resource name; remove client-v1 from query",
		"edges svc":                    "edges are between workloads",
		"stat":                         "a resource is missing",
		"stat deploy/nobody":           `deployment "nobody" not found in namespace shop; there are: client-v1`,
		"stat deploy -t 5s":            "the time window needs to be at least 15s",
		"stat deploy -t 2h":            "the control plane keeps 1h",
		"stat deploy --since 1m -t 1m": "mean the same",
		"stat deploy -l ===":           "is no selector",
		"stat deploy --to a --from b":  "exclude each other",
		"stat deploy --to widgets/x":   `--to: cannot find the kind "widgets"`,
		"routes deploy -o wide":        "needs --to",
		"stat-outbound job/x":          `job "x" not found: there is no job in namespace shop`,
	} {
		out, errOut := m.cliBoth(t, append(strings.Fields(args), "-n", "shop")...)
		line, rest, _ := strings.Cut(strings.TrimPrefix(errOut, ""), "\n")
		for strings.HasPrefix(line, "fairlead: the control plane has data of the last") { // it has just begun
			line, rest, _ = strings.Cut(rest, "\n")
		}
		if out != "" || !strings.Contains(line, want) || rest != "exit status 1" {
			t.Errorf("fairlead %s: %q, %q, want one line with %q", args, out, errOut, want)
		}
	}
}
