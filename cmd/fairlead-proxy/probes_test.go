package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/appprobe"
)

func TestAppProbes(t *testing.T) {
	got, err := appProbes(`{
		"/app-health/app/readyz": {"httpGet": {"path": "/ready", "port": 8080, "host": "h", "scheme": "HTTPS",
			"httpHeaders": [{"name": "X-Token", "value": "a"}]}, "timeoutSeconds": 3},
		"/app-health/app/livez": {"tcpSocket": {"port": 9000}},
		"/app-health/side/startupz": {"grpc": {"port": 9090, "service": "users"}}
	}`)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]appprobe.Probe{
		"/app-health/app/readyz": {
			HTTP: &appprobe.HTTPGet{
				Path: "/ready", Port: 8080, Host: "h", Scheme: "HTTPS",
				Headers: []appprobe.Header{{Name: "X-Token", Value: "a"}},
			},
			Timeout: 3 * time.Second,
		},
		"/app-health/app/livez":     {TCP: &appprobe.TCPSocket{Port: 9000}},
		"/app-health/side/startupz": {GRPC: &appprobe.GRPC{Port: 9090, Service: "users"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("appProbes (-want +got):\n%s", diff)
	}
	if got, err := appProbes(""); len(got) != 0 || err != nil {
		t.Errorf("appProbes of nothing = %v, %v", got, err)
	}
}

func TestAppProbesNamesTheMistake(t *testing.T) {
	tests := []struct{ name, value, want string }{
		{"no JSON", `{`, "FAIRLEAD_APP_PROBES: not a JSON object"},
		{"no object", `[]`, "FAIRLEAD_APP_PROBES: not a JSON object"},
		{"wrong type", `{"/app-health/app/livez": {"httpGet": {"port": "web"}}}`, "FAIRLEAD_APP_PROBES: /app-health/app/livez: json: cannot unmarshal string into Go struct field .httpGet.port"},
		{"port out of range", `{"/app-health/app/livez": {"tcpSocket": {"port": 70000}}}`, "tcpSocket.port"},
		{"unknown field", `{"/app-health/app/livez": {"exec": {}}}`, `FAIRLEAD_APP_PROBES: /app-health/app/livez: json: unknown field "exec"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := appProbes(tt.value); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("appProbes(%s) = %v, want %q", tt.value, err, tt.want)
			}
		})
	}
}
