package lab_test

import (
	"strings"
	"testing"
)

const ratedIP = "10.96.0.97"

// balancedManifests: a client, and a server with two pods that answer after 10 ms and one that takes ten times as long.
func balancedManifests(annotations, policy string) string {
	return app{name: "client", replicas: 1}.String() + app{name: "server", replicas: 2, args: `--latency, 10ms`}.String() +
		app{name: "server", version: "v2", replicas: 1, args: `--latency, 100ms`}.String() + `
apiVersion: v1
kind: Service
metadata: {name: rated, namespace: shop, annotations: {` + annotations + `}}
spec: {clusterIP: ` + ratedIP + `, selector: {app: server}, ports: [` + http80 + `]}
---` + policy
}

// shareOf gives the part of the calls that the pods of a version answered.
func shareOf(t *testing.T, m *mesh, version string, args ...string) float64 {
	t.Helper()
	r := m.call(t, client, append([]string{"http://rated/"}, args...)...)
	of := 0
	for pod, n := range r.Pods {
		if strings.HasPrefix(pod, "server-"+version+"-") {
			of += n
		}
	}
	if of == 0 && r.OK == 0 {
		t.Fatalf("no call succeeded: %+v", r)
	}
	return float64(of) / float64(r.OK)
}

// A pod that is ten times as slow loses four fifths of its load to the others, and gets a third of it where nobody asks.
func TestSlowPodLosesItsLoad(t *testing.T) {
	t.Parallel()
	m := startMesh(t, balancedManifests("fairlead.dev/load-balancer: RANDOM", ""))
	if got := shareOf(t, m, "v2", "--count", "60"); got < .1 {
		t.Errorf("RANDOM: the slow pod answered %.2f of the calls", got)
	}
	m.write(t, "all.yaml", balancedManifests("fairlead.dev/load-balancer: PEAK_EWMA", ""))
	m.settle(t)
	eventually(t, "the algorithm to be in force", func() bool {
		for _, c := range m.dump(t, client).Clusters {
			if strings.HasPrefix(c.FQDN, "rated.") && c.LoadBalancer == "PEAK_EWMA" {
				return true
			}
		}
		return false
	})
	shareOf(t, m, "v2", "--count", "30") // what is not known yet is tried
	if got := shareOf(t, m, "v2", "--count", "400", "--concurrency", "4"); got > .2/3 {
		t.Errorf("PEAK_EWMA: the slow pod answered %.3f of the calls, want at most a fifth of a third", got)
	}
	for _, e := range m.dump(t, client).Endpoints {
		if strings.HasPrefix(e.Cluster, "outbound|80||rated.") && e.Latency == "" {
			t.Errorf("%s: no latency is shown", e.Workload)
		}
	}
}
