package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/lab/demoapp"
	"fairlead.dev/fairlead/internal/leaktest"
)

// TestMain lets the test binary be the fairlead binary of the labs that the tests start.
func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	role := append(os.Args, "", "")[1]
	var err error
	switch {
	case role == "demo-app":
		err = demoapp.Main(ctx, os.Args[2:], demoapp.Process{Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()})
	case role == "lab" && os.Args[2] == "init":
		err = RunInit(os.Args[3:])
	case role == "lab" && os.Args[2] == "supervisor":
		err = RunSupervisor(ctx, os.Args[3:], slog.New(slog.NewTextHandler(os.Stderr, nil)))
	case strings.HasPrefix(role, "-test."):
		os.Exit(leaktest.Run(m.Run)) //nolint:gocritic // the signals are this process's to the end
	default: // never the tests: inside a lab they would start labs without end
		err = fmt.Errorf("unexpected arguments %q", os.Args[1:])
	}
	code := 0
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	syscall.Exit(code) // not os.Exit: the race detector would sleep for a second; see fixture.up for its findings
}

// fixture is a running lab of a test, with its directory of manifests.
type fixture struct {
	*Client
	dir   string
	state string
	name  string
}

// upLab starts a lab without mesh on one file of manifests and waits until its pods are ready.
func upLab(t *testing.T, manifests string) *fixture {
	t.Helper()
	f := startLab(t, manifests)
	if err := f.WaitReady(t.Context()); err != nil {
		t.Fatalf("WaitReady() = %v", err)
	}
	return f
}

func startLab(t *testing.T, manifests string) *fixture {
	t.Helper()
	f := &fixture{dir: t.TempDir(), state: t.TempDir(), name: "test"}
	f.write(t, "all.yaml", manifests)
	f.up(t)
	return f
}

// up starts the fixture's lab and ends it with the test.
func (f *fixture) up(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	c, err := Up(ctx, UpOptions{
		Name: f.name, StateDir: f.state, Paths: []string{f.dir}, Plain: true, Environ: os.Environ(), EndWithCaller: true,
	})
	if err != nil {
		t.Fatalf("Up() = %v", err)
	}
	f.Client = c
	t.Cleanup(func() {
		if raw, err := os.ReadFile(c.state.path("logs", "supervisor.log")); err == nil && bytes.Contains(raw, []byte("DATA RACE")) {
			t.Error("the race detector found something in the supervisor")
		}
		if t.Failed() {
			f.tell(t)
		}
		if err := c.Down(context.WithoutCancel(t.Context())); err != nil && c.state.running() {
			t.Errorf("Down() = %v", err)
		}
	})
}

// tell prints what helps to understand a failure.
func (f *fixture) tell(t *testing.T) {
	t.Helper()
	if pid, err := f.Client.state.initPID(); err == nil {
		t.Logf("nsenter --preserve-credentials -t %d -U -n -m", pid)
	}
	logs, _ := filepath.Glob(f.Client.state.path("logs", "*"))
	for _, path := range logs {
		if raw, err := os.ReadFile(path); err == nil && len(raw) > 0 {
			t.Logf("%s:\n%s", filepath.Base(path), raw)
		}
	}
	if st, err := f.Status(context.WithoutCancel(t.Context())); err == nil {
		raw, _ := json.Marshal(st)
		t.Logf("status: %s", raw)
	}
}

func (f *fixture) write(t *testing.T, name, content string) {
	t.Helper()
	if err := writeAtomic(filepath.Join(f.dir, name), []byte(content)); err != nil {
		t.Fatal(err)
	}
}

// await waits until the status is as wanted.
func (f *fixture) await(t *testing.T, what string, done func(*Status) bool) *Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	st, err := f.WaitFor(ctx, done)
	if err != nil {
		raw, _ := json.Marshal(st)
		t.Fatalf("waiting for %s: %v; last status %s", what, err, raw)
	}
	return st
}

// exec runs a command in a pod and gives what it printed.
func (f *fixture) exec(t *testing.T, pod string, argv ...string) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	var files [2]*os.File
	defer func() { closeAll(files[:]) }()
	for i, name := range []string{"out", "err"} {
		file, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[i] = file
	}
	code, err := f.Exec(t.Context(), ExecOptions{Pod: PodRef{"default", pod}, Command: argv, Stdout: files[0], Stderr: files[1]})
	if err != nil {
		t.Fatalf("Exec(%q) = %v", argv, err)
	}
	var text [2]string
	for i, file := range files {
		raw, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		text[i] = string(raw)
	}
	return code, text[0], text[1]
}

// call makes requests from a pod with the demo app's client.
func (f *fixture) call(t *testing.T, pod string, args ...string) demoapp.Report {
	t.Helper()
	code, out, errOut := f.exec(t, pod, append([]string{"fairlead", "demo-app", "call", "-o", "json", "--timeout", "3s"}, args...)...)
	var r demoapp.Report
	if err := json.NewDecoder(bytes.NewReader([]byte(out))).Decode(&r); err != nil {
		t.Fatalf("call(%q) = exit code %d, %v\n%s\n%s", args, code, err, out, errOut)
	}
	return r
}

// deployment writes a Deployment of the demo app; extra is added to its container, indented by the caller.
func deployment(name string, replicas int, extra ...string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %s}
spec:
  replicas: %d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: app
        image: fairlead.dev/demo-app
        ports: [{name: web, containerPort: 8080}]
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        readinessProbe: {httpGet: {path: /healthz, port: web}, periodSeconds: 1, failureThreshold: 1}
%[3]s
---`, name, replicas, strings.Join(extra, "\n"))
}

// webService writes a Service in front of the Deployment "web"; more is added to its spec.
func webService(more string) string {
	return `
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: web}]
` + more + `
---`
}
