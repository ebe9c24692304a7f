package controlplane

import (
	"strings"
	"testing"
)

const ordersPod = `apiVersion: v1
kind: Pod
metadata: {name: orders-1, namespace: myapp}
spec: {serviceAccountName: orders, containers: [{name: app, image: x}]}
status: {podIP: 10.0.0.3, phase: Running}
`

// TestProxyOfAnUnknownPod: the file with the pod of a connected sidecar was never read. Its state, the problems and the log
// say so until it is.
func TestProxyOfAnUnknownPod(t *testing.T) {
	w := start(t, "service.yaml", usersService)
	c := w.client(t, "orders-1", newProxy())
	run(t, c)
	await(t, c, "mesh", "ip/10.0.0.3")
	eventually(t, "the state says so", func() bool { return strings.Contains(w.get(t, "/debug/syncz"), `"UNKNOWN"`) })
	if got := w.get(t, "/metrics"); !strings.Contains(got, "\nfairlead_xds_unknown_proxies 1\n") {
		t.Errorf("metrics do not show it:\n%s", got)
	}
	if got := w.get(t, "/debug/problemz"); !strings.Contains(got, "Proxy myapp/orders-1: the control plane does not know the pod") {
		t.Errorf("problems = %s", got)
	}
	eventually(t, "the log says so", func() bool {
		return strings.Contains(w.log.String(), `msg="the pod of a connected proxy is not known" proxy=orders-1.myapp`)
	})
	w.write(t, "pod.yaml", ordersPod)
	eventually(t, "it is known", func() bool { return strings.Contains(w.get(t, "/debug/syncz"), `"SYNCED"`) })
	if got := w.get(t, "/debug/problemz"); strings.Contains(got, "orders-1") {
		t.Errorf("problems = %s", got)
	}
	eventually(t, "the log says that it is known", func() bool { return strings.Contains(w.log.String(), "is known now") })
}
