package compile_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/source/file"
	"fairlead.dev/fairlead/internal/store"
)

const checkedReviews = `
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {clusterIP: 10.96.0.1, selector: {app: reviews}, ports: [{name: dns, port: 53, protocol: UDP}, {name: http, port: 80, targetPort: 8080}, {name: admin, port: 81, targetPort: 8081}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop, labels: {app: reviews}, annotations: {fairlead.dev/status: injected}}
spec: {containers: [{name: app, image: x}]}
status: {podIP: 10.1.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: shop, labels: {app: reviews}, annotations: {fairlead.dev/status: injected}}
spec: {containers: [{name: app, image: x}]}
status:
  podIP: 10.1.0.2
  conditions: [{type: health.fairlead.dev/reviews, status: "False", message: no answer within 1s, lastTransitionTime: "2026-01-01T00:00:00Z"}]
---
apiVersion: v1
kind: Pod
metadata: {name: plain, namespace: shop, labels: {app: reviews}}
spec: {containers: [{name: app, image: x}]}
status: {podIP: 10.1.0.3}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, namespace: shop, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: admin, port: 8081}]
endpoints:
  - {addresses: [10.1.0.1], conditions: {ready: true}, targetRef: {kind: Pod, namespace: shop, name: a}}
  - {addresses: [10.1.0.2], conditions: {ready: true}, targetRef: {kind: Pod, namespace: shop, name: b}}
  - {addresses: [10.1.0.3], conditions: {ready: true}, targetRef: {kind: Pod, namespace: shop, name: plain}}
---
`

const reviewsPolicy = `
apiVersion: fairlead.dev/v1alpha1
kind: HealthCheckPolicy
metadata: {name: reviews, namespace: shop, creationTimestamp: "2026-01-02T00:00:00Z"}
spec: {targetRefs: [{group: "", kind: Service, name: reviews}], http: {path: /healthz}, interval: 5s}
---
`

// checkedWorld is a store that manifests are loaded into.
type checkedWorld struct {
	*store.Store
	t *testing.T
}

func newCheckedWorld(t *testing.T, manifests string) checkedWorld {
	t.Helper()
	w := checkedWorld{store.New(), t}
	objects, problems := file.Decode("mesh.yaml", []byte(manifests))
	kinds := config.NewTable()
	w.Commit(func(tx *store.Txn) {
		for i := range objects {
			tr := kinds.Translate(objects[i].Value, config.Place{Ref: objects[i].Ref, ClusterDomain: "cluster.local"})
			if problems = append(problems, tr.Problems...); tr.Commit != nil {
				tr.Commit(tx)
			}
		}
	})
	for _, p := range problems {
		t.Fatal(p)
	}
	return w
}

// health gives the health of endpoints by the last part of their address, and what failing ones say.
func (w checkedWorld) health(shard string) (out []string) {
	w.t.Helper()
	s, ok := compile.Compile(store.NewReader(w.Snapshot()), global(), shard).(*plan.EndpointShard)
	if !ok {
		w.t.Fatalf("no %s", shard)
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		line := e.Addr.String() + " " + e.Health.String()
		if e.Failure != (plan.Failure{}) {
			line += ": " + e.Failure.Policy + ": " + e.Failure.Why + " since " + time.Unix(int64(e.Failure.Since), 0).UTC().Format(time.TimeOnly)
		}
		out = append(out, line)
	}
	return out
}

func TestCompileOfACheckTakesTheEndpointAway(t *testing.T) {
	const shard = "eps/reviews.shop.svc.cluster.local:81/slice/reviews-1" // of a port that is not the checked one
	podA := model.ClusterKey{Key: model.Key{Namespace: "shop", Name: "a"}}
	podB := model.ClusterKey{Key: model.Key{Namespace: "shop", Name: "b"}}
	ready := []string{"10.1.0.1:8081 HEALTHY", "10.1.0.2:8081 HEALTHY", "10.1.0.3:8081 HEALTHY"}
	if diff := cmp.Diff(ready, newCheckedWorld(t, checkedReviews).health(shard)); diff != "" {
		t.Errorf("a condition that no policy asks for (-want +got):\n%s", diff)
	}
	w := newCheckedWorld(t, checkedReviews+reviewsPolicy)
	ofB := "10.1.0.2:8081 FAILED_ACTIVE_HC: HealthCheckPolicy shop/reviews: no answer within 1s since 00:00:00"
	if diff := cmp.Diff([]string{ready[0], ofB, ready[2]}, w.health(shard)); diff != "" {
		t.Errorf("what another replica wrote into the pod's status (-want +got):\n%s", diff)
	}
	set := func(pod model.ClusterKey, results ...model.CheckResult) {
		w.Commit(func(tx *store.Txn) { tx.SetPodHealth(model.PodHealth{Pod: pod, Results: results}) })
	}
	set(podA, model.CheckResult{Policy: "reviews", Failing: true, Why: "HTTP status 500", Since: time.Unix(3600, 0)})
	set(podB, model.CheckResult{Policy: "reviews"})
	ofA := "10.1.0.1:8081 FAILED_ACTIVE_HC: HealthCheckPolicy shop/reviews: HTTP status 500 since 01:00:00"
	if diff := cmp.Diff([]string{ofA, ready[1], ready[2]}, w.health(shard)); diff != "" {
		t.Errorf("what the sidecars say goes before what is written (-want +got):\n%s", diff)
	}
	set(podA, model.CheckResult{Policy: "another", Failing: true})
	if diff := cmp.Diff(ready, w.health(shard)); diff != "" {
		t.Errorf("the check of another policy (-want +got):\n%s", diff)
	}
	set(podB)
	if diff := cmp.Diff([]string{ready[0], ofB, ready[2]}, w.health(shard)); diff != "" {
		t.Errorf("a sidecar that has not found out yet leaves what is written (-want +got):\n%s", diff)
	}
	set(podA, model.CheckResult{Policy: "reviews", Failing: true})
	w.Commit(func(tx *store.Txn) {
		s := *w.reader().Slice(model.ClusterKey{Key: model.Key{Namespace: "shop", Name: "reviews-1"}})
		s.Endpoints = append([]model.SliceEndpoint{}, s.Endpoints...)
		s.Endpoints[0].Ready, s.Endpoints[0].Serving, s.Endpoints[0].Terminating = false, true, true
		s.Endpoints[1].Ready = false
		tx.SetSlice(s)
	})
	if diff := cmp.Diff([]string{"10.1.0.1:8081 DRAINING", "10.1.0.2:8081 UNHEALTHY", ready[2]}, w.health(shard)); diff != "" {
		t.Errorf("Kubernetes' word stays the base: a check that passes makes nothing ready (-want +got):\n%s", diff)
	}
}

// reader reads the newest snapshot.
func (w checkedWorld) reader() *store.Reader { return store.NewReader(w.Snapshot()) }

func TestCompileTellsTheSidecarWhatToCheck(t *testing.T) {
	inbound := func(w checkedWorld, pod string) string {
		r := compile.Compile(store.NewReader(w.Snapshot()), global(), "in/shop/"+pod)
		var out []string
		for line := range strings.Lines(text(r)) {
			if strings.HasPrefix(line, "  check") {
				out = append(out, strings.TrimSpace(line))
			}
		}
		return strings.Join(out, "\n")
	}
	second := strings.NewReplacer("name: reviews, namespace: shop, creationTimestamp: \"2026-01-02T00:00:00Z\"", "name: second, namespace: shop", "10s", "1s").Replace(reviewsPolicy)
	grpc := `
apiVersion: fairlead.dev/v1alpha1
kind: HealthCheckPolicy
metadata: {name: old, namespace: shop, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {targetRefs: [{group: "", kind: Service, name: reviews}], grpc: {}, port: 9090, timeout: 200ms, unhealthyThreshold: 1, healthyThreshold: 2}
---
`
	entry := `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ledger, namespace: shop}
spec: {hosts: [ledger.example], location: MESH_INTERNAL, resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP, targetPort: 7000}], workloadSelector: {labels: {app: reviews}}}
---
apiVersion: fairlead.dev/v1alpha1
kind: HealthCheckPolicy
metadata: {name: ledger, namespace: shop}
spec: {targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: ledger}], tcp: {receive: hello}}
---
`
	const httpCheck = "check reviews http port=8080 every 5s within 1s, 3 down 1 up"
	tests := []struct{ name, manifests, pod, want string }{
		{"no policy", checkedReviews, "a", ""},
		{"the first TCP port of the Service", checkedReviews + reviewsPolicy, "a", httpCheck},
		{"a pod without a sidecar", checkedReviews + reviewsPolicy, "plain", ""},
		{"the oldest of two counts, at its own port", checkedReviews + reviewsPolicy + grpc, "a", "check old grpc port=9090 every 10s within 200ms, 1 down 2 up"},
		{"a ServiceEntry that selects the pod", checkedReviews + reviewsPolicy + entry, "a", "check ledger tcp port=7000 every 10s within 1s, 3 down 1 up\n" + httpCheck},
		{"one that has no age is older", checkedReviews + reviewsPolicy + second, "a", strings.Replace(httpCheck, "reviews", "second", 1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := inbound(newCheckedWorld(t, tt.manifests), tt.pod); got != tt.want {
				t.Errorf("= %q, want %q", got, tt.want)
			}
		})
	}
}

func TestHealthCheckStatus(t *testing.T) {
	policies := `
apiVersion: fairlead.dev/v1alpha1
kind: HealthCheckPolicy
metadata: {name: other, namespace: shop, creationTimestamp: "2026-02-01T00:00:00Z"}
spec:
  targetRefs:
    - {group: "", kind: Service, name: reviews}
    - {group: "", kind: Service, name: nobody}
    - {group: networking.istio.io, kind: ServiceEntry, name: reviews}
    - {group: networking.istio.io, kind: ServiceEntry, name: anywhere}
    - {group: "", kind: Service, name: alias}
    - {group: networking.istio.io, kind: ServiceEntry, name: outside}
    - {group: "", kind: Service, name: udp}
  http: {}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: anywhere, namespace: shop}
spec: {hosts: [anywhere.example], resolution: NONE, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: shop}
spec: {hosts: [outside.example], location: MESH_EXTERNAL, resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: shop}
spec: {type: ExternalName, externalName: elsewhere.example}
---
apiVersion: v1
kind: Service
metadata: {name: udp, namespace: shop}
spec: {clusterIP: 10.96.0.9, ports: [{port: 53, protocol: UDP}]}
`
	snapshot, problems := compiletest.Load(t, checkedReviews+reviewsPolicy+policies)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	r := store.NewReader(snapshot)
	var got []string
	for _, name := range []string{"reviews", "other"} {
		p := store.Get[model.HealthCheckPolicy](r, model.Ref{Kind: "HealthCheckPolicy", Key: model.Key{Namespace: "shop", Name: name}})
		for _, s := range compile.HealthCheckStatus(r, global(), p) {
			got = append(got, s.Field+" "+s.Accepted.Reason+": "+s.Accepted.Message)
		}
	}
	want := []string{
		"spec.targetRefs[0] Accepted: in force",
		"spec.targetRefs[0] Conflicted: Service shop/reviews is checked by HealthCheckPolicy shop/reviews, which is older: this policy has no effect on it",
		"spec.targetRefs[1] TargetNotFound: Service shop/nobody is not known",
		"spec.targetRefs[2] TargetNotFound: ServiceEntry shop/reviews is not known",
		"spec.targetRefs[3] UnsupportedValue: ServiceEntry shop/anywhere has no endpoints to check: calls go where the app means them to",
		"spec.targetRefs[4] UnsupportedValue: Service shop/alias has no endpoints to check: it is another name of elsewhere.example",
		"spec.targetRefs[5] UnsupportedValue: the endpoints of ServiceEntry shop/outside are given by name, and each caller finds addresses of its own: they are not checked",
		"spec.targetRefs[6] UnsupportedValue: Service shop/udp has no TCP port to check",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var warned []string
	for _, p := range compile.Check(r, global()) {
		if p.Ref.Kind == "HealthCheckPolicy" {
			warned = append(warned, p.Ref.Name+" "+p.Field)
		}
	}
	if diff := cmp.Diff([]string{
		"other spec.targetRefs[0]", "other spec.targetRefs[1].name", "other spec.targetRefs[2].name", "other spec.targetRefs[3]", "other spec.targetRefs[4]", "other spec.targetRefs[5]", "other spec.targetRefs[6]",
	}, warned); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
