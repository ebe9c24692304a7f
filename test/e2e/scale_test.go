//go:build kube

package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// A thousand Services with ten endpoints each, written straight to the API server: what a cluster costs that a
// workload does not call.
func TestScale(t *testing.T) {
	const services, endpoints = 1000, 10
	n := meshed(t, "scale-out")
	n.apply(t, server("users", 1))
	n.startClient(t)
	n.rollout(t, "deployment/users")
	noneFailed(t, "before", n.call(t, "client", "http://users:8080/", "--count", "20"))
	controllerBefore, sidecarBefore := controllerMemory(t), n.memory(t, "client", "fairlead-proxy")

	crowd := newNamespace(t, "crowd")
	address := netip.MustParseAddr("10.77.0.1")
	var all strings.Builder
	for s := range services {
		fmt.Fprintf(&all, `{"apiVersion":"v1","kind":"Service","metadata":{"name":"s%[1]d"},"spec":{"ports":[{"name":"http","port":80}]}}
{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"s%[1]d","labels":{"kubernetes.io/service-name":"s%[1]d"}},"addressType":"IPv4","ports":[{"name":"http","port":8080}],"endpoints":[`, s)
		for e := range endpoints {
			if e > 0 {
				all.WriteByte(',')
			}
			fmt.Fprintf(&all, `{"addresses":[%q],"conditions":{"ready":true}}`, address)
			address = address.Next()
		}
		all.WriteString("]}\n")
	}
	must(t, all.String(), "-n", crowd.name, "create", "-f", "-")

	begun := time.Now()
	must(t, "", "-n", system, "rollout", "restart", "deployment/fairlead-controller")
	must(t, "", "-n", system, "rollout", "status", "deployment/fairlead-controller", "--timeout=60s")
	t.Logf("controller restarted and ready after %.1f s (budget 15 s)", time.Since(begun).Seconds())
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("the controller took %s to be replaced and ready", took)
	}
	noneFailed(t, "after", n.call(t, "client", "http://users:8080/", "--count", "20"))
	var controller, sidecar int64
	eventually(t, "memory is measured", func() (string, bool) {
		controller, sidecar = controllerMemory(t), n.memory(t, "client", "fairlead-proxy")
		return fmt.Sprint(controller, sidecar), controller > 0 && sidecar > 0
	})
	crowd.churn(t)
	const mib = 1 << 20
	t.Logf("RSS: controller %.1f -> %.1f MiB, sidecar %.1f -> %.1f MiB", float64(controllerBefore)/mib, float64(controller)/mib,
		float64(sidecarBefore)/mib, float64(sidecar)/mib)
	if grown := sidecar - sidecarBefore; grown > 2*mib {
		t.Errorf("the sidecar grew by %d bytes for Services that it does not call (budget 2 MiB)", grown)
	}
}

// churn changes endpoints and shows what that costs the controller.
func (n *namespace) churn(t *testing.T) {
	t.Helper()
	const changes = 100
	before := controllerCPU(t, time.Time{})
	for i := range changes {
		n.kubectl(t, "patch", "endpointslice", fmt.Sprintf("s%d", i), "--type=json", "-p",
			fmt.Sprintf(`[{"op":"replace","path":"/endpoints/0/conditions/ready","value":%t}]`, i%2 == 1))
	}
	after := controllerCPU(t, time.Now())
	t.Logf("controller CPU while %d endpoints changed: %s, %s each, idle work included", changes, after-before, (after-before)/changes)
}

// controllerCPU gives what the controller has used in all, as the kubelet measured it after a time.
func controllerCPU(t *testing.T, after time.Time) (used time.Duration) {
	t.Helper()
	eventually(t, "CPU is measured", func() (string, bool) {
		for _, c := range containers(t, system, "fairlead-controller", "controller") {
			if c.CPU.Time.After(after) {
				used = time.Duration(c.CPU.UsageCoreNanoSeconds)
				return "", true
			}
		}
		return "no measurement yet", false
	})
	return used
}

const system = "fairlead-system"

// memory gives the resident set of a container as the kubelet measures it; 0 where it has not yet.
func (n *namespace) memory(t *testing.T, pod, container string) int64 {
	t.Helper()
	return resident(t, n.name, pod, container)
}

// controllerMemory gives the largest resident set among the controller's replicas.
func controllerMemory(t *testing.T) int64 {
	t.Helper()
	return resident(t, system, "fairlead-controller", "controller")
}

func resident(t *testing.T, namespace, podPrefix, container string) (rss int64) {
	t.Helper()
	for _, c := range containers(t, namespace, podPrefix, container) {
		rss = max(rss, c.Memory.RSSBytes)
	}
	return rss
}

// usage is what a container uses.
type usage struct {
	Name   string
	Memory struct{ RSSBytes int64 }
	CPU    struct {
		Time                 time.Time
		UsageCoreNanoSeconds int64
	}
}

// containers gives what the kubelets measured of the containers of one name in pods whose names begin with podPrefix.
func containers(t *testing.T, namespace, podPrefix, container string) (out []usage) {
	t.Helper()
	for node := range strings.FieldsSeq(must(t, "", "get", "nodes", "-o", "jsonpath={.items[*].metadata.name}")) {
		var summary struct {
			Pods []struct {
				PodRef     struct{ Name, Namespace string }
				Containers []usage
			}
		}
		if err := json.Unmarshal([]byte(must(t, "", "get", "--raw", "/api/v1/nodes/"+node+"/proxy/stats/summary")), &summary); err != nil {
			t.Fatal(err)
		}
		for _, p := range summary.Pods {
			if p.PodRef.Namespace != namespace || !strings.HasPrefix(p.PodRef.Name, podPrefix) {
				continue
			}
			for _, c := range p.Containers {
				if c.Name == container {
					out = append(out, c)
				}
			}
		}
	}
	return out
}
