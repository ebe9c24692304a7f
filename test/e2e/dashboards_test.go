//go:build kube

package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What stands for Prometheus, labelled as istioctl looks for it and as Prometheus' own chart labels it.
const standsForPrometheus = `
apiVersion: v1
kind: Service
metadata: {name: prometheus, labels: {app.kubernetes.io/name: prometheus}}
spec:
  selector: {app.kubernetes.io/name: prometheus}
  ports: [{name: http, port: 9090}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: prometheus, labels: {app.kubernetes.io/name: prometheus}}
spec:
  selector:
    matchLabels: {app.kubernetes.io/name: prometheus}
  template:
    metadata:
      labels: {app.kubernetes.io/name: prometheus}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: app
          image: fairlead.dev/demo-app:1
          args: [--name, prometheus, --http, "9090"]
          readinessProbe:
            httpGet: {path: /healthz, port: 9090}
            periodSeconds: 1
`

// TestDashboardOfPrometheus: "fairlead dashboard prometheus" says what is missing where none is installed; where one is it
// answers at the address that it prints, and so does the pod that comes in the place of a deleted one.
func TestDashboardOfPrometheus(t *testing.T) {
	n := newNamespace(t, "prometheus")
	show := []string{"dashboard", "prometheus", "-n", n.name, "--browser=false"}
	if out, err := tryFairlead(t, show...); err == nil || !strings.Contains(out, "no running pod in namespace "+n.name+" has the label app.kubernetes.io/name=prometheus") {
		t.Errorf("without a Prometheus = %v: %s", err, out)
	}
	n.apply(t, standsForPrometheus)
	n.rollout(t, "deployment/prometheus")

	line, notes := goesOn(t, show...)
	url, rest, _ := strings.Cut(line, " ")
	pod := podOf(t, n)
	if !strings.HasPrefix(url, "http://localhost:") || rest != "is Prometheus, pod "+n.name+"/"+pod+"; Ctrl-C ends it\n" {
		t.Fatalf("the command says %q: %s", line, notes)
	}
	// Each question has a connection of its own, as those after the end of a pod have.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	answered := func(by string) (string, bool) {
		r, err := client.Get(url + "/api/v1/query?query=up")
		if err != nil {
			return err.Error() + notes.String(), false
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		return string(body), err == nil && r.StatusCode == http.StatusOK && strings.Contains(string(body), by) && strings.Contains(string(body), "/api/v1/query")
	}
	eventually(t, "an answer of "+pod, func() (string, bool) { return answered(pod) })

	n.kubectl(t, "delete", "pod", pod)
	n.rollout(t, "deployment/prometheus")
	next := podOf(t, n)
	if next == pod {
		t.Fatalf("%s is still there", pod)
	}
	eventually(t, "an answer of "+next, func() (string, bool) { return answered(next) })
}

// podOf is the name of the one pod of a namespace.
func podOf(t *testing.T, n *namespace) string {
	t.Helper()
	return n.kubectl(t, "get", "pods", "-o", "jsonpath={.items[*].metadata.name}")
}
