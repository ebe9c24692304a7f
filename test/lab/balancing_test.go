package lab_test

import (
	"net/http"
	"strings"
	"testing"
)

const ratedIP = "10.96.0.97"

// balancedManifests: a client, and a server with two pods that answer after 10 ms and one that takes thirty times as long.
func balancedManifests(annotations, policy string) string {
	return app{name: "client", replicas: 1}.String() + app{name: "server", replicas: 2, args: `--latency, 10ms`}.String() +
		app{name: "server", version: "v2", replicas: 1, args: `--latency, 300ms`}.String() + `
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

// A pod that is much slower loses four fifths of its load to the others, and gets a third of it where nobody asks. It is so slow that on
// a busy machine, whose hiccups count as latency too, the others are still far from it.
func TestSlowPodLosesItsLoad(t *testing.T) {
	t.Parallel()
	m := startMesh(t, balancedManifests("fairlead.dev/load-balancer: RANDOM", ""))
	if got := shareOf(t, m, "v2", "--count", "60", "--concurrency", "4"); got < .1 {
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

// A pod that comes later gets little of the load while it warms up, and all of its share once nobody asks for that.
func TestWarmUp(t *testing.T) {
	t.Parallel()
	manifests := func(replicas int, warmUp string) string {
		return app{name: "client", replicas: 1}.String() + app{name: "server", replicas: 2}.String() +
			app{name: "server", version: "v2", replicas: replicas}.String() + service("rated", ratedIP, "app: server", http80) +
			object("networking.istio.io/v1", "DestinationRule", "rated", "  host: rated\n  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN"+warmUp+"}}")
	}
	const slowly = ", warmup: {duration: 3600s, minimumPercent: 0, aggression: 1}"
	m := startMesh(t, manifests(0, slowly))
	warming := func() (n int) {
		for _, e := range m.dump(t, client).Endpoints {
			if strings.HasPrefix(e.Cluster, "outbound|80||rated.") && e.WarmUp != nil {
				n++
			}
		}
		return n
	}
	if r := m.call(t, client, "http://rated/", "--count", "100"); r.OK != 100 || len(r.Pods) != 2 {
		t.Fatalf("pods that are all new: %+v", r)
	}
	m.write(t, "all.yaml", manifests(1, slowly))
	m.settle(t)
	eventually(t, "the new pod to be ready", func() bool { return warming() == 3 })
	if got := shareOf(t, m, "v2", "--count", "300"); got > .29 {
		t.Errorf("the new pod answered %.2f of the calls", got)
	}
	m.write(t, "all.yaml", manifests(1, ""))
	m.settle(t)
	eventually(t, "the new pod to have its share", func() bool { return shareOf(t, m, "v2", "--count", "300") > .3 })
}

// Pods get calls by the load that they report: the one that takes a quarter of the power for as many requests gets more. What
// they say reaches the client as they said it.
func TestBackendUtilization(t *testing.T) {
	t.Parallel()
	reports := func(utilization string) string {
		return `--header, "endpoint-load-metrics: TEXT cpu_utilization:` + utilization + `,rps_fractional:100"`
	}
	manifests := func(stabilization string) string {
		return app{name: "client", replicas: 1}.String() + app{name: "server", replicas: 1, args: reports("0.8")}.String() +
			app{name: "server", version: "v2", replicas: 1, args: reports("0.2")}.String() + service("rated", ratedIP, "app: server", http80) +
			object("networking.istio.io/v1", "DestinationRule", "rated", "  host: rated\n  trafficPolicy: {loadBalancer: {backendUtilization: {weightStabilizationPeriod: "+stabilization+", weightUpdatePeriod: 100ms}}}")
	}
	m := startMesh(t, manifests("3600s"))
	if got := shareOf(t, m, "v2", "--count", "40"); got < .4 || got > .6 {
		t.Errorf("before the reports count: %.2f of the calls", got)
	}
	m.write(t, "all.yaml", manifests("1s"))
	eventually(t, "the reports to count", func() bool { return shareOf(t, m, "v2", "--count", "100") > .7 })
	if got := shareOf(t, m, "v2", "--count", "300"); got < .77 || got > .83 {
		t.Errorf("%.2f of the calls went to the pod that takes a quarter, want .8", got)
	}
	if a := m.do(t, client, http.MethodGet, ratedIP+":80", "/"); !strings.HasPrefix(a.Header.Get("Endpoint-Load-Metrics"), "TEXT cpu_utilization:0.") {
		t.Errorf("the client sees %v", a.Header)
	}
	for _, e := range m.dump(t, client).Endpoints {
		if strings.HasPrefix(e.Cluster, "outbound|80||rated.") && e.Reported != 125 && e.Reported != 500 {
			t.Errorf("%s: weight by reports %v", e.Workload, e.Reported)
		}
	}
}
