//go:build kube

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/lab/demoapp"
)

// patience bounds every wait for something that the cluster does.
const patience = 90 * time.Second

// namespace is one story's part of the cluster.
type namespace struct{ name string }

// newNamespace makes a namespace, opted into the mesh or not, that is gone after the test.
func newNamespace(t *testing.T, name string, labels ...string) *namespace {
	t.Helper()
	n := &namespace{"e2e-" + name}
	_, _ = try(t, "", "delete", "namespace", n.name, "--ignore-not-found", "--timeout=60s")
	must(t, "", "create", "namespace", n.name)
	for _, label := range labels {
		must(t, "", "label", "namespace", n.name, label)
	}
	t.Cleanup(func() {
		if t.Failed() {
			n.tell(t)
			return // left for whoever looks into it
		}
		_, _ = try(t, "", "delete", "namespace", n.name, "--wait=false")
	})
	return n
}

// meshed is newNamespace for one whose pods get sidecars.
func meshed(t *testing.T, name string) *namespace {
	t.Helper()
	return newNamespace(t, name, "fairlead.dev/inject=enabled")
}

// tell shows what a reader of a failed story wants to know.
func (n *namespace) tell(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"get", "pods", "-o", "wide"},
		{"get", "events", "--sort-by=.lastTimestamp"},
		{"logs", "-l", "app", "-c", "fairlead-proxy", "--tail=15", "--prefix"},
	} {
		out, _ := try(t, "", append([]string{"-n", n.name}, args...)...)
		t.Logf("kubectl %s\n%s", strings.Join(args, " "), out)
	}
}

// try runs kubectl with some standard input and gives its output.
func try(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String() + errs.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}

// tryCombined is try with everything that kubectl said, warnings included.
func tryCombined(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must is try for what has to work.
func must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := try(t, stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (n *namespace) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return must(t, "", append([]string{"-n", n.name}, args...)...)
}

func (n *namespace) apply(t *testing.T, manifests ...string) {
	t.Helper()
	must(t, strings.Join(manifests, "\n---\n"), "-n", n.name, "apply", "-f", "-")
}

// rollout waits until the new pods of a workload ("deployment/users") are ready and the old ones gone.
func (n *namespace) rollout(t *testing.T, workloads ...string) {
	t.Helper()
	for _, w := range workloads {
		n.kubectl(t, "rollout", "status", w, "--timeout=90s")
	}
}

// eventually asks until ok, and shows the last answer when it never is.
func eventually(t *testing.T, what string, ask func() (answer string, ok bool)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, ok := ask()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s; last: %s", what, patience, answer)
		}
		<-tick.C
	}
}

// call runs the load client in a pod and gives what it counted.
func (n *namespace) call(t *testing.T, from string, args ...string) demoapp.Report {
	t.Helper()
	r, err := n.tryCall(t, from, args...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (n *namespace) tryCall(t *testing.T, from string, args ...string) (r demoapp.Report, err error) {
	t.Helper()
	out, err := try(t, "", append([]string{"-n", n.name, "exec", from, "-c", "app", "--", "/fairlead", "demo-app", "call", "-o", "json"}, args...)...)
	if err != nil {
		return r, err
	}
	err = json.Unmarshal([]byte(out), &r)
	return r, err
}

// background runs the load client once, while other things are done.
func (n *namespace) background(t *testing.T, from string, args ...string) (wait func() demoapp.Report) {
	t.Helper()
	type result struct {
		r   demoapp.Report
		err error
	}
	done := make(chan result, 1)
	go func() {
		r, err := n.tryCall(t, from, args...)
		done <- result{r, err}
	}()
	return func() demoapp.Report {
		t.Helper()
		got := <-done
		if got.err != nil {
			t.Fatal(got.err)
		}
		return got.r
	}
}

// load has a pod call as args say, again and again until end is called, and at least once: on a busy machine what is done meanwhile takes longer
// than any length that a load is given. Its latencies are the worst that a run has had.
func (n *namespace) load(t *testing.T, from string, args ...string) (end func() demoapp.Report) {
	t.Helper()
	over := make(chan struct{})
	wait := n.loadUntil(t, over, from, args...)
	return func() demoapp.Report {
		t.Helper()
		close(over)
		return wait()
	}
}

// loadUntil is load for several that end together.
func (n *namespace) loadUntil(t *testing.T, over <-chan struct{}, from string, args ...string) (wait func() demoapp.Report) {
	t.Helper()
	done := make(chan error, 1)
	var all demoapp.Report
	go func() {
		for {
			r, err := n.tryCall(t, from, args...)
			all.Add(&r)
			select {
			case <-over:
			case <-t.Context().Done():
			default:
				if err == nil {
					continue
				}
			}
			done <- err
			return
		}
	}()
	return func() demoapp.Report {
		t.Helper()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return all
	}
}

// noneFailed is what a client must see whatever happens to the servers.
func noneFailed(t *testing.T, what string, r demoapp.Report) {
	t.Helper()
	t.Logf("%s: %d requests, %d failed, p50 %.1f ms, p99 %.1f ms, max %.1f ms", what, r.Requests, r.Failed, r.P50, r.P99, r.Max)
	if r.Failed > 0 || r.Requests == 0 {
		t.Errorf("%s: %d of %d requests failed: statuses %v, errors %v", what, r.Failed, r.Requests, r.Statuses, r.Errors)
	}
}

// answeredBy waits until so many pods answer the client, each of whose calls has to succeed: a pod is ready some time before its callers know.
func (n *namespace) answeredBy(t *testing.T, url string, pods int) {
	t.Helper()
	eventually(t, fmt.Sprintf("calls are answered by %d pods", pods), func() (string, bool) {
		r := n.call(t, "client", url, "--count", strconv.Itoa(20*pods))
		if r.Failed > 0 {
			t.Fatalf("%s: %d of %d calls failed: statuses %v, errors %v", url, r.Failed, r.Requests, r.Statuses, r.Errors)
		}
		return fmt.Sprint(r.Pods), len(r.Pods) == pods
	})
}

// server is a Service with a Deployment of the demo app behind it.
func server(name string, replicas int, more ...string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec:
  selector: {app: %[1]s}
  ports:
    - {name: http, port: 8080}
    - {name: mysql, port: 3306}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector:
    matchLabels: {app: %[1]s}
  template:
    metadata:
      labels: {app: %[1]s, version: v1}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
        - name: app
          image: fairlead.dev/demo-app:1
          args: [--name, %[1]s, --version, v1, --http, "8080", --greeting, "3306"]
          readinessProbe:
            httpGet: {path: /healthz, port: 8080}
            periodSeconds: 1
%[3]s`, name, replicas, strings.Join(more, "\n"))
}

// client is a Pod to make calls from.
const client = `
apiVersion: v1
kind: Pod
metadata:
  name: client
  labels: {app: client}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: app
      image: fairlead.dev/demo-app:1
`

func (n *namespace) startClient(t *testing.T) {
	t.Helper()
	n.apply(t, client)
	n.kubectl(t, "wait", "--for=condition=Ready", "pod/client", "--timeout=90s")
}

// python runs a program in a pod of the python image.
func (n *namespace) python(t *testing.T, pod, program string) (string, error) {
	t.Helper()
	return try(t, "", "-n", n.name, "exec", pod, "-c", "app", "--", "python3", "-c", program)
}
