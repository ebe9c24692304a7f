package compile_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

const ledgerEntry = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ledger, namespace: shop}
spec:
  hosts: [ledger.example, ledger.test]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 443, name: tls, protocol: TLS}, {number: 80, name: http, protocol: HTTP, targetPort: 7000}]
  endpoints: [{address: 192.0.2.1}, {address: 192.0.2.2, ports: {tls: 8443}}, {address: 10.1.0.1}, {address: 169.254.1.1}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: picked, namespace: shop}
spec: {hosts: [picked.example], location: MESH_INTERNAL, resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP, targetPort: 7000}], workloadSelector: {labels: {app: reviews}}}
---
apiVersion: fairlead.dev/v1alpha1
kind: HealthCheckPolicy
metadata: {name: ledger, namespace: shop}
spec: {targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: ledger}, {group: networking.istio.io, kind: ServiceEntry, name: picked}], tcp: {receive: hello}}
---
`

// TestProbesAreOfEndpointsWithoutASidecar: whom callers check, and at which port.
func TestProbesAreOfEndpointsWithoutASidecar(t *testing.T) {
	slow := strings.NewReplacer("10.1.0.3], conditions: {ready: true}", "10.1.0.3], conditions: {ready: false}").Replace(checkedReviews)
	tests := []struct {
		name, manifests, policy string
		want                    []string
	}{
		{"a pod of a Service", checkedReviews + reviewsPolicy, "reviews", []string{"10.1.0.3:8080 of reviews.shop.svc.cluster.local"}},
		{"one that is not ready", slow + reviewsPolicy, "reviews", nil},
		{"at the policy's port", checkedReviews + strings.Replace(reviewsPolicy, "interval: 5s", "port: 9000", 1), "reviews", []string{"10.1.0.3:9000 of reviews.shop.svc.cluster.local"}},
		{"an address without a pod", checkedReviews + reviewsPolicy + `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-2, namespace: shop, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 80}]
endpoints: [{addresses: [192.0.2.9], conditions: {ready: true}}]
---
`, "reviews", []string{"10.1.0.3:8080 of reviews.shop.svc.cluster.local", "192.0.2.9:80 of reviews.shop.svc.cluster.local"}},
		{"ServiceEntries, static and selecting", checkedReviews + ledgerEntry, "ledger", []string{
			"10.1.0.3:7000 of shop/picked.example",
			"192.0.2.1:443 of shop/ledger.example shop/ledger.test",
			"192.0.2.2:8443 of shop/ledger.example shop/ledger.test",
		}},
		{"WorkloadEntries that a Service selects", checkedReviews + reviewsPolicy + `
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: shop}
spec: {address: 192.0.2.7, labels: {app: reviews}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: ill, namespace: shop, annotations: {proxy.istio.io/health-checks-enabled: "true"}}
spec: {address: 192.0.2.8, labels: {app: reviews}}
---
`, "reviews", []string{"10.1.0.3:8080 of reviews.shop.svc.cluster.local", "192.0.2.7:8080 of shop/reviews.shop.svc.cluster.local"}},
		{"a policy that another one precedes", checkedReviews + reviewsPolicy + strings.NewReplacer("name: reviews, namespace: shop, creationTimestamp: \"2026-01-02", "name: late, namespace: shop, creationTimestamp: \"2026-01-03").Replace(reviewsPolicy), "late", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newCheckedWorld(t, tt.manifests).reader()
			p := store.Get[model.HealthCheckPolicy](r, model.Ref{Kind: "HealthCheckPolicy", Key: model.Key{Namespace: "shop", Name: tt.policy}})
			var got []string
			for _, e := range compile.Probes(r, global(), p) {
				if e.How.Port != e.Target.Addr.Port() || e.Target.Policy != p.Ref.Key {
					t.Errorf("%+v", e)
				}
				got = append(got, e.Target.Addr.String()+" of "+strings.Join(e.Destinations, " "))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestCompileOfAProbeTakesTheEndpointAway: what callers find takes away endpoints without a sidecar, on all ports, and no
// others.
func TestCompileOfAProbeTakesTheEndpointAway(t *testing.T) {
	w := newCheckedWorld(t, checkedReviews+reviewsPolicy+ledgerEntry)
	fails := func(policy, at string) {
		w.Commit(func(tx *store.Txn) {
			tx.SetEndpointHealth(model.EndpointHealth{
				Target:  model.ProbeTarget{Policy: model.Key{Namespace: "shop", Name: policy}, Addr: netip.MustParseAddrPort(at)},
				Failing: true, Why: "refused", Since: time.Unix(60, 0),
			})
		})
	}
	fails("reviews", "10.1.0.1:8080") // it has a sidecar, which alone speaks of it
	fails("reviews", "10.1.0.3:8080")
	fails("ledger", "192.0.2.2:8443")
	fails("reviews", "192.0.2.1:443")
	const reviews, ledger = "HealthCheckPolicy shop/reviews: ", "HealthCheckPolicy shop/ledger: refused since 00:01:00"
	if diff := cmp.Diff([]string{
		"10.1.0.1:8081 HEALTHY", "10.1.0.2:8081 FAILED_ACTIVE_HC: " + reviews + "no answer within 1s since 00:00:00",
		"10.1.0.3:8081 FAILED_ACTIVE_HC: " + reviews + "refused since 00:01:00",
	}, w.health("eps/reviews.shop.svc.cluster.local:81/slice/reviews-1")); diff != "" {
		t.Errorf("Service (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"192.0.2.1:7000 HEALTHY", "192.0.2.2:7000 FAILED_ACTIVE_HC: " + ledger, "10.1.0.1:7000 HEALTHY", "169.254.1.1:7000 HEALTHY"}, w.health("eps/ledger.example:80/static/shop")); diff != "" {
		t.Errorf("ServiceEntry (-want +got):\n%s", diff)
	}
	fails("ledger", "10.1.0.3:7000")
	if got := strings.Join(w.health("eps/picked.example:80/workloads/shop"), "\n"); !strings.Contains(got, "10.1.0.3:7000 FAILED_ACTIVE_HC: "+ledger) || !strings.Contains(got, "10.1.0.1:7000 HEALTHY") {
		t.Errorf("workloadSelector: %s", got)
	}
}

// TestCompileTellsTheSidecarWhatToProbe: a sidecar is told what it checks of others; a pod without one is not.
func TestCompileTellsTheSidecarWhatToProbe(t *testing.T) {
	w := newCheckedWorld(t, checkedReviews+reviewsPolicy)
	for _, pod := range []string{"a", "plain"} {
		w.Commit(func(tx *store.Txn) {
			tx.SetPodProbes(model.PodProbes{Pod: model.ClusterKey{Key: model.Key{Namespace: "shop", Name: pod}}, Probes: []model.Probe{{
				Target: model.ProbeTarget{Policy: model.Key{Namespace: "shop", Name: "reviews"}, Addr: netip.MustParseAddrPort("10.1.0.3:8080")},
				How:    model.HealthCheck{Port: 8080, HTTP: &model.HTTPCheck{Path: "/"}},
			}}})
		})
		got := strings.Contains(text(compile.Compile(w.reader(), global(), "in/shop/"+pod)), "  probe shop/reviews http 10.1.0.3 port=8080\n")
		if got != (pod == "a") {
			t.Errorf("%s is told: %t", pod, got)
		}
	}
}
