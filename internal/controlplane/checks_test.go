package controlplane

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	istioapi "istio.io/api/networking/v1"
	istionetv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/graph"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/source/kube"
)

const usersRoute = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: users, namespace: myapp, generation: %d}
spec: {hosts: [users], http: [{route: [{destination: {host: %s}}]}]}
`

// runEngine runs an engine that knows users, and gives a channel of what it publishes.
func runEngine(t *testing.T, report func(map[model.Ref]kube.Status)) (e *engine, published chan []graph.Key) {
	t.Helper()
	published = make(chan []graph.Key, 100)
	e = newEngine(engineOptions{
		global:  compile.Global{TrustDomain: "cluster.local", ClusterDomain: "cluster.local"},
		publish: func(keys []graph.Key, _ time.Time) { published <- keys }, report: report, log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { e.run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	e.inbox.receive(source.Change{Upserts: append(append(objects(t, usersService), objects(t, usersSlice(1, 2))...), objects(t, fmt.Sprintf(usersRoute, 1, "users"))...)})
	if err := e.watches.begin(ctx, []graph.Key{{Namespace: "myapp", Name: vip}}); err != nil {
		t.Fatal(err)
	}
	return e, published
}

func within[T any](t *testing.T, what string, ch <-chan T) (v T) {
	t.Helper()
	timeout := time.NewTimer(deadline)
	defer timeout.Stop()
	select {
	case v = <-ch:
	case <-timeout.C:
		t.Fatalf("waiting for %s", what)
	}
	return v
}

// TestRemovalDoesNotWaitForTheChecks: the model is being checked, for as long as it takes, and an endpoint goes.
func TestRemovalDoesNotWaitForTheChecks(t *testing.T) {
	begun, end := make(chan struct{}, 10), make(chan struct{})
	e, published := runEngine(t, func(map[model.Ref]kube.Status) {
		begun <- struct{}{}
		<-end
	})
	release := sync.OnceFunc(func() { close(end) })
	t.Cleanup(release)
	within(t, "the first statuses", begun) // the end of a check of the whole model; the test holds it there
	e.inbox.receive(source.Change{Upserts: objects(t, usersSlice(1))})
	within(t, "the removal", published)
	// What changes meanwhile is checked when the check is over.
	e.inbox.receive(source.Change{Upserts: objects(t, fmt.Sprintf(usersRoute, 2, "nobody"))})
	within(t, "the route to nobody", published)
	release()
	within(t, "statuses of what has changed meanwhile", begun)
	eventually(t, "the problem is known", func() bool {
		list := e.problems.list()
		return len(list) == 1 && strings.Contains(list[0].Message, "nobody")
	})
}

// TestEndpointsConcernNoCheck: a change of endpoints alone does not have the whole model checked.
func TestEndpointsConcernNoCheck(t *testing.T) {
	e, published := runEngine(t, nil)
	checked := func() bool { // by the engine's goroutine
		answer := make(chan bool, 1)
		e.inbox.deliver(func() { _, due := e.checks.pace.due(); answer <- !due && !e.checks.running && e.checks.reads != nil })
		return <-answer
	}
	eventually(t, "the first check is done", checked)
	for i := range 3 {
		e.inbox.receive(source.Change{Upserts: objects(t, usersSlice(1, 2, 3+i))})
		within(t, "the endpoint", published)
		if !checked() {
			t.Error("an endpoint that comes starts a check")
		}
	}
	e.inbox.receive(source.Change{Upserts: objects(t, fmt.Sprintf(usersRoute, 2, "nobody"))})
	within(t, "the route", published)
	eventually(t, "the problem is known", func() bool { return len(e.problems.list()) == 1 })
}

// BenchmarkRemovalAtOnceAfterAChange measures how long an endpoint's removal takes that comes when the whole model is due
// to be checked.
func BenchmarkRemovalAtOnceAfterAChange(b *testing.B) {
	for _, services := range []int{100, 20_000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			published := make(chan struct{}, 100)
			e := newEngine(engineOptions{
				global:  compile.Global{TrustDomain: "cluster.local", ClusterDomain: "cluster.local"},
				publish: func([]graph.Key, time.Time) { published <- struct{}{} }, log: slog.New(slog.DiscardHandler),
			})
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan struct{})
			go func() { e.run(ctx); close(done) }()
			defer func() { cancel(); <-done }()
			all := append(objects(b, usersService), objects(b, usersSlice(1, 2))...)
			for i := range services {
				all = append(all, routed(b, fmt.Sprintf("users-%d", i))...)
			}
			e.inbox.receive(source.Change{Upserts: all})
			if err := e.watches.begin(ctx, []graph.Key{{Namespace: "myapp", Name: vip}}); err != nil {
				b.Fatal(err)
			}
			two, one := objects(b, usersSlice(1, 2)), objects(b, usersSlice(1))
			settled := time.NewTimer(0)
			<-settled.C
			for generation := 2; b.Loop(); generation++ {
				b.StopTimer()
				e.inbox.receive(source.Change{Upserts: append(two, objects(b, strings.ReplaceAll(fmt.Sprintf(usersRoute, generation, "x"), "users", "users-1"))...)})
				settled.Reset(checkQuiet + configQuiet + 2*time.Millisecond) // the check has just begun
				<-settled.C
				for len(published) > 0 {
					<-published
				}
				b.StartTimer()
				e.inbox.receive(source.Change{Upserts: one})
				<-published
			}
		})
	}
}

// routed gives a Service and a VirtualService for it.
func routed(b *testing.B, name string) []source.Object {
	b.Helper()
	meta := metav1.ObjectMeta{Namespace: "myapp", Name: name}
	key := model.Key{Namespace: "myapp", Name: name}
	return []source.Object{
		{Ref: model.Ref{Kind: "Service", Key: key}, Value: &corev1.Service{
			ObjectMeta: meta, Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Name: "http", Port: 8080}}},
		}},
		{Ref: model.Ref{Kind: "VirtualService", Key: key}, Value: &istionetv1.VirtualService{
			ObjectMeta: meta, Spec: istioapi.VirtualService{Hosts: []string{name}, Http: []*istioapi.HTTPRoute{{
				Route: []*istioapi.HTTPRouteDestination{{Destination: &istioapi.Destination{Host: name}}},
			}}},
		}},
	}
}
