package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/lab"
	"fairlead.dev/fairlead/internal/leaktest"
)

// TestMain lets the test binary be the fairlead command of the labs that the tests start.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || strings.HasPrefix(os.Args[1], "-test.") {
		os.Exit(leaktest.Run(m.Run))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	code := Execute(ctx, os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()})
	stop()
	syscall.Exit(code) // not os.Exit: the race detector would sleep for a second
}

// run executes one command line.
func run(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = Execute(t.Context(), args, Streams{In: strings.NewReader(stdin), Out: &out, Err: &errOut, Environ: os.Environ(), Brief: time.Minute})
	return code, out.String(), errOut.String()
}

const manifests = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: fairlead.dev/demo-app, readinessProbe: {httpGet: {path: /healthz, port: 8080}}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
`

// halfGood is an object that can be applied and one that the control plane refuses.
const halfGood = `apiVersion: v1
kind: Service
metadata: {name: good}
spec: {selector: {app: web}, ports: [{port: 81}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: bad}
spec: {host: web, trafficPolicy: {connectionPool: {tcp: {maxConnections: -1}}}}
`

func TestLabCommands(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "all.yaml")
	if err := os.WriteFile(path, []byte(manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	// The flag that chooses the lab works in any place.
	inLab := func(args ...string) []string { return append([]string{"--state-dir", state}, args...) }
	t.Cleanup(func() {
		Execute(context.WithoutCancel(t.Context()), inLab("lab", "down"), Streams{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}})
	})
	for _, step := range []struct {
		name  string
		stdin string
		args  []string
		code  int
		want  string // in what is printed
	}{
		{"status_before", "", inLab("lab", "status"), 1, `fairlead: lab "lab" is not running; start it with: fairlead lab up -f DIR`},
		{"up_without_files", "", inLab("lab", "up"), 1, "a flag is missing: -f, --filename"},
		{"up_with_missing_files", "", inLab("lab", "up", "--plain", "-f", dir+"/none"), 1, "no such file or directory"},
		{"up", "", inLab("lab", "up", "--plain", "-f", dir), 0, `lab "lab" is ready: 1 pods in `},
		{"up_twice", "", inLab("lab", "up", "--plain", "-f", dir), 1, `lab "lab" is already running`},
		{"status", "", inLab("lab", "status"), 0, "NAMESPACE   NAME"},
		{"status_of_another_namespace", "", inLab("lab", "status", "-n", "none", "-o", "json"), 0, `"pods": []`},
		{"status_in_a_strange_form", "", inLab("lab", "status", "-o", "xml"), 1, "use one of table, json, yaml"},
		{"exec_namespace_after", "", inLab("lab", "exec", "deploy/web", "-n", "shop", "--", "hostname"), 0, "web-"},
		{"exec_namespace_before", "", inLab("-n", "shop", "lab", "exec", "deploy/web", "--", "hostname"), 0, "web-"},
		{"exec_input", "typed\n", inLab("lab", "exec", "deploy/web", "-n", "shop", "--", "cat"), 0, "typed\n"},
		{"exec_code", "", inLab("lab", "exec", "deploy/web", "-n", "shop", "--", "sh", "-c", "exit 9"), 9, ""},
		{"exec_in_the_wrong_namespace", "", inLab("lab", "exec", "deploy/web", "--", "true"), 1, `no pod "deploy/web" in namespace "default"`},
		{"call", "", inLab("lab", "exec", "deploy/web", "-n", "shop", "--", "fairlead", "demo-app", "call", "http://web/"), 0, "1 ok, 0 failed"},
		{"logs_of_a_missing_container", "", inLab("lab", "logs", "deploy/web", "-n", "shop", "-c", "proxy"), 1, `no log of container "proxy"`},
		{"logs", "", inLab("lab", "logs", "deploy/web", "-n", "shop"), 0, ""},
		{"capture", "", inLab("lab", "capture", "deploy/web", "-n", "shop", "--for", "1ms"), 0, "DIRECTION   POD"},
		{"controller", "", inLab("lab", "controller", "stop"), 1, "this lab has no control plane"},
		{"controller_verb", "", inLab("lab", "controller", "restart"), 1, `"restart": use one of stop, start, kill`},
		{"complete_pods", "", inLab("__complete", "lab", "exec", "-n", "shop", "d"), 0, "deploy/web\n"},
		{"complete_pods_of_another_namespace", "", inLab("__complete", "lab", "logs", ""), 0, ":4\n"},
		{"complete_labs", "", inLab("__complete", "lab", "status", "--name", ""), 0, "lab\n:4\n"},
		{"complete_forms", "", inLab("__complete", "lab", "status", "-o", ""), 0, "table\njson\nyaml\n:4\n"},
		{"kill", "", inLab("lab", "kill", "deploy/web", "-n", "shop"), 0, "killed"},
		{"delete", "", inLab("lab", "delete", "-f", path), 0, "Deployment shop/web deleted"},
		{"apply", "", inLab("lab", "apply", "-f", path), 0, "Deployment shop/web applied"},
		{"apply_from_input_in_a_namespace", "apiVersion: v1\nkind: Service\nmetadata: {name: more}\nspec: {selector: {app: web}, ports: [{port: 81}]}\n", inLab("lab", "apply", "-f", "-", "-n", "shop"), 0, "Service shop/more applied"},
		{"apply_all_or_nothing", halfGood, inLab("lab", "apply", "-f", "-"), 1, "fairlead: nothing was put in force"},
		{"apply_names_what_is_wrong", halfGood, inLab("lab", "apply", "-f", "-"), 1, "stdin:9: error: DestinationRule default/bad: spec.trafficPolicy"},
		{"apply_did_nothing", halfGood, inLab("lab", "delete", "-f", "-"), 0, "Service default/good not found"},
		{"delete_from_input", "apiVersion: v1\nkind: Service\nmetadata: {name: more, namespace: shop}\nspec: {ports: [{port: 81}]}\n", inLab("lab", "delete", "-f", "-"), 0, "Service shop/more deleted"},
		{"down", "", inLab("lab", "down"), 0, `lab "lab" ended`},
		{"down_again", "", inLab("lab", "down"), 0, `lab "lab" is not running`},
		{"up_from_input", manifests, inLab("lab", "up", "--plain", "-f", "-"), 0, `lab "lab" is ready: 1 pods in `},
		{"down_after_input", "", inLab("lab", "down"), 0, `lab "lab" ended`},
		{"validate_input", halfGood, []string{"validate", "-f", "-", "-n", "shop"}, 1, "DestinationRule shop/bad"},
	} {
		code, out, errOut := run(t, step.stdin, step.args...)
		if code != step.code || !strings.Contains(out+errOut, step.want) {
			t.Errorf("%s: exit code %d, want %d; printed %q, %q, want %q", step.name, code, step.code, out, errOut, step.want)
		}
	}
	if entries, err := os.ReadDir(state); err != nil || len(entries) > 0 {
		t.Errorf("the state directory holds %v, %v", entries, err)
	}
}

func TestUpSaysWhatIsNotReady(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	bad := strings.Replace(manifests, "image: fairlead.dev/demo-app", "image: nginx", 1) + "---\napiVersion: v1\nkind: Service\nmeta: {name: x}\n"
	if err := os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { run(t, "", "lab", "down", "--state-dir", state, "--name", "bad") })
	code, out, errOut := run(t, "", "lab", "up", "--plain", "-f", dir, "--wait", "20s", "--state-dir", state, "--name", "bad")
	if code != 1 || !strings.Contains(errOut, "all.yaml:") || !strings.Contains(errOut, `image "nginx" has no command`) {
		t.Errorf("exit code %d, printed %q, %q", code, out, errOut)
	}
	code, out, _ = run(t, "", "lab", "status", "-o", "json", "--state-dir", state, "--name", "bad")
	var st lab.Status
	if err := json.Unmarshal([]byte(out), &st); err != nil || code != 0 || len(st.Problems) == 0 {
		t.Errorf("status %q, %v", out, err)
	}
}

func TestUpNamesMissingBinaries(t *testing.T) {
	dir := t.TempDir()
	code, _, errOut := run(t, "", "lab", "up", "-f", dir, "--state-dir", filepath.Join(dir, "state"), "--proxy", dir+"/fairlead-proxy")
	if code != 1 || !strings.Contains(errOut, "build it, or run pods without the mesh: --plain") {
		t.Errorf("exit code %d, printed %q", code, errOut)
	}
}
