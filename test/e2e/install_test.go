//go:build kube

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// fairlead runs the command line of this tree.
func fairlead(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "../../bin/fairlead", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("fairlead %s: %v: %s%s", strings.Join(args, " "), err, out, errs.String())
	}
	return string(out)
}

// installed is how the mesh is installed where a story has changed that: the images of test/kube, and the port of grpc-simple, as in
// mesh.sh.
const installed = "image.hub=localhost/fairlead,proxy.envoyImage=docker.io/envoyproxy/envoy:v1.40.0,controller.plaintextXDS=true"

// sidecarImage is the image that the mesh of this cluster injects.
func sidecarImage(t *testing.T) string {
	t.Helper()
	config := control(t, "get", "configmap", "fairlead", "-o", "jsonpath={.data.injector\\.yaml}")
	_, rest, _ := strings.Cut(config, `image: "`)
	image, _, _ := strings.Cut(rest, `"`)
	return image
}

// upgraded changes the installation for one test.
func upgraded(t *testing.T, set ...string) {
	t.Helper()
	args := []string{"upgrade"}
	for _, s := range set {
		args = append(args, "--set", s)
	}
	t.Cleanup(func() { fairlead(t, "", "upgrade", "--reset-values", "--set", installed) })
	fairlead(t, "", args...)
}

// The mesh is upgraded and brought back while calls are made, the sidecars after it.
func TestUpgradeAndBack(t *testing.T) {
	n := meshed(t, "upgrade")
	n.apply(t, server("users", 3))
	n.startClient(t)
	n.rollout(t, "deployment/users")
	wait := n.load(t, "client", "http://users:8080/", "--rate", "100", "--for", "60s", "--concurrency", "4")
	fairlead(t, "", "upgrade", "--set", "controller.replicas=2", "--set", "mesh.accessLog=json", "--set", "proxy.drain=6s")
	n.kubectl(t, "rollout", "restart", "deployment/users")
	n.rollout(t, "deployment/users")
	if args := n.kubectl(t, "get", "pods", "-l", "app=users", "-o", "jsonpath={.items[*].spec.initContainers[*].args}"); !strings.Contains(args, "--drain=6s") {
		t.Errorf("the new pods' sidecars run with %s", args)
	}
	fairlead(t, "", "upgrade", "--reset-values", "--set", installed)
	n.kubectl(t, "rollout", "restart", "deployment/users")
	n.rollout(t, "deployment/users")
	noneFailed(t, "upgrade and back", wait())
	if out := fairlead(t, "", "check", "--proxy"); strings.Contains(out, "×") {
		t.Error(out)
	}
}

// The mesh is removed, by tools that know nothing of what it made for itself, and installed again: once the rollout is
// complete, pods of opted-in namespaces can be made.
func TestInstalledAgain(t *testing.T) {
	n := meshed(t, "again")
	manifests := fairlead(t, "", "install", "--set", installed)
	must(t, fairlead(t, "", "uninstall"), "delete", "-f", "-", "--ignore-not-found", "--timeout=60s")
	t.Cleanup(func() { must(t, manifests, "apply", "-f", "-") })
	control(t, "wait", "--for=delete", "pod", "-l", "app.kubernetes.io/name=fairlead", "--timeout=60s")
	eventually(t, "the lease is gone with the pod that held it", func() (string, bool) {
		out := control(t, "get", "lease", "--ignore-not-found", "fairlead-leader")
		return out, out == ""
	})
	must(t, manifests, "apply", "-f", "-")
	control(t, "rollout", "status", "deployment/fairlead-controller", "--timeout=90s")
	n.apply(t, client)
	n.kubectl(t, "wait", "--for=condition=Ready", "pod/client", "--timeout=90s")
}

// Pods of a namespace that forbids NET_ADMIN are redirected by the CNI plugin.
func TestCNIInRestrictedNamespace(t *testing.T) {
	upgraded(t, "cni.enabled=true")
	n := newNamespace(t, "restricted", "fairlead.dev/inject=enabled", "pod-security.kubernetes.io/enforce=restricted")
	n.apply(t, strings.NewReplacer(
		"      terminationGracePeriodSeconds: 10\n",
		"      terminationGracePeriodSeconds: 10\n      securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}\n",
		"          readinessProbe:",
		"          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}\n          readinessProbe:",
	).Replace(server("users", 2)))
	n.rollout(t, "deployment/users")
	out := n.kubectl(t, "exec", "deployment/users", "-c", "app", "--", "/fairlead", "demo-app", "get", "http://users:8080/")
	if !strings.Contains(out, "URI=spiffe://cluster.local/ns/"+n.name+"/sa/default") {
		t.Errorf("no proof of who called: %s", out)
	}
}

// STRICT shuts out what comes without a certificate; the kubelet's probes still reach the app.
func TestStrict(t *testing.T) {
	t.Parallel()
	n := meshed(t, "strict")
	n.apply(t, server("users", 1), `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
`)
	n.startClient(t)
	n.rollout(t, "deployment/users")
	noneFailed(t, "from the mesh", n.call(t, "client", "http://users:8080/", "--count", "20"))
	outside := newNamespace(t, "outside")
	outside.startClient(t)
	eventually(t, "callers without a certificate are shut out", func() (string, bool) {
		r := outside.call(t, "client", "http://users."+n.name+":8080/")
		return strings.Join(keys(r.Statuses), " "), r.Failed == 1 && len(r.Errors) == 1
	})
	n.kubectl(t, "rollout", "restart", "deployment/users")
	n.rollout(t, "deployment/users") // the new pod is ready: its probes were answered
}

// What was scraped by annotation before is scraped under STRICT, where Prometheus has no certificate to show.
func TestScrapedUnderStrict(t *testing.T) {
	t.Parallel()
	n := meshed(t, "scraped")
	n.apply(t, `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
`, `
apiVersion: v1
kind: Pod
metadata:
  name: app
  labels: {app: app}
  annotations: {prometheus.io/scrape: "true", prometheus.io/port: "9797", prometheus.io/path: /metrics.txt}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: app
      image: docker.io/library/python:3-slim
      imagePullPolicy: IfNotPresent
      command: [python3, -u, -c]
      args:
        - |
          import http.server, os
          os.chdir("/tmp")
          open("metrics.txt", "w").write("# TYPE orders_total counter\norders_total{shop=\"a\"} 7\nthis is no metric\n")
          http.server.HTTPServer(("", 9797), http.server.SimpleHTTPRequestHandler).serve_forever()
`)
	n.kubectl(t, "wait", "--for=condition=Ready", "pod/app", "--timeout=90s")
	where := strings.Fields(n.kubectl(t, "get", "pod", "app", "-o",
		`jsonpath={.status.podIP} {.metadata.annotations.prometheus\.io/port} {.metadata.annotations.prometheus\.io/path}`))
	outside := newNamespace(t, "prometheus")
	outside.startClient(t)
	eventually(t, "the app is shut to who has no certificate", func() (string, bool) {
		r := outside.call(t, "client", "http://"+where[0]+":9797/metrics.txt")
		return fmt.Sprint(r.Statuses, r.Errors), r.Failed == 1
	})
	page := outside.kubectl(t, "exec", "client", "-c", "app", "--", "/fairlead", "demo-app", "get", "http://"+where[0]+":"+where[1]+where[2])
	for _, want := range []string{`orders_total{shop="a"} 7`, "istio_build{", "fairlead_app_metrics_up 1", "fairlead_app_metrics_dropped_lines 1"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q:\n%s", want, page)
		}
	}
}

func keys(m map[string]int) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	return out
}

// Where native sidecars are not wanted, the app waits for the sidecar, and the sidecar for the app.
func TestClassicSidecar(t *testing.T) {
	t.Parallel()
	n := meshed(t, "classic")
	n.apply(t, strings.Replace(server("users", 2), "      labels: {app: users, version: v1}\n",
		"      labels: {app: users, version: v1}\n      annotations: {fairlead.dev/native-sidecar: \"false\"}\n", 1))
	n.startClient(t)
	n.rollout(t, "deployment/users")
	names := n.kubectl(t, "get", "pods", "-l", "app=users", "-o", "jsonpath={.items[0].spec.containers[*].name}")
	if names != "fairlead-proxy app" {
		t.Errorf("containers %q, want the sidecar first among them", names)
	}
	wait := n.load(t, "client", "http://users:8080/", "--rate", "50", "--for", "40s", "--concurrency", "4")
	n.kubectl(t, "rollout", "restart", "deployment/users")
	n.rollout(t, "deployment/users")
	noneFailed(t, "restart with classic sidecars", wait())
}

// A pod that was injected offline starts before there is a control plane: it waits, and runs when there is one.
func TestPodWaitsForController(t *testing.T) {
	n := newNamespace(t, "early")
	control(t, "scale", "deployment/fairlead-controller", "--replicas=0")
	t.Cleanup(func() { control(t, "scale", "deployment/fairlead-controller", "--replicas=1") })
	control(t, "wait", "--for=delete", "pod", "-l", "app.kubernetes.io/component=controller", "--timeout=60s")
	n.apply(t, fairlead(t, client, "inject", "--set", "image="+sidecarImage(t), "-f", "-"))
	eventually(t, "the sidecar has started and says what it waits for", func() (string, bool) {
		log, err := try(t, "", "-n", n.name, "logs", "client", "-c", "fairlead-proxy")
		return log, err == nil && strings.Contains(log, "control plane not reached")
	})
	if phase := n.kubectl(t, "get", "pod", "client", "-o", "jsonpath={.status.phase}"); phase != "Pending" {
		t.Errorf("without a control plane the pod is %s, want it to wait", phase)
	}
	control(t, "scale", "deployment/fairlead-controller", "--replicas=1")
	n.kubectl(t, "wait", "--for=condition=Ready", "pod/client", "--timeout=90s")
}
