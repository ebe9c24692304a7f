package controlplane

import (
	"fmt"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
)

// TestObjectBook: an object that is refused is known and faulty, and stands for what it stood for; one that is gone leaves
// nothing behind.
func TestObjectBook(t *testing.T) {
	b := newObjectBook(config.NewTable(), "cluster.local", "")
	b.keep = true
	pod := objects(t, ordersPod)[0]
	key := model.ClusterKey{Key: pod.Ref.Key}
	if before := b.replace(pod.Ref, b.mustRead(t, pod.Ref, ordersPod)); before != nil {
		t.Errorf("a pod that is new stood for %v before", before)
	}
	if w := b.workload(key); w == nil || len(w.IPs) != 1 {
		t.Fatalf("workload = %v, want one with its address", w)
	}
	route := objects(t, fmt.Sprintf(usersRoute, 1, "users"))[0]
	b.read(route.Ref, &route)
	refused := objects(t, strings.Replace(fmt.Sprintf(usersRoute, 2, "users"), "route: [", "timeout: -1s, route: [", 1))[0]
	if got := b.read(route.Ref, &refused); got.Commit != nil || !b.faulty(route.Ref) || len(b.problems()) != 1 {
		t.Errorf("a negative timeout: commit %t, problems %v", got.Commit != nil, b.problems())
	}
	if p := b.problems(); p[0].Pos == (model.Position{}) {
		t.Error("the problem says no line")
	}
	if len(b.values) != 1 || b.values[route.Ref] != refused.Value {
		t.Errorf("kept: %v, want the newest route, which has a status, and no pod", b.values)
	}
	if b.count("Pod") != 1 || b.count("VirtualService") != 1 {
		t.Errorf("%d pods and %d routes are counted", b.count("Pod"), b.count("VirtualService"))
	}
	for range 2 {
		b.forget(pod.Ref)
		b.forget(route.Ref)
	}
	if b.workload(key) != nil || len(b.known)+len(b.faults)+len(b.values) != 0 || b.count("Pod") != 0 || b.count("VirtualService") != 0 {
		t.Errorf("left behind: %v, %v, %v, %v", b.known, b.faults, b.values, b.counts)
	}
}

// mustRead reads a manifest that is understood, and gives what it stands for.
// TestObjectsWithoutStatus: no status is written for what an API server has not.
func TestObjectsWithoutStatus(t *testing.T) {
	b := newObjectBook(config.NewTable(), "cluster.local", "")
	b.keep = true
	route := objects(t, fmt.Sprintf(usersRoute, 1, "users"))[0]
	route.NoStatus = true
	b.read(route.Ref, &route)
	if len(b.values) != 0 || b.writes(&route) || b.count("VirtualService") != 1 {
		t.Errorf("kept for a status: %v, of %d", b.values, b.count("VirtualService"))
	}
}

func (b *objectBook) mustRead(t *testing.T, ref model.Ref, manifest string) any {
	t.Helper()
	o := objects(t, manifest)[0]
	translated := b.read(ref, &o)
	if translated.Commit == nil || len(translated.Problems) > 0 {
		t.Fatalf("%s is refused: %v", ref, translated.Problems)
	}
	return translated.Endpoints
}
