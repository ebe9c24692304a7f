package lab_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// Addresses of the Services in TestPlaces.
const (
	localIP  = "10.96.0.90"
	closeIP  = "10.96.0.91"
	nodeIP   = "10.96.0.92"
	stickyIP = "10.96.0.93"
)

// placeManifests: two nodes in one zone and one in another; the client on the first, a version of the server on each.
// replicas are those of v1, v2 and v3.
func placeManifests(replicas [3]int) string {
	var b strings.Builder
	for name, zone := range map[string]string{"near": "west-1", "neighbour": "west-1", "far": "west-2"} {
		fmt.Fprintf(&b, "\napiVersion: v1\nkind: Node\nmetadata: {name: %s, labels: {topology.kubernetes.io/region: west, "+
			"topology.kubernetes.io/zone: %s}}\n---", name, zone)
	}
	b.WriteString(app{name: "client", replicas: 1}.on("near"))
	for i, node := range []string{"near", "neighbour", "far"} {
		b.WriteString(app{name: "server", version: fmt.Sprintf("v%d", i+1), replicas: replicas[i]}.on(node))
	}
	b.WriteString(service("local", localIP, "app: server", http80, "internalTrafficPolicy: Local"))
	b.WriteString(service("close", closeIP, "app: server", http80, "trafficDistribution: PreferClose"))
	b.WriteString(service("node", nodeIP, "app: server", http80, "trafficDistribution: PreferSameNode"))
	b.WriteString(service("sticky", stickyIP, "app: server", http80, "sessionAffinity: ClientIP"))
	return b.String()
}

// on is the app on one node.
func (a app) on(node string) string {
	return strings.Replace(a.String(), "serviceAccountName:", "nodeName: "+node+"\n      serviceAccountName:", 1)
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	m := startMesh(t, placeManifests([3]int{2, 1, 1}))
	// versions that answer 30 calls of a Service, all of which must succeed
	versions := func(service string) string {
		r := m.call(t, client, "http://"+service+"/", "--count", "30")
		if r.OK != 30 {
			return fmt.Sprintf("%+v", r)
		}
		return strings.Join(slices.Sorted(maps.Keys(r.Versions)), " ")
	}
	for _, step := range []struct {
		name     string
		replicas [3]int
		local    string // the versions behind each Service
		close    string
		node     string
	}{
		{"pods_on_every_node", [3]int{2, 1, 1}, "v1", "v1 v2", "v1"},
		{"none_on_the_callers_node", [3]int{0, 1, 1}, "", "v2", "v2"},
		{"none_in_the_callers_zone", [3]int{0, 0, 1}, "", "v3", "v3"},
		{"back_again", [3]int{1, 0, 1}, "v1", "v1", "v1"},
	} {
		t.Run(step.name, func(t *testing.T) {
			m.write(t, "all.yaml", placeManifests(step.replicas))
			for name, want := range map[string]string{"close": step.close, "node": step.node} {
				eventually(t, name+" to be "+want, func() bool { return versions(name) == want })
			}
			if step.local != "" {
				eventually(t, "local to be "+step.local, func() bool { return versions("local") == step.local })
				return
			}
			var a answer
			eventually(t, "local to be nobody", func() bool { // each Service is told of on its own
				a = m.do(t, client, http.MethodGet, localIP+":80", "/")
				return a.StatusCode != http.StatusOK
			})
			const why = "internalTrafficPolicy Local of Service shop/local allows only endpoints on the caller's node near: excluded: "
			if a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, why) || !strings.Contains(a.body, "healthy on node far") {
				t.Errorf("local answers %d %q, want 503 and why", a.StatusCode, a.body)
			}
		})
	}
	t.Run("a_client_stays_with_its_pod", func(t *testing.T) {
		before := m.call(t, client, "http://sticky/", "--count", "30")
		if before.OK != 30 || len(before.Pods) != 1 {
			t.Fatalf("30 calls: %+v, want one pod", before)
		}
		m.write(t, "all.yaml", placeManifests([3]int{3, 2, 2}))
		m.settle(t)
		eventually(t, "the new pods to be called", func() bool { return len(m.call(t, client, "http://close/", "--count", "60").Pods) == 5 })
		after := m.call(t, client, "http://sticky/", "--count", "30")
		if after.OK != 30 || !maps.Equal(before.Pods, after.Pods) {
			t.Errorf("after more pods came: %+v, want all at %v", after, before.Pods)
		}
	})
	t.Run("the_sidecar_tells", func(t *testing.T) {
		d := m.dump(t, client)
		want := map[string]string{"local": "Local", "close": "PreferSameZone", "node": "PreferSameNode", "sticky": ""}
		for _, c := range d.Clusters {
			name, _, _ := strings.Cut(c.FQDN, ".")
			if proximity, ok := want[name]; ok && c.Direction == "outbound" {
				if c.Proximity != proximity || (c.LoadBalancer == "CLIENT_IP") != (name == "sticky") {
					t.Errorf("cluster %s: proximity %q, load balancer %s", c.Name, c.Proximity, c.LoadBalancer)
				}
				delete(want, name)
			}
		}
		if len(want) > 0 {
			t.Errorf("no clusters of %v", want)
		}
		for _, e := range d.Endpoints {
			if strings.Contains(e.Cluster, "|close.") && (e.Node == "" || !strings.HasPrefix(e.Locality, "west/west-")) {
				t.Errorf("endpoint %s: node %q, locality %q", e.Address, e.Node, e.Locality)
			}
		}
	})
}
