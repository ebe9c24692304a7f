//go:build kube

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/lab/demoapp"
)

// control runs kubectl in the mesh's own namespace.
func control(t *testing.T, args ...string) string {
	t.Helper()
	return must(t, "", append([]string{"-n", system}, args...)...)
}

// replicas scales the controller for one test.
func replicas(t *testing.T, n int) {
	t.Helper()
	scale := func(n int) {
		control(t, "scale", "deployment/fairlead-controller", fmt.Sprintf("--replicas=%d", n))
		control(t, "rollout", "status", "deployment/fairlead-controller", "--timeout=90s")
	}
	scale(n)
	t.Cleanup(func() { scale(1) })
}

// One replica is killed, then all are replaced: nobody notices, and pods that start meanwhile are served.
func TestControllerReplaced(t *testing.T) {
	n := meshed(t, "controllers")
	n.apply(t, server("users", 2))
	n.startClient(t)
	n.rollout(t, "deployment/users")
	replicas(t, 2)
	wait := n.load(t, "client", "http://users:8080/", "--rate", "100", "--for", "40s", "--concurrency", "4")
	first := strings.Fields(control(t, "get", "pods", "-l", "app.kubernetes.io/component=controller", "-o", "jsonpath={.items[*].metadata.name}"))[0]
	control(t, "delete", "pod", first, "--grace-period=0", "--force")
	n.kubectl(t, "scale", "deployment/users", "--replicas=4")
	n.rollout(t, "deployment/users")
	control(t, "rollout", "restart", "deployment/fairlead-controller")
	control(t, "rollout", "status", "deployment/fairlead-controller", "--timeout=90s")
	n.kubectl(t, "scale", "deployment/users", "--replicas=6")
	n.rollout(t, "deployment/users")
	noneFailed(t, "controller replicas killed and replaced", wait())
	n.answeredBy(t, "http://users:8080/", 6)
}

// The API server freezes for a minute: calls go on, and what starts afterwards is served.
func TestAPIServerAway(t *testing.T) {
	cluster := os.Getenv("FAIRLEAD_KUBE_N")
	if cluster == "" {
		t.Fatal("FAIRLEAD_KUBE_N must say which cluster of test/kube this is: its API server is frozen")
	}
	freeze := func(verb string) {
		t.Helper()
		if out, err := exec.Command("../kube/cluster.sh", verb, cluster, "kube-apiserver").CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", verb, err, out)
		}
	}
	const away = time.Minute
	n := meshed(t, "away")
	n.apply(t, server("users", 2))
	n.rollout(t, "deployment/users")
	// The load runs as a pod of its own: a call through kubectl would freeze with the API server.
	n.apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: load}
spec:
  restartPolicy: Never
  containers:
    - name: app
      image: fairlead.dev/demo-app:1
      args: [call, http://users:8080/, --rate, "50", --for, 80s, -o, json]
`)
	n.kubectl(t, "wait", "--for=condition=Ready", "pod/load", "--timeout=60s")
	freeze("stop")
	thaw := time.NewTimer(away)
	t.Cleanup(func() { freeze("start") })
	<-thaw.C
	freeze("start")
	begun := time.Now()
	eventually(t, "the API server is back", func() (string, bool) {
		out, err := try(t, "", "get", "--raw", "/readyz")
		return out, err == nil
	})
	n.kubectl(t, "scale", "deployment/users", "--replicas=3")
	n.rollout(t, "deployment/users")
	t.Logf("a pod made after the API server came back was ready %.1f s after that", time.Since(begun).Seconds())
	n.kubectl(t, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/load", "--timeout=90s")
	var r demoapp.Report
	if err := json.Unmarshal([]byte(n.kubectl(t, "logs", "load", "-c", "app")), &r); err != nil {
		t.Fatal(err)
	}
	noneFailed(t, "a minute without API server", r)
	n.startClient(t)
	n.answeredBy(t, "http://users:8080/", 3)
}

// Permissions are taken away: the controller says which, does not crash, and goes on when they are back.
func TestPermissionDenied(t *testing.T) {
	n := meshed(t, "denied")
	n.apply(t, server("users", 1))
	n.startClient(t)
	n.rollout(t, "deployment/users")
	binding := must(t, "", "get", "clusterrolebinding", "fairlead-controller", "-o", "json")
	must(t, "", "delete", "clusterrolebinding", "fairlead-controller")
	t.Cleanup(func() {
		if _, err := try(t, "", "get", "clusterrolebinding", "fairlead-controller"); err != nil {
			must(t, binding, "apply", "-f", "-")
		}
	})
	noneFailed(t, "without permissions", n.call(t, "client", "http://users:8080/", "--count", "20"))
	control(t, "delete", "pod", "-l", "app.kubernetes.io/component=controller", "--wait=false")
	eventually(t, "the new controller says what it may not do", func() (string, bool) {
		log, err := try(t, "", "-n", system, "logs", "-l", "app.kubernetes.io/component=controller", "--tail=-1")
		return log, err == nil && strings.Contains(log, "ClusterRole fairlead-controller: does not allow to list pods")
	})
	must(t, binding, "apply", "-f", "-")
	control(t, "rollout", "status", "deployment/fairlead-controller", "--timeout=90s")
	restarts := control(t, "get", "pods", "-l", "app.kubernetes.io/component=controller", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}")
	if strings.Trim(restarts, "0 ") != "" {
		t.Errorf("the controller was restarted: %s", restarts)
	}
	noneFailed(t, "with permissions again", n.call(t, "client", "http://users:8080/", "--count", "20"))
}

// The control plane tells its neighbours how it is, not whom it serves; who may forward ports is told all.
func TestDebugPagesAreLocal(t *testing.T) {
	n := newNamespace(t, "neighbour")
	n.startClient(t)
	for path, want := range map[string]string{"/metrics": "200", "/healthz/ready": "200", "/debug/syncz": "403", "/debug/endpointz": "403"} {
		r := n.call(t, "client", "http://fairlead-controller."+system+":15014"+path)
		if r.Statuses[want] != 1 {
			t.Errorf("%s from a pod: %v %v, want %s", path, r.Statuses, r.Errors, want)
		}
	}
	if out := fairlead(t, "", "check", "--proxy"); strings.Contains(out, "403") {
		t.Error(out)
	}
}
