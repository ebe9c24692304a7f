package controlplane

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/observe"
	"fairlead.dev/fairlead/internal/store"
)

// TestServiceView: those who ask share one answer, and what changes all the time costs a tenth of the time.
func TestServiceView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v serviceView
		compiled := 0
		snapshots := make([]store.Snapshot, 3)
		for i := range snapshots {
			snapshots[i], _ = compiletest.Load(t, "")
		}
		slow := func() []observe.Service {
			compiled++
			time.Sleep(100 * time.Millisecond)
			return []observe.Service{{Name: strconv.Itoa(compiled)}}
		}
		want := func(step, name string, total int) {
			t.Helper()
			if compiled != total || v.all[0].Name != name {
				t.Errorf("%s: answer %s of %d", step, v.all[0].Name, compiled)
			}
		}
		for range 5 {
			v.get(snapshots[0], slow)
		}
		want("five who ask", "1", 1)
		time.Sleep(500 * time.Millisecond)
		v.get(snapshots[1], slow)
		want("a change while it rests", "1", 1)
		time.Sleep(500 * time.Millisecond)
		v.get(snapshots[1], slow)
		want("after that", "2", 2)
		time.Sleep(time.Hour)
		v.get(snapshots[1], slow)
		want("nothing has changed", "2", 2)

		began := time.Now()
		for i := 0; time.Since(began) < 10*time.Second; i++ {
			v.get(snapshots[i%2], slow)
			time.Sleep(time.Millisecond)
		}
		if n := compiled - 2; n > 11 {
			t.Errorf("compiled %d times in 10 s of changes, 100 ms each", n)
		}
	})
}

// TestServiceViewOfClusters: pods of two clusters that have one name are told apart.
func TestServiceViewOfClusters(t *testing.T) {
	const service = `
apiVersion: v1
kind: Service
metadata: {name: users, namespace: shop}
spec: {clusterIP: 10.96.0.1, selector: {app: users}, ports: [{name: http, port: 80, targetPort: 8080}]}
---`
	pod := func(owner, ip, made string) string {
		return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: users-0
  namespace: shop
  labels: {app: users}
  creationTimestamp: %q
  ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: %s, uid: u, controller: true}]
status: {podIP: %[3]s, podIPs: [{ip: %[3]s}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: users-1, namespace: shop, labels: {kubernetes.io/service-name: users}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [%[3]s], conditions: {ready: true}, targetRef: {kind: Pod, name: users-0, namespace: shop}}
---`, made, owner, ip)
	}
	snapshot, problems := compiletest.LoadClusters(t, map[string]string{
		"": service + pod("users", "10.1.0.1", "2026-01-01T00:00:00Z"), "east": service + pod("people", "10.2.0.1", "2026-01-02T00:00:00Z"),
	})
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	d := described{r: store.NewReader(snapshot), global: compile.Global{TrustDomain: "cluster.local", ClusterDomain: "cluster.local"}}
	var got []string
	for _, e := range d.services()[0].Endpoints {
		got = append(got, fmt.Sprint(e.Address, " ", e.Cluster, " ", e.Workload, " ", time.UnixMilli(e.Since).UTC().Day()))
	}
	want := []string{"10.1.0.1:8080  shop/statefulset/users 1", "10.2.0.1:8080 east shop/statefulset/people@east 2"}
	if !slices.Equal(got, want) {
		t.Errorf("endpoints %q, want %q", got, want)
	}
}

// BenchmarkServiceView compiles Services of ten endpoints and a route of two backends, as a dashboard does after a change.
func BenchmarkServiceView(b *testing.B) {
	for _, n := range []int{500, 1000} {
		var all strings.Builder
		for i := range n {
			fmt.Fprintf(&all, `
apiVersion: v1
kind: Service
metadata: {name: s%[1]d, namespace: shop}
spec: {clusterIP: 10.96.%[2]d.%[3]d, selector: {app: s%[1]d}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: s%[1]d, namespace: shop}
spec: {hosts: [s%[1]d], http: [{route: [{destination: {host: s%[1]d}, weight: 90}, {destination: {host: s0}, weight: 10}]}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s%[1]d-1, namespace: shop, labels: {kubernetes.io/service-name: s%[1]d}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
`, i, i/250, i%250+1)
			for e := range 10 {
				fmt.Fprintf(&all, "- {addresses: [10.%d.%d.%d], conditions: {ready: true}}\n", 1+e, i/250, i%250+1)
			}
			all.WriteString("---\n")
		}
		snapshot, problems := compiletest.Load(b, all.String())
		if len(problems) > 0 {
			b.Fatal(problems[0])
		}
		d := described{global: compile.Global{TrustDomain: "cluster.local", ClusterDomain: "cluster.local"}}
		b.Run("services="+strconv.Itoa(n), func(b *testing.B) {
			for b.Loop() {
				d.r = store.NewReader(snapshot)
				if got := d.services(); len(got) != n || len(got[0].Endpoints) != 10 || len(got[0].Routes) != 1 {
					b.Fatalf("%d Services, the first %+v", len(got), got[0])
				}
			}
		})
	}
}
