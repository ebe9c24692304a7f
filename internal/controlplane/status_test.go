package controlplane

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	istiometa "istio.io/api/meta/v1alpha1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source/file"
	"fairlead.dev/fairlead/internal/source/kube"
	"fairlead.dev/fairlead/internal/store"
)

// statusWorld is a store with what the engine knows of its objects.
type statusWorld struct {
	store   *store.Store
	objects map[model.Ref]any
	faults  map[model.Ref][]model.Problem
	book    statusBook
}

func newStatusWorld() *statusWorld {
	return &statusWorld{store: store.New(), objects: map[model.Ref]any{}, faults: map[model.Ref][]model.Problem{}}
}

// apply puts manifests in force and gives the statuses that this changes, in words.
func (w *statusWorld) apply(tb testing.TB, manifests string) map[string]string {
	tb.Helper()
	objects, problems := file.Decode("test.yaml", []byte(manifests))
	if len(problems) > 0 {
		tb.Fatal(problems)
	}
	w.store.Commit(func(tx *store.Txn) {
		for i := range objects {
			o := &objects[i]
			t := config.NewTable().Translate(o.Value, config.Place{Ref: o.Ref, ClusterDomain: "cluster.local"})
			w.objects[o.Ref], w.faults[o.Ref] = o.Value, t.Problems
			if t.Commit != nil {
				t.Commit(tx)
			}
		}
	})
	return w.update(tb)
}

func (w *statusWorld) input() statusInput {
	in := statusInput{kinds: config.NewTable(), reader: store.NewReader(w.store.Snapshot()), global: compile.Global{ClusterDomain: "cluster.local"}, objects: w.objects}
	for _, list := range w.faults {
		in.problems = append(in.problems, list...)
	}
	in.problems = append(in.problems, compile.Check(in.reader, in.global)...)
	return in
}

func (w *statusWorld) update(tb testing.TB) map[string]string {
	tb.Helper()
	out := map[string]string{}
	for ref, s := range w.book.update(w.input(), time.Unix(1, 0)) {
		var words []string
		switch s := s.(type) {
		case kube.RouteParents:
			for _, p := range s(nil) {
				for _, c := range p.Conditions {
					words = append(words, fmt.Sprintf("%s %s=%s(%s)@%d", p.ParentRef.Name, c.Type, c.Status, c.Reason, c.ObservedGeneration))
				}
			}
		case kube.IstioStatus:
			for _, c := range s(&istiometa.IstioStatus{}).GetConditions() {
				words = append(words, fmt.Sprintf("%s=%s(%s)@%d", c.GetType(), c.GetStatus(), c.GetReason(), c.GetObservedGeneration()))
			}
		}
		out[ref.String()] = strings.Join(words, " ")
	}
	return out
}

func TestStatusBook(t *testing.T) {
	const (
		users = `
apiVersion: v1
kind: Service
metadata: {name: users, namespace: myapp}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 8080}]}
`
		route = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: users, namespace: myapp, generation: %d}
spec:
  parentRefs: [{name: ingress}, {group: "", kind: Service, name: users}]
  rules: [{backendRefs: [{name: %s, port: 8080}]}]
`
		rule = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: users, namespace: myapp, generation: 1}
spec: {host: %s}
`
	)
	w := newStatusWorld()
	steps := []struct {
		name, manifests string
		want            map[string]string
	}{
		{
			"everything is news at first", fmt.Sprintf(route, 1, "users") + "---" + fmt.Sprintf(rule, "users"),
			map[string]string{
				"HTTPRoute myapp/users":       "users Accepted=False(NoMatchingParent)@1 users ResolvedRefs=False(BackendNotFound)@1",
				"DestinationRule myapp/users": "Accepted=True(Accepted)@1",
			},
		},
		{"nothing has changed", "", map[string]string{}},
		{
			"another object changes it", users,
			map[string]string{
				"HTTPRoute myapp/users":       "users Accepted=True(Accepted)@1 users ResolvedRefs=True(ResolvedRefs)@1",
				"DestinationRule myapp/users": "Accepted=True(Accepted)@1", // without the problem
			},
		},
		{
			"a new generation", fmt.Sprintf(route, 2, "nobody"),
			map[string]string{"HTTPRoute myapp/users": "users Accepted=True(Accepted)@2 users ResolvedRefs=False(BackendNotFound)@2"},
		},
		{
			"a refused object", strings.Replace(fmt.Sprintf(route, 3, "users"), "8080", "70000", 1),
			map[string]string{"HTTPRoute myapp/users": "users Accepted=False(UnsupportedValue)@3"},
		},
		{
			"an Istio object with a problem", strings.Replace(fmt.Sprintf(rule, "users, trafficPolicy: {connectionPool: {}}"), "generation: 1", "generation: 2", 1),
			map[string]string{"DestinationRule myapp/users": "Accepted=False(Invalid)@2"},
		},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			if diff := cmp.Diff(s.want, w.apply(t, s.manifests)); diff != "" {
				t.Errorf("statuses (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("a new book looks at everything", func(t *testing.T) {
		w.book = statusBook{}
		got := slices.Sorted(maps.Keys(w.update(t)))
		if diff := cmp.Diff([]string{"DestinationRule myapp/users", "HTTPRoute myapp/users"}, got); diff != "" {
			t.Errorf("statuses (-want +got):\n%s", diff)
		}
	})
	t.Run("a deleted object is forgotten", func(t *testing.T) {
		clear(w.objects)
		w.update(t)
		if len(w.book.said) > 0 {
			t.Errorf("still remembered: %v", w.book.said)
		}
	})
	t.Run("a route that is not in force yet keeps its status", func(t *testing.T) {
		ref := model.Ref{Kind: "GRPCRoute", Key: model.Key{Namespace: "myapp", Name: "later"}}
		w.objects[ref] = &gatewayv1.GRPCRoute{}
		if got := w.update(t); len(got) > 0 {
			t.Errorf("statuses %v, want none", got)
		}
	})
}

func BenchmarkStatusBook(b *testing.B) {
	for _, routes := range []int{100, 5000} {
		b.Run(fmt.Sprintf("routes=%d", routes), func(b *testing.B) {
			var manifests strings.Builder
			for i := range routes {
				fmt.Fprintf(&manifests, `---
{apiVersion: v1, kind: Service, metadata: {name: s%d, namespace: myapp}, spec: {clusterIP: 10.96.%d.%d, ports: [{name: http, port: 8080}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r%d, namespace: myapp}, spec: {parentRefs: [{group: "", kind: Service, name: s%d}], rules: [{backendRefs: [{name: s%d, port: 8080}]}]}}
`, i, i/250, 1+i%250, i, i, (i+1)%routes)
			}
			w := newStatusWorld()
			w.apply(b, manifests.String())
			in := w.input()
			b.ReportAllocs()
			for b.Loop() {
				if changed := w.book.update(in, time.Unix(2, 0)); len(changed) > 0 {
					b.Fatalf("%d statuses changed", len(changed))
				}
			}
		})
	}
}
