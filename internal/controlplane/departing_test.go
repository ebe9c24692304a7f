package controlplane

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/graph"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// TestPodThatEnds deletes a pod whose slice does not say so yet: its sidecar is told, its callers call it last, and once they
// have acknowledged that, its sidecar hears that no caller holds it.
func TestPodThatEnds(t *testing.T) {
	w := start(t, "bank.yaml", privateManifests)
	caller, own := newProxy(), newProxy()
	c, pod := w.client(t, "clerk", caller), w.client(t, "teller", own)
	run(t, c)
	run(t, pod)
	c.Subscribe("ip/10.96.0.7:80")
	pod.Subscribe("in/myapp/teller")
	health := func() (found plan.Health) {
		for _, r := range caller.state {
			if s, ok := r.(*plan.EndpointShard); ok && len(s.Endpoints) == 1 {
				found = s.Endpoints[0].Health
			}
		}
		return found
	}
	leaving := func() bool {
		in, _ := own.state["in/myapp/teller"].(*plan.InboundPolicy)
		return in != nil && in.Leaving
	}
	caller.until(t, "a healthy endpoint", func() bool { return health() == plan.Healthy })
	own.until(t, "a policy", func() bool { return own.state["in/myapp/teller"] != nil })
	ask := func(wait time.Duration) *discovery.HoldersResponse {
		t.Helper()
		r, err := pod.Holders(t.Context(), "", &discovery.HoldersRequest{Wait: wait, Open: 2, Left: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := ask(0); r.Marked || r.Count != 1 {
		t.Errorf("before: %+v, want one holder of a pod that stays", r)
	}
	w.write(t, "bank.yaml", strings.Replace(privateManifests, "{name: teller, namespace: myapp, labels: {app: bank}}",
		"{name: teller, namespace: myapp, labels: {app: bank}, deletionTimestamp: '2026-01-31T08:00:00Z', deletionGracePeriodSeconds: 25}", 1))
	own.until(t, "word that it is leaving", leaving)
	caller.until(t, "a draining endpoint", func() bool { return health() == plan.Draining })
	eventually(t, "no holder is left", func() bool { // the caller has acknowledged
		r := ask(2 * time.Second)
		return r.Marked && r.Count == 0
	})
	own.until(t, "a grace of 25 s", func() bool {
		in, _ := own.state["in/myapp/teller"].(*plan.InboundPolicy)
		return in != nil && in.Grace == 25*time.Second
	})
	if page := w.get(t, "/debug/drainz"); !strings.Contains(page, `"id": "teller.myapp"`) || !strings.Contains(page, `"held": 0`) || !strings.Contains(page, `"openConnections": 2`) {
		t.Errorf("/debug/drainz: %s", page)
	}
	if _, err := pod.Holders(t.Context(), "", &discovery.HoldersRequest{Ended: discovery.EndedForced, Took: 3 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if page := w.get(t, "/metrics"); !strings.Contains(page, "fairlead_drains_forced_total 1") || !strings.Contains(page, "fairlead_drain_duration_seconds_sum 3\n") {
		t.Error("the forced end is not counted")
	}
}

// TestReplicas: where else to ask is what the own Service's slices say, its own addresses left out.
func TestReplicas(t *testing.T) {
	e := newEngine(engineOptions{global: compile.Global{}, publish: func([]graph.Key, time.Time) {}, log: slog.New(slog.DiscardHandler)})
	service := model.Key{Namespace: "mesh", Name: controllerService}
	slice := func(name string, of model.Key, port uint16, ready bool, addrs ...string) model.Slice {
		s := model.Slice{Key: model.ClusterKey{Key: model.Key{Namespace: "mesh", Name: name}}, Service: of, Ports: []model.SlicePort{{Port: port}}}
		for _, a := range addrs {
			s.Endpoints = append(s.Endpoints, model.SliceEndpoint{Addresses: []netip.Addr{netip.MustParseAddr(a)}, Ready: ready})
		}
		return s
	}
	e.store.Commit(func(tx *store.Txn) {
		tx.SetSlice(slice("a", service, 15012, true, "10.1.0.2", "127.0.0.1"))
		tx.SetSlice(slice("b", service, 15012, false, "10.1.0.1"))
		tx.SetSlice(slice("c", service, 15014, true, "10.1.0.3"))
		tx.SetSlice(slice("d", model.Key{Namespace: "mesh", Name: "other"}, 15012, true, "10.1.0.4"))
	})
	p := &ControlPlane{o: Options{Listen: ":15012", Kube: &KubeOptions{Namespace: "mesh"}}, engine: e}
	if got, want := p.replicas(), []string{"10.1.0.1:15012", "10.1.0.2:15012"}; !slices.Equal(got, want) {
		t.Errorf("replicas() = %q, want %q", got, want)
	}
}
