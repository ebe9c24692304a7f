//go:build kube

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// strict has every pod of the namespace take mutual TLS alone.
const strict = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
`

// ofKind gives a Deployment of the demo app the annotation that says which sidecar its pods have.
func ofKind(manifest, proxy string) string {
	return strings.Replace(manifest, "    metadata:\n      labels:", "    metadata:\n      annotations: {fairlead.dev/proxy: "+proxy+"}\n      labels:", 1)
}

// TestEnvoySidecarInCluster: pods whose sidecar is a stock Envoy, which the injector puts there, and pods with Fairlead's call
// each other under STRICT, and are looked into by the same commands.
func TestEnvoySidecarInCluster(t *testing.T) {
	n := meshed(t, "mixed")
	kinds := []string{"fairlead", "envoy"}
	n.apply(t, strict)
	var all []string
	for _, kind := range kinds {
		n.apply(t, ofKind(server("to-"+kind, 2), kind), ofKind(server("from-"+kind, 1), kind), fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: to-%[1]s-grpc}
spec: {selector: {app: to-%[1]s}, ports: [{name: grpc, port: 8080}]}
`, kind))
		all = append(all, "deployment/to-"+kind, "deployment/from-"+kind)
	}
	n.apply(t, strings.Replace(client, "labels: {app: client}", "labels: {app: client, fairlead.dev/inject: disabled}", 1))
	n.rollout(t, all...)
	n.kubectl(t, "wait", "--for=condition=Ready", "pod/client", "--timeout=90s")
	for _, from := range kinds {
		for _, to := range kinds {
			url := "http://to-" + to + ":8080/"
			for name, args := range map[string][]string{
				"h1": {url}, "h2": {url, "--http2"}, "grpc": {"http://to-" + to + "-grpc:8080/demo.Demo/Stream?count=1", "--grpc"}, "posts": {url, "--method", "POST", "--body", "x"},
			} {
				t.Run(from+"_to_"+to+"_"+name, func(t *testing.T) {
					r := n.call(t, "deploy/from-"+from, append(args, "--count", "500", "--concurrency", "4")...)
					noneFailed(t, name, r)
					if len(r.Pods) != 2 {
						t.Errorf("answered by %v, want both pods", r.Pods)
					}
				})
			}
			t.Run(from+"_to_"+to+"_identity", func(t *testing.T) {
				out, err := try(t, "", "-n", n.name, "exec", "deploy/from-"+from, "-c", "app", "--", "/fairlead", "demo-app", "get", url)
				if want := "spiffe://cluster.local/ns/" + n.name + "/sa/default"; err != nil || !strings.Contains(out, want) {
					t.Errorf("the app is not told of %s: %v\n%s", want, err, out)
				}
			})
		}
		if r := n.call(t, "client", "http://to-"+from+":8080/", "--count", "20"); r.OK > 0 {
			t.Errorf("%d of 20 plain calls came to a STRICT pod with a sidecar of kind %s", r.OK, from)
		}
	}
	pod := n.podOf(t, "app=from-envoy")
	for view, want := range map[string]string{
		"clusters": "to-fairlead." + n.name + ".svc.cluster.local 8080 - outbound EDS", "endpoints": "outbound|8080||to-fairlead." + n.name + ".svc.cluster.local",
		"routes": "8080 to-envoy." + n.name + ".svc.cluster.local:8080", "listeners": "0.0.0.0 15006",
	} {
		if out, err := tryFairlead(t, "proxy-config", view, pod, "-n", n.name); err != nil || !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
			t.Errorf("proxy-config %s does not say %q: %v\n%s", view, want, err, out)
		}
	}
	n.synced(t, pod)
}

// synced waits until proxy-status says that the pod's sidecar has confirmed what it was sent.
func (n *namespace) synced(t *testing.T, pod string) {
	t.Helper()
	eventually(t, "proxy-status of "+pod, func() (string, bool) {
		out, err := tryFairlead(t, "proxy-status", "-n", n.name)
		for line := range strings.Lines(out) {
			if err == nil && strings.HasPrefix(line, pod+"."+n.name) && strings.Contains(line, "SYNCED") && !strings.Contains(line, "ERROR") {
				return out, true
			}
		}
		return fmt.Sprint(err, "\n", out), false
	})
}

func (n *namespace) podOf(t *testing.T, selector string) string {
	t.Helper()
	return strings.TrimSpace(n.kubectl(t, "get", "pods", "-l", selector, "-o", "jsonpath={.items[0].metadata.name}"))
}
