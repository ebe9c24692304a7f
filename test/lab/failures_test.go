package lab_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/admin"
)

// TestFailedCallsAreRemembered: what an app answers badly, what no endpoint can answer, and what is cut are told by the
// sidecars on both ends, with the cause, and what is well is not.
func TestFailedCallsAreRemembered(t *testing.T) {
	t.Parallel()
	const ip, emptyIP = "10.96.0.145", "10.96.0.146"
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1}.String()+
		service("server", ip, "app: server", http80)+service("empty", emptyIP, "app: nobody", http80))
	m.do(t, client, http.MethodGet, ip+":80", "/well")
	remembered := func(name string) (got []admin.Failure) {
		if err := json.Unmarshal([]byte(m.cli(t, "errors", name, "-n", "shop", "-o", "json")), &got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	// Each is remembered before the next one is made, for a sidecar does so behind the answer.
	for i, call := range []struct{ address, path string }{{ip + ":80", "/status/500"}, {emptyIP + ":80", "/none"}, {ip + ":80", "/status/503?q=1"}} {
		m.do(t, client, http.MethodGet, call.address, call.path, "X-Request-Id: of"+call.path)
		eventually(t, call.path+" to be remembered", func() bool {
			return len(remembered(client)) == i+1 && len(remembered("deploy/server-v1")) == i/2+1
		})
	}
	type told struct{ direction, path, flags, source, destination string }
	for name, want := range map[string][]told{
		client: {
			{"outbound", "/status/503?q=1", "", "client-v1.shop", "server-v1.shop"},
			{"outbound", "/none", "UH", "client-v1.shop", ""},
			{"outbound", "/status/500", "", "client-v1.shop", "server-v1.shop"},
		},
		"deploy/server-v1": {
			{"inbound", "/status/503?q=1", "", "client-v1.shop", "server-v1.shop"},
			{"inbound", "/status/500", "", "client-v1.shop", "server-v1.shop"},
		},
	} {
		var got []admin.Failure
		eventually(t, name+" to remember", func() bool {
			got = remembered(name)
			return len(got) == len(want)
		})
		for i, f := range got {
			if (told{f.Direction, f.Path, f.Flags, f.Source, f.Destination}) != want[i] || f.RequestID != "of"+f.Path || f.Client == "" {
				t.Errorf("%s: failure %d is %+v, want %+v", name, i, f, want[i])
			}
		}
	}
	text := m.cli(t, "errors", client, "-n", "shop", "--status", "503", "--direction", "outbound")
	for _, want := range []string{"503 UH", "GET " + emptyIP + ":80/none", "no healthy upstream", "the endpoint answered so"} {
		if !strings.Contains(text, want) {
			t.Errorf("the table lacks %q:\n%s", want, text)
		}
	}
	if text := m.cli(t, "errors", client, "-n", "shop", "--direction", "inbound"); !strings.HasPrefix(text, "none of the last 3 failed calls") {
		t.Errorf("of none: %s", text)
	}
	if text := m.cli(t, "errors", client, "-n", "shop", "--not", "--status", "503"); strings.Contains(text, "/none") || !strings.Contains(text, "/status/500") {
		t.Errorf("those that are not 503: %s", text)
	}

	follow := m.watch(t, "errors", client, "-n", "shop", "--follow", "--last", "1")
	eventually(t, "the latest failure", func() bool { return len(follow.lines("/status/503?q=1")) == 1 })
	m.do(t, client, http.MethodGet, ip+":80", "/status/501")
	eventually(t, "one that comes", func() bool { return len(follow.lines("/status/501")) == 1 })
	for _, path := range []string{"/fine", "/status/502"} {
		m.do(t, client, http.MethodGet, ip+":80", path)
	}
	eventually(t, "another one", func() bool { return len(follow.lines("/status/502")) == 1 })
	if lines := follow.lines("GET "); len(lines) != 3 || !strings.Contains(lines[1], "/status/501") {
		t.Errorf("followed %q, want the latest of before, 501 and 502", lines)
	}
}

// TestLogLevel: a sidecar that runs is told to log more, and says so.
func TestLogLevel(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String())
	for _, step := range []struct{ flags, want string }{
		{"", "level: info (at the beginning: info)"},
		{"--level=debug", "level: debug (at the beginning: info)"},
		{"", "level: debug (at the beginning: info)"},
		{"--reset", "level: info (at the beginning: info)"},
	} {
		args := []string{"proxy-config", "log", client, "-n", "shop"}
		if step.flags != "" {
			args = append(args, step.flags)
		}
		if got := strings.TrimSpace(m.cli(t, args...)); got != step.want {
			t.Errorf("log %s: %q, want %q", step.flags, got, step.want)
		}
	}
}
