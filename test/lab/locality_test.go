package lab_test

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const localityIP = "10.96.0.98"

// localityManifests: the client and four pods v1 in one zone, two v2 in another one, and one v3 in another region.
func localityManifests(setting string) string {
	var b strings.Builder
	for node, place := range map[string][2]string{"near": {"west", "a"}, "neighbour": {"west", "b"}, "far": {"east", "c"}} {
		fmt.Fprintf(&b, "\napiVersion: v1\nkind: Node\nmetadata: {name: %s, labels: {topology.kubernetes.io/region: %s, "+
			"topology.kubernetes.io/zone: %s}}\n---", node, place[0], place[1])
	}
	b.WriteString(app{name: "client", replicas: 1}.on("near"))
	for i, node := range []string{"near", "neighbour", "far"} {
		b.WriteString(app{name: "server", version: fmt.Sprintf("v%d", i+1), replicas: 4 >> i}.on(node))
	}
	b.WriteString(service("placed", localityIP, "app: server", http80, ""))
	return b.String() + `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: placed, namespace: shop}
spec:
  host: placed
  trafficPolicy: {loadBalancer: {localityLbSetting: ` + setting + `}}
---`
}

// Calls stay in the zone for as long as enough of its pods are ready; then as many leave as those are short of, to the next
// zone before another region. No outlierDetection is written anywhere.
func TestLocality(t *testing.T) {
	t.Parallel()
	m := startMesh(t, localityManifests("{}"))
	const calls = 400
	// shares gives the percentage of calls by version, all of which must succeed.
	shares := func() map[string]int {
		r := m.call(t, client, "http://placed/", "--count", strconv.Itoa(calls))
		if r.OK != calls {
			return nil
		}
		out := map[string]int{}
		for version, n := range r.Versions {
			out[version] = 100 * n / calls
		}
		return out
	}
	// come waits for these shares: by chance 400 calls differ from them by 10 points once in a hundred thousand times.
	come := func(t *testing.T, want map[string]int) {
		t.Helper()
		eventually(t, fmt.Sprint("the shares to be ", want), func() bool {
			got := shares()
			for version := range want {
				if math.Abs(float64(got[version]-want[version])) > 10 {
					return false
				}
			}
			return slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		})
	}
	st := m.settle(t)
	pods := map[string][]string{"v1": podNames(st, "server-v1"), "v2": podNames(st, "server-v2")}
	ready := func(version string, number int, ok bool) {
		m.do(t, pods[version][number], http.MethodPost, "127.0.0.1:8080", fmt.Sprintf("/ready?ok=%t", ok))
	}
	t.Run("near", func(t *testing.T) { come(t, map[string]int{"v1": 100}) })
	t.Run("half_of_the_zone_is_not_ready", func(t *testing.T) {
		ready("v1", 0, false)
		ready("v1", 1, false)
		come(t, map[string]int{"v1": 70, "v2": 30})
		levels := map[string]bool{}
		for _, e := range m.dump(t, client).Endpoints {
			if strings.Contains(e.Cluster, "|placed.") && e.Level != nil {
				levels[fmt.Sprintf("%s %s %d %.0f%% %s", e.Locality, e.Status, *e.Level, *e.LevelPercent, e.Unused)] = true
			}
		}
		want := []string{
			"east/c HEALTHY 2 0% nearer endpoints carry all calls", "west/a HEALTHY 0 70% ", "west/a UNHEALTHY 0 70% not ready", "west/b HEALTHY 1 30% ",
		}
		if got := slices.Sorted(maps.Keys(levels)); !slices.Equal(got, want) {
			t.Errorf("levels %q, want %q", got, want)
		}
	})
	t.Run("none_of_the_zone_is_ready", func(t *testing.T) {
		ready("v1", 2, false)
		ready("v1", 3, false)
		come(t, map[string]int{"v2": 100})
	})
	t.Run("none_of_the_region_is_ready", func(t *testing.T) {
		ready("v2", 0, false)
		ready("v2", 1, false)
		come(t, map[string]int{"v3": 100})
	})
	t.Run("back_again", func(t *testing.T) {
		for i := range 4 {
			ready("v1", i, true)
		}
		come(t, map[string]int{"v1": 100})
	})
	t.Run("shared_out", func(t *testing.T) {
		ready("v2", 0, true)
		ready("v2", 1, true)
		m.write(t, "all.yaml", localityManifests("{distribute: [{from: west/a, to: {west/a: 80, west/b: 20}}]}"))
		come(t, map[string]int{"v1": 80, "v2": 20})
	})
}
