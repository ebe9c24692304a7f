package incluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
users: [{name: u, user: {token: secret}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
`

func TestConfig(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tc := range []struct{ name, file, host, err string }{
		{name: "a_file", file: write("good", kubeconfig), host: "https://192.0.2.1:6443"},
		{name: "no_such_file", file: filepath.Join(dir, "none"), err: "none: no such file: check --kubeconfig and KUBECONFIG"},
		{name: "not_yaml", file: write("bad", "{"), err: "kubeconfig " + filepath.Join(dir, "bad") + ": "},
		{name: "an_empty_file", file: write("empty", ""), err: "no current-context"},
		{
			name: "a_context_that_is_not_there", file: write("wrong", strings.Replace(kubeconfig, "current-context: c", "current-context: d", 1)),
			err: "context was not found for specified context: d",
		},
		{name: "not_in_a_pod", err: "this is no pod of a cluster"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := Config(tc.file)
			if tc.err != "" {
				wantError(t, err, tc.err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Host != tc.host || c.QPS != 50 || c.Burst != 100 || !strings.HasPrefix(c.UserAgent, "fairlead-controller/") {
				t.Errorf("Config = %s at %v/%v as %s", c.Host, c.QPS, c.Burst, c.UserAgent)
			}
		})
	}
}

func TestConfigInAPodWithoutToken(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "192.0.2.1")
	t.Setenv("KUBERNETES_SERVICE_PORT", "443")
	_, err := Config("")
	wantError(t, err, "automountServiceAccountToken: true")
}

func TestNativeSidecars(t *testing.T) {
	for _, tc := range []struct {
		name, major, minor string
		want               bool
		err                string
	}{
		{name: "before", major: "1", minor: "28", want: false},
		{name: "first", major: "1", minor: "29", want: true},
		{name: "of_a_provider", major: "1", minor: "29+", want: true},
		{name: "later", major: "1", minor: "34", want: true},
		{name: "next_major", major: "2", minor: "0", want: true},
		{name: "not_a_number", major: "1", minor: "x", err: `minor "x"`},
		{name: "nothing", err: `major ""`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newAPI(t)
			a.objects["/version"] = object{"major": tc.major, "minor": tc.minor}
			got, err := NativeSidecars(t.Context(), a.client())
			if tc.err != "" {
				wantError(t, err, tc.err)
			} else if err != nil || got != tc.want {
				t.Errorf("NativeSidecars = %t, %v, want %t", got, err, tc.want)
			}
		})
	}
	a := newAPI(t)
	a.refuse(away)
	_, err := NativeSidecars(t.Context(), a.client())
	wantError(t, err, "API server not reached: connection refused")
}
