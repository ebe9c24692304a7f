package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const twoObjects = `apiVersion: v1
kind: Service
metadata: {name: orders}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders}
spec:
  template:
    spec:
      containers:
      - {name: app, image: "shop/orders:1"}
`

// ran is what a command wrote and how it ended.
type ran struct {
	out, err string
	code     int
}

func runCLI(tb testing.TB, in string, args ...string) ran {
	tb.Helper()
	var out, errs bytes.Buffer
	code := Execute(tb.Context(), args, Streams{In: strings.NewReader(in), Out: &out, Err: &errs, Version: "v0"})
	return ran{out.String(), errs.String(), code}
}

func write(tb testing.TB, dir, name, text string) string {
	tb.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

func TestInject(t *testing.T) {
	got := runCLI(t, twoObjects, "inject", "--set", "image=fairlead/proxy:v0", "-n", "myapp", "-f", "-")
	want := "stdin: Service orders: skipped: no pods\nstdin: Deployment myapp/orders: injected: native sidecar\n"
	if got.code != 0 || got.err != want || !strings.Contains(got.out, "image: fairlead/proxy:v0\n") {
		t.Fatalf("inject = %d, said\n%s, want\n%s\nwrote\n%s", got.code, got.err, want, got.out)
	}
	if !strings.HasPrefix(got.out, "apiVersion: v1\nkind: Service\nmetadata: {name: orders}\n---\n") {
		t.Errorf("the Service changed:\n%s", got.out)
	}
	if again := runCLI(t, got.out, "inject", "--set", "image=fairlead/proxy:v0", "-f", "-"); again.out != got.out || !strings.Contains(again.err, "skipped: the pod has a sidecar already") {
		t.Errorf("inject twice said %s", again.err)
	}
	back := runCLI(t, got.out, "uninject", "-f", "-")
	if back.code != 0 || back.out != twoObjects || !strings.HasSuffix(back.err, "Deployment default/orders: uninjected\n") {
		t.Errorf("uninject = %d, said\n%s, wrote\n%s", back.code, back.err, back.out)
	}
}

func TestInjectDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "b.yaml", strings.TrimSuffix(twoObjects, "\n"))
	write(t, dir, "c.json", `{"kind": "Pod", "metadata": {"name": "one"}, "spec": {"hostNetwork": true, "containers": [{"name": "app"}]}}`)
	write(t, dir, "notes.txt", "kind: [")
	config := write(t, t.TempDir(), "injector.yaml", "image: a:1\nlogLevel: debug\n")
	got := runCLI(t, "", "inject", "--config", config, "--set", "image=registry.local/proxy:v9", "--set", "cni=true", "--native=false", "-f", dir)
	if got.code != 0 {
		t.Fatalf("inject = %d: %s", got.code, got.err)
	}
	for _, want := range []string{
		"image: registry.local/proxy:v9", "--log-level=debug", "name: fairlead-validation", "\n---\n{\"kind\"",
	} {
		if !strings.Contains(got.out, want) {
			t.Errorf("nothing says %q:\n%s", want, got.out)
		}
	}
	if !strings.Contains(got.err, "c.json: Pod default/one: skipped: hostNetwork") {
		t.Errorf("said\n%s", got.err)
	}
}

func TestInjectRefuses(t *testing.T) {
	bad := strings.Replace(twoObjects, "    spec:\n", "    metadata: {annotations: {fairlead.dev/drain: '5', fairlead.dev/x: z}}\n    spec:\n", 1)
	path := write(t, t.TempDir(), "bad.yaml", bad)
	config := write(t, t.TempDir(), "injector.yaml", "imagee: a:1\n")
	image := []string{"--set", "image=a:1", "-f", path}
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"no_image", []string{"-f", path}, "injector configuration: image: is not set; write REGISTRY/NAME:TAG, where the sidecar's image is (fairlead inject --set image=…)"},
		{"a_bad_annotation", image, path + `: Deployment orders: annotation fairlead.dev/drain: "5" is no duration; write 5s or 1m30s`},
		{"nothing_to_do", []string{"--set", "image=a:1"}, "nothing to read: name files or directories with -f, or - for standard input"},
		{"a_missing_file", []string{"--set", "image=a:1", "-f", "/nowhere.yaml"}, "-f: lstat /nowhere.yaml: no such file or directory"},
		{"a_bad_configuration", []string{"--config", config, "-f", path}, "injector configuration: imagee: unknown field, did you mean image?"},
		{"a_bad_field", []string{"--set", "drain=5", "-f", path}, "injector configuration: drain: 5 is no duration; write 5s or 1m30s"},
		{"bad_labels", append([]string{"--namespace-labels", "a"}, image...), "--namespace-labels a: write KEY=VALUE,KEY=VALUE: invalid selector: [a]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := runCLI(t, "", append([]string{"inject"}, tt.args...)...)
			if got.code != 1 || got.out != "" || !strings.HasSuffix(got.err, "fairlead: "+tt.want+"\n") {
				t.Errorf("inject = %d, wrote %q, said\n%s, want\n%s", got.code, got.out, got.err, tt.want)
			}
		})
	}
}

func TestInjectAsksTheNamespace(t *testing.T) {
	got := runCLI(t, twoObjects, "inject", "--set", "image=a:1", "--namespace-labels", "team=a", "-f", "-")
	if got.out != twoObjects || !strings.Contains(got.err, "skipped: neither namespace default nor the pod has the label fairlead.dev/inject: enabled") {
		t.Errorf("inject said %s", got.err)
	}
}
