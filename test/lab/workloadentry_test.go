package lab_test

import (
	"fmt"
	"strings"
	"testing"
)

// A workload that is no pod of the mesh is called as an endpoint of the Service and of the ServiceEntry that select it, and no
// longer once its entry is gone.
func TestWorkloadEntry(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1}.String()+
		app{name: "machine", version: "v9", replicas: 1, bare: true}.String()+
		service("mixed", "10.96.0.93", "app: server", "{name: http, port: 80, targetPort: 8080}")+
		object("networking.istio.io/v1", "ServiceEntry", "machines", `
  hosts: [machines.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{name: web, number: 80, protocol: HTTP}]
  workloadSelector: {labels: {kind: machine}}`))
	answers := func(host string) map[string]int {
		r := m.call(t, client, "http://"+host+"/", "--count", "40")
		if r.OK != 40 {
			return nil
		}
		return r.Versions
	}
	if got := answers("mixed"); got["v1"] != 40 {
		t.Fatalf("without an entry: %v", got)
	}
	entry := func(more string) string {
		return object("networking.istio.io/v1", "WorkloadEntry", "machine", fmt.Sprintf(`
  address: %s
  labels: {app: server, kind: machine}
  ports: {web: 8080}%s`, m.find(t, "deploy/machine-v9").IPs[0], more))
	}
	m.write(t, "entry.yaml", entry(""))
	eventually(t, "the Service to have the machine beside its pod", func() bool {
		got := answers("mixed")
		return got["v1"] >= 10 && got["v9"] >= 10
	})
	eventually(t, "the ServiceEntry to have it alone", func() bool { return answers("machines.example.com")["v9"] == 40 })
	m.write(t, "entry.yaml", entry("\n  weight: 9"))
	eventually(t, "the machine to get nine calls of ten", func() bool { return answers("mixed")["v9"] >= 32 })
	m.write(t, "entry.yaml", strings.Replace(entry(""), "namespace: shop}", `namespace: shop, annotations: {proxy.istio.io/health-checks-enabled: "true"}}`, 1)) // and nobody says that it is well
	eventually(t, "the machine to be called no more", func() bool { return answers("mixed")["v1"] == 40 })
	m.write(t, "entry.yaml", entry(""))
	eventually(t, "the machine to be back", func() bool { return answers("mixed")["v9"] >= 10 })
	m.write(t, "entry.yaml", "")
	eventually(t, "the machine to be gone", func() bool { return answers("mixed")["v1"] == 40 })
}
