package lab_test

import (
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/lab"
)

const batch = "deploy/batch-v1"

// selectedManifests are two callers and, with and without a sidecar, two versions of what they call.
func selectedManifests() string {
	var b strings.Builder
	b.WriteString(app{name: "client", replicas: 1}.String() + app{name: "batch", replicas: 1}.String())
	for name, ip := range selectedHosts() {
		for _, version := range []string{"v1", "v2"} {
			b.WriteString(app{name: name, version: version, replicas: 1, bare: name == "bare"}.String())
		}
		b.WriteString(service(name, ip, "app: "+name, http80))
		b.WriteString(subsets(name))
		b.WriteString(virtualService(name, `
  http:
  - route: [{destination: {host: `+name+`, subset: v1}}]`))
		b.WriteString(object("networking.istio.io/v1", "DestinationRule", name+"-batch", `
  host: `+name+`
  workloadSelector: {matchLabels: {app: batch}}
  subsets: [{name: v1, labels: {version: v2}}]`))
	}
	return b.String()
}

func selectedHosts() map[string]string {
	return map[string]string{"meshed": "10.96.0.150", "bare": "10.96.0.151"}
}

// A DestinationRule with a workloadSelector is for the calls of those workloads alone, and what contradicts is said.
func TestWorkloadSelector(t *testing.T) {
	t.Parallel()
	m := startMesh(t, selectedManifests())
	for name := range selectedHosts() {
		for caller, version := range map[string]string{client: "v1", batch: "v2"} {
			for _, protocol := range [][]string{nil, {"--http2"}} {
				t.Run(strings.Join(append([]string{name, caller}, protocol...), " "), func(t *testing.T) {
					r := m.call(t, caller, append([]string{"http://" + name + "/", "--count", "10"}, protocol...)...)
					if r.OK != 10 || r.Versions[version] != 10 {
						t.Errorf("%d calls of 10 were answered, by %v; want %s alone", r.OK, r.Versions, version)
					}
				})
			}
		}
	}
	for caller, rules := range map[string]string{client: "meshed.shop", batch: "meshed-batch.shop,meshed.shop"} {
		m.call(t, caller, "http://meshed/")
		if out := m.cli(t, "proxy-config", "clusters", caller, "-n", "shop", "--fqdn", "meshed.shop.svc.cluster.local"); !strings.Contains(out, " "+rules+" ") && !strings.Contains(out, " "+rules+"\n") {
			t.Errorf("proxy-config clusters %s does not name %s:\n%s", caller, rules, out)
		}
	}
	m.write(t, "twice.yaml", object("networking.istio.io/v1", "DestinationRule", "meshed-later", `
  host: meshed
  subsets: [{name: v1, labels: {version: v9}}]`))
	m.await(t, "the conflict to be said of both", func(*lab.Status) bool {
		said := m.problems(t)
		return strings.Contains(said, `DestinationRule shop/meshed-later: spec.subsets[0]: no effect`) &&
			strings.Contains(said, `DestinationRule shop/meshed: spec.subsets[0]: meshed.shop.svc.cluster.local also has DestinationRule shop/meshed-later`)
	})
}
