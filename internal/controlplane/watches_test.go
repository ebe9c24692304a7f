package controlplane

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/graph"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/source/file"
)

// objects decodes manifests.
func objects(t testing.TB, manifests string) []source.Object {
	t.Helper()
	list, problems := file.Decode("test.yaml", []byte(manifests))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return list
}

// ask watches names and does not wait for the answers.
func (ws *watches) ask(names ...string) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, n := range names {
		key := graph.Key{Namespace: "myapp", Name: n}
		ws.answers[key] = &watch{ready: make(chan struct{}), users: 1}
		ws.touched[key] = struct{}{}
	}
}

// TestRemovalOvertakesSubscriptions: a client asks for thousands of names, and while they are looked up an endpoint goes.
// The others hear of it before that is done.
func TestRemovalOvertakesSubscriptions(t *testing.T) {
	published := 0
	e := newEngine(engineOptions{
		global:  compile.Global{TrustDomain: "cluster.local", ClusterDomain: "cluster.local"},
		publish: func([]graph.Key, time.Time) { published++ }, log: slog.New(slog.DiscardHandler),
	})
	e.inbox.receive(source.Change{Upserts: append(objects(t, usersService), objects(t, usersSlice(1, 2))...)})
	e.step(t.Context())
	e.watches.ask(vip)
	e.step(t.Context())
	if found, ok := e.watches.answer(graph.Key{Namespace: "myapp", Name: vip}); !ok || len(found.Parts) != 1 {
		t.Fatalf("Answer(%s) = %v, %v", vip, found, ok)
	}
	crowd := make([]string, discovery.MaxNames)
	for i := range crowd {
		crowd[i] = fmt.Sprintf("dns/host-%d.example.com", i)
	}
	e.watches.ask(crowd...)
	e.step(t.Context())
	if e.watches.asked.empty() {
		t.Fatalf("%d names were looked up in one go", len(crowd))
	}
	e.inbox.receive(source.Change{Upserts: objects(t, usersSlice(1))})
	e.step(t.Context())
	if published != 1 || e.watches.asked.empty() {
		t.Errorf("%d publications before all %d names were looked up, want the removal", published, len(crowd))
	}
	for !e.watches.asked.empty() {
		e.step(t.Context())
	}
	if _, ok := e.watches.answer(graph.Key{Namespace: "myapp", Name: crowd[len(crowd)-1]}); !ok {
		t.Error("a name was not answered in the end")
	}
}
