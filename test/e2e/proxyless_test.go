//go:build kube

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// grpcPod runs a gRPC app that brings its own xDS client, or server. A template is Istio's annotation; without one the pod is not part
// of the mesh.
func grpcPod(name, labels, template string, command ...string) string {
	argv, _ := json.Marshal(command) // strings always can be
	annotations := "inject.istio.io/templates: " + template
	if template == "" {
		annotations = `sidecar.istio.io/inject: "false"`
	}
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {%s}, annotations: {%s}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: app
      image: fairlead.dev/proxyless:1
      command: %s
      env: [{name: PYTHONPATH, value: /packages}]
      ports: [{name: grpc, containerPort: 9000}]
`, name, labels, annotations, argv)
}

func grpcService(name string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %[1]s}\nspec: {selector: {app: %[1]s}, ports: [{name: grpc, port: 9000}]}\n", name)
}

func grpcWeights(v1, v2 int) string {
	return fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: users}
spec:
  hosts: [users]
  http:
  - retries: {attempts: 3, retryOn: "unavailable,cancelled,connect-failure"}
    route: [{destination: {host: users, subset: v1}, weight: %d}, {destination: {host: users, subset: v2}, weight: %d}]
`, v1, v2)
}

// grpcRules are subsets of users, and mutual TLS of those that have it.
const grpcRules = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: users}
spec: {host: users, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: native}
spec: {host: native, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: behind}
spec: {host: behind, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict}
spec: {selector: {matchLabels: {takes: mutual-tls}}, mtls: {mode: STRICT}}
`

// grpcReport is what an app says of the calls that it was told to make.
type grpcReport struct {
	Answered map[string]int `json:"answered"`
	Failed   int            `json:"failed"`
	Error    string         `json:"error"`
}

// grpcTold tells an app what to do and gives its answer.
func (n *namespace) grpcTold(t *testing.T, pod, what string) (r grpcReport, err error) {
	t.Helper()
	out, err := n.python(t, pod, fmt.Sprintf("import urllib.request as u; print(u.urlopen('http://127.0.0.1:9001%s').read().decode())", what))
	if err != nil {
		return r, err
	}
	err = json.Unmarshal([]byte(out), &r)
	return r, err
}

// grpcCalls has an app make calls, all of which have to be answered, and only by those that are named.
func (n *namespace) grpcCalls(t *testing.T, pod string, count int, by ...string) grpcReport {
	t.Helper()
	r, err := n.grpcTold(t, pod, fmt.Sprintf("/call?n=%d&c=4", count))
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, name := range by {
		sum += r.Answered[name]
	}
	if r.Failed > 0 || sum != count {
		t.Errorf("%s: of %d calls %v were answered and %d failed (%s), want all of them, by %q", pod, count, r.Answered, r.Failed, r.Error, by)
	}
	return r
}

// grpcAnswered waits until an app is answered by somebody, who may be meant to answer one call of ten only.
func (n *namespace) grpcAnswered(t *testing.T, pod, by string) {
	t.Helper()
	eventually(t, pod+" to be answered by "+by, func() (string, bool) {
		r, err := n.grpcTold(t, pod, "/call?n=50&c=4")
		return fmt.Sprint(r, err), err == nil && r.Answered[by] > 0
	})
}

// grpcLoad has apps call over and over, from before something happens until after it, and wants no call to fail.
func (n *namespace) grpcLoad(t *testing.T, pods []string, meanwhile func()) {
	t.Helper()
	begun, over := make(chan struct{}, len(pods)), make(chan struct{})
	type result struct {
		pod   string
		calls int
		grpcReport
		err error
	}
	done := make(chan result, len(pods))
	for _, pod := range pods {
		go func() {
			sum := result{pod: pod}
			for last := false; !last && sum.err == nil; {
				select {
				case <-over:
					last = true // once more, with what it was over
				default:
				}
				var r grpcReport
				r, sum.err = n.grpcTold(t, pod, "/call?n=400&c=4")
				sum.calls += 400
				sum.Failed += r.Failed
				sum.Error += r.Error
				select {
				case begun <- struct{}{}:
				default:
				}
			}
			done <- sum
		}()
	}
	for range pods {
		<-begun
	}
	meanwhile()
	close(over)
	for range pods {
		r := <-done
		t.Logf("%s: %d calls, %d failed", r.pod, r.calls, r.Failed)
		if r.Failed > 0 || r.err != nil {
			t.Errorf("%s: %d of %d calls failed: %s %v", r.pod, r.Failed, r.calls, r.Error, r.err)
		}
	}
}

// TestProxylessInCluster: gRPC apps in Go and Python whose pods have Istio's templates grpc-agent and grpc-simple in the place of a
// sidecar are served by the control plane.
func TestProxylessInCluster(t *testing.T) {
	n := meshed(t, "proxyless")
	users := "xds:///users." + n.name + ".svc.cluster.local:9000"
	callers := map[string]string{
		"go-agent":     grpcPod("go-agent", "app: callers", "grpc-agent", "/proxyless", "client", users, "127.0.0.1:9001"),
		"go-simple":    grpcPod("go-simple", "app: callers", "grpc-simple", "/proxyless", "client", users, "127.0.0.1:9001"),
		"python-agent": grpcPod("python-agent", "app: callers", "grpc-agent", "python3", "/client.py", users, "127.0.0.1:9001"),
	}
	names := slices.Sorted(maps.Keys(callers))
	manifests := append(slices.Collect(maps.Values(callers)), grpcRules, grpcWeights(90, 10), grpcService("users"), grpcService("native"), grpcService("behind"))
	for i, version := range []string{"v1", "v1", "v1", "v2"} {
		manifests = append(manifests, grpcPod(fmt.Sprint("users-", i), "app: users, version: "+version, "", "/proxyless", "server", version, ":9000"))
	}
	// Who takes mutual TLS alone: a server that ends it itself, and one behind a sidecar; who calls them, by how it is part of the mesh.
	const takes = ", takes: mutual-tls"
	manifests = append(manifests, grpcPod("native", "app: native"+takes, "grpc-agent", "/proxyless", "server", "native for ", ":9000"),
		grpcPod("behind", "app: behind"+takes, "sidecar", "/proxyless", "server", "behind for ", ":9000"))
	for pod, target := range map[string]string{"agent-native": "xds:///native", "agent-behind": "xds:///behind", "sidecar-native": "dns:///native", "simple-native": "xds:///native"} {
		template := map[string]string{"agent": "grpc-agent", "sidecar": "sidecar", "simple": "grpc-simple"}[strings.Split(pod, "-")[0]]
		manifests = append(manifests, grpcPod(pod, "app: callers", template, "/proxyless", "client", target+"."+n.name+".svc.cluster.local:9000", "127.0.0.1:9001"))
	}
	n.apply(t, manifests...)
	n.kubectl(t, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=90s")

	t.Run("ninety_to_ten", func(t *testing.T) {
		for _, name := range names {
			n.grpcAnswered(t, name, "v2")
			if v2 := n.grpcCalls(t, name, 2000, "v1", "v2").Answered["v2"]; v2 < 140 || v2 > 260 {
				t.Errorf("%s: %d of 2000 calls were answered by v2, want 200 ± 60", name, v2)
			}
		}
	})
	t.Run("an_edit", func(t *testing.T) { n.grpcEdits(t, names) })
	t.Run("mutual_tls", func(t *testing.T) {
		for _, name := range []string{"agent-native", "agent-behind", "sidecar-native"} {
			_, server, _ := strings.Cut(name, "-")
			want := server + " for spiffe://cluster.local/ns/" + n.name + "/sa/default"
			n.grpcAnswered(t, name, want)
			n.grpcCalls(t, name, 500, want)
		}
		if r, err := n.grpcTold(t, "simple-native", "/call?n=20"); err != nil || r.Failed != 20 {
			t.Errorf("without a certificate %v were answered and %d of 20 failed: %s %v", r.Answered, r.Failed, r.Error, err)
		}
	})
	t.Run("a_pod_killed", func(t *testing.T) {
		n.apply(t, grpcWeights(100, 0))
		n.grpcLoad(t, names, func() { n.kubectl(t, "delete", "pod", "users-0", "--grace-period=0", "--force") })
	})
	t.Run("control_plane_restarted", func(t *testing.T) {
		loaded := append(slices.Clone(names), "agent-native", "agent-behind", "sidecar-native")
		n.grpcLoad(t, loaded, func() {
			control(t, "rollout", "restart", "deployment/fairlead-controller")
			control(t, "rollout", "status", "deployment/fairlead-controller", "--timeout=90s")
			for _, name := range loaded {
				n.synced(t, name)
			}
		})
	})
}

// grpcEdits moves all calls to the other version and back. How long that took is judged with FAIRLEAD_LONG=1.
func (n *namespace) grpcEdits(t *testing.T, names []string) {
	t.Helper()
	for _, name := range names {
		for _, to := range []string{"v2", "v1"} {
			seen := make(chan error, 1)
			go func() {
				_, err := n.grpcTold(t, name, "/until?run=30&name="+to)
				seen <- err
			}()
			n.apply(t, map[string]string{"v1": grpcWeights(100, 0), "v2": grpcWeights(0, 100)}[to])
			began := time.Now()
			if err := <-seen; err != nil {
				t.Fatal(err)
			}
			took := time.Since(began)
			t.Logf("%s: in force %s after kubectl's end, with the calls that show it", name, took.Round(time.Millisecond))
			if os.Getenv("FAIRLEAD_LONG") != "" && took > time.Second {
				t.Errorf("%s: an edit was in force after %s, want less than a second", name, took)
			}
		}
	}
}
