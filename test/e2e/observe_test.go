//go:build kube

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tryFairlead is fairlead where it may fail; the answer has what it printed on both outputs.
func tryFairlead(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "../../bin/fairlead", args...).CombinedOutput()
	return string(out), err
}

// inJSON decodes what a question is answered in JSON, without the notes beside it; text has both.
func inJSON[T any](t *testing.T, args ...string) (v T, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "../../bin/fairlead", append(args, "-o", "json")...)
	var out, notes strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &notes
	if err := cmd.Run(); err != nil {
		return v, err.Error() + ": " + notes.String()
	}
	if out.Len() == 0 { // of nothing
		return v, notes.String()
	}
	if err := json.Unmarshal([]byte(out.String()), &v); err != nil {
		t.Fatalf("fairlead %q: %v: %s", args, err, out.String())
	}
	return v, notes.String() + out.String()
}

// TestObservation: what sidecars see is told by edges, stat and tap, without anything else installed.
func TestObservation(t *testing.T) {
	n := meshed(t, "observation")
	n.apply(t, server("users", 2))
	n.startClient(t)
	n.rollout(t, "deployment/users")
	n.call(t, "client", "http://users:8080/", "--count", "40")

	eventually(t, "the statistics of users", func() (string, bool) {
		rows, text := inJSON[[]struct {
			Name, Meshed string
			Requests     int
		}](t, "stat", "deploy/users", "-n", n.name, "--since", "10m")
		return text, len(rows) == 1 && rows[0].Name == "users" && rows[0].Meshed == "2/2" && rows[0].Requests == 40
	})
	out, err := tryFairlead(t, "edges", "deploy", "-n", n.name)
	if err != nil || !strings.Contains(out, "client") || !strings.Contains(out, "users") || !strings.Contains(out, "√") {
		t.Errorf("edges = %v\n%s", err, out)
	}
	out, err = tryFairlead(t, "diagnostics", "endpoints", "users."+n.name+":8080")
	if err != nil || strings.Count(out, "users."+n.name) != 2 || !strings.HasPrefix(out, "NAMESPACE") {
		t.Errorf("diagnostics endpoints = %v\n%s", err, out)
	}
	n.taps(t, "40")
	n.taps(t, "7", "--method", "POST")
}

// taps has one more of the requests that a tap shows than it asks for, beside others that it filters out.
func (n *namespace) taps(t *testing.T, count string, filter ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tap := exec.CommandContext(ctx, "../../bin/fairlead", append([]string{"tap", "deploy/users", "-n", n.name, "--last", count, "-o", "json"}, filter...)...)
	var out, errs strings.Builder
	tap.Stdout, tap.Stderr = &out, &errs
	if err := tap.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- tap.Wait() }()
	for {
		n.call(t, "client", "http://users:8080/", "--count", "5")
		n.call(t, "client", "http://users:8080/", "--count", "5", "--method", "POST", "--body", "x")
		select {
		case err := <-done:
			if got := strings.Count(strings.TrimSpace(out.String()), "\n") + 1; err != nil || got < 7 || !strings.Contains(out.String(), `"users`) {
				t.Errorf("tap %v = %v, %d lines: %s%s", filter, err, got, errs.String(), out.String())
			}
			if len(filter) > 0 && strings.Contains(out.String(), `"GET"`) {
				t.Errorf("tap %v shows GET: %s", filter, out.String())
			}
			return
		default:
		}
	}
}

// TestWhoMayObserve: a user who may not is told what to grant, and may once it is granted.
func TestWhoMayObserve(t *testing.T) {
	n := meshed(t, "observers")
	n.apply(t, server("users", 1))
	n.rollout(t, "deployment/users")
	must(t, "", "-n", n.name, "create", "serviceaccount", "alice")
	t.Cleanup(func() {
		_, _ = try(t, "", "-n", "fairlead-system", "delete", "role,rolebinding", "e2e-observers", "--ignore-not-found")
	})
	must(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: e2e-observers}
rules:
  - {apiGroups: [""], resources: [pods], verbs: [get, list]}
  - {apiGroups: [""], resources: [pods/portforward], verbs: [create]}
  - {apiGroups: [apps], resources: [deployments], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: e2e-observers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: e2e-observers}
subjects: [{kind: ServiceAccount, name: alice, namespace: `+n.name+`}]
`, "-n", "fairlead-system", "apply", "-f", "-")
	config := filepath.Join(t.TempDir(), "config")
	raw := must(t, "", "config", "view", "--raw", "--minify", "--flatten")
	token := strings.TrimSpace(must(t, "", "-n", n.name, "create", "token", "alice"))
	writeConfig(t, config, raw, token)

	edges := []string{"--kubeconfig", config, "edges", "deploy", "-n", n.name}
	out, err := tryFairlead(t, edges...)
	grant := "kubectl create rolebinding NAME -n " + n.name + " --clusterrole fairlead-viewer"
	if err == nil || !strings.Contains(out, "alice may not get edges.observe.fairlead.dev in namespace "+n.name) || !strings.Contains(out, grant) {
		t.Fatalf("without the permission edges = %v: %s\nwant %q", err, out, grant)
	}
	must(t, "", "-n", n.name, "create", "rolebinding", "alice", "--clusterrole", "fairlead-viewer", "--serviceaccount", n.name+":alice")
	eventually(t, "edges once it is granted", func() (string, bool) {
		out, err := tryFairlead(t, edges...)
		return out, err == nil
	})
	if out, err := tryFairlead(t, "--kubeconfig", config, "edges", "deploy", "-A"); err == nil {
		t.Errorf("edges of all namespaces are told: %s", out)
	}
	if out, err := tryFairlead(t, "--kubeconfig", config, "tap", "deploy/users", "-n", n.name); err == nil || !strings.Contains(out, "may not watch taps") {
		t.Errorf("without the permission tap = %v: %s", err, out)
	}
}

// writeConfig writes a kubeconfig for the same cluster with a token in place of the certificate.
func writeConfig(t *testing.T, path, raw, token string) {
	t.Helper()
	before, _, ok := strings.Cut(raw, "users:")
	if !ok {
		t.Fatalf("no users in %s", raw)
	}
	var user string
	for line := range strings.Lines(raw) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "user: "); ok {
			user = strings.TrimSpace(name)
		}
	}
	kubeconfig := before + "users:\n- name: " + user + "\n  user:\n    token: " + token + "\n"
	if err := os.WriteFile(path, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
}
