package incluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const leasePath = "/apis/coordination.k8s.io/v1/namespaces/fairlead-system/leases/fairlead-leader"

// terms records who led when.
type terms struct {
	mu      sync.Mutex
	leading []string
	history []string
}

// work leads until its ctx ends, and then takes a while to stop.
func (s *terms) work(tb testing.TB, name string, toStop time.Duration) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		s.mu.Lock()
		s.leading, s.history = append(s.leading, name), append(s.history, name)
		if len(s.leading) > 1 {
			tb.Errorf("%v lead at the same time", s.leading)
		}
		s.mu.Unlock()
		<-ctx.Done()
		time.Sleep(toStop)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.leading = slices.DeleteFunc(s.leading, func(n string) bool { return n == name })
		return nil
	}
}

func (s *terms) leader() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.leading) == 0 {
		return ""
	}
	return s.leading[0]
}

const podsPath = "/api/v1/namespaces/fairlead-system/pods"

// putPod makes a pod with a UID of the test's choice.
func putPod(a *api, name, uid, phase string) {
	a.put(podsPath+"/"+name, object{"status": object{"phase": phase}})
	a.mu.Lock()
	defer a.mu.Unlock()
	metaOf(a.objects[podsPath+"/"+name])["uid"] = uid
}

// stand runs a replica, whose pod exists.
func stand(tb testing.TB, a *api, l *logs, name string, work func(context.Context) error) (stop func()) {
	tb.Helper()
	putPod(a, name, "uid-of-"+name, "Running")
	o := ElectOptions{
		Client: a.client(), Namespace: "fairlead-system", Lease: "fairlead-leader", Identity: name, PodUID: "uid-of-" + name,
		OnLead: work, Logger: l.logger(),
	}
	return background(tb, func(ctx context.Context) {
		if err := Elect(ctx, o); err != nil {
			tb.Error(err)
		}
	})
}

func TestElectOneLeadsAndHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l, s := newAPI(t), &logs{}, &terms{}
		stops := map[string]func(){}
		for _, name := range []string{"a", "b", "c"} {
			stops[name] = stand(t, a, l, name, s.work(t, name, time.Second))
		}
		time.Sleep(short)
		for range 2 {
			time.Sleep(10 * time.Minute)
			first := s.leader()
			if first == "" {
				t.Fatal("nobody leads")
			}
			stops[first]()
			time.Sleep(3 * time.Second)
			if second := s.leader(); second == "" || second == first {
				t.Errorf("%q leads after %q has stopped", second, first)
			}
		}
		spec := a.get(leasePath)["spec"].(object)
		if spec["leaseTransitions"] != 2.0 || spec["leaseDurationSeconds"] != 15.0 || spec["holderIdentity"] != s.leader() {
			t.Errorf("lease %v, want the third holder", spec)
		}
	})
}

func TestElectAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l, s := newAPI(t), &logs{}, &terms{}
		// The dead one's clock was an hour ahead: only the own clock counts.
		a.put(leasePath, object{"spec": object{
			"holderIdentity": "dead", "leaseDurationSeconds": 15, "leaseTransitions": 7,
			"renewTime": time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05.000000Z07:00"),
		}})
		stand(t, a, l, "a", s.work(t, "a", 0))
		time.Sleep(leaseDuration - time.Second)
		if got := s.leader(); got != "" {
			t.Errorf("%q leads before the lease has ended", got)
		}
		time.Sleep(4 * time.Second)
		if got := s.leader(); got != "a" {
			t.Errorf("%q leads, want a", got)
		}
		if got := a.get(leasePath)["spec"].(object)["leaseTransitions"]; got != 8.0 {
			t.Errorf("%v transitions, want 8", got)
		}
		if lines := l.with("another replica leads", "leader=dead"); len(lines) != 1 {
			t.Errorf("want one line about the leader, got %q", l.lines())
		}
	})
}

// TestElectAfterThePodIsGone is a new installation that finds the lease of a former one: the controller that held it
// could not release it, for its permissions were deleted before it was.
func TestElectAfterThePodIsGone(t *testing.T) {
	owned := []any{object{"apiVersion": "v1", "kind": "Pod", "name": "former", "uid": "1"}}
	tests := []struct {
		name   string
		owners []any
		uid    string // of the pod with the holder's name; empty where there is none
		phase  string
		atOnce bool
	}{
		{name: "no_pod", owners: owned, atOnce: true},
		{name: "another_pod_of_that_name", owners: owned, uid: "2", phase: "Running", atOnce: true},
		{name: "evicted", owners: owned, uid: "1", phase: "Failed", atOnce: true},
		{name: "still_there", owners: owned, uid: "1", phase: "Running"},
		{name: "on_a_node_that_is_silent", owners: owned, uid: "1", phase: "Unknown"},
		{name: "holder_is_no_pod"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, l, s := newAPI(t), &logs{}, &terms{}
				a.put(leasePath, object{
					"metadata": object{"ownerReferences": tt.owners},
					"spec":     object{"holderIdentity": "former", "leaseDurationSeconds": 15},
				})
				if tt.uid != "" {
					putPod(a, "former", tt.uid, tt.phase)
				}
				stand(t, a, l, "a", s.work(t, "a", 0))
				time.Sleep(short)
				if got := s.leader() == "a"; got != tt.atOnce {
					t.Errorf("leads at once %t, want %t", got, tt.atOnce)
				}
				time.Sleep(leaseDuration + 3*time.Second)
				if got := s.leader(); got != "a" {
					t.Errorf("%q leads after the lease has ended, want a", got)
				}
			})
		})
	}
}

// TestElectAsksOnlyAboutHoldersThatAreSilent: a replica that waits behind one that lives costs one request a round.
func TestElectAsksOnlyAboutHoldersThatAreSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l, s := newAPI(t), &logs{}, &terms{}
		stand(t, a, l, "a", s.work(t, "a", 0))
		time.Sleep(short)
		stand(t, a, l, "b", s.work(t, "b", 0))
		time.Sleep(10 * time.Minute)
		if n := a.count("list", podsPath); n > 10 {
			t.Errorf("asked %d times about the pod of a leader that renews its lease", n)
		}
		if s.leader() != "a" {
			t.Errorf("%q leads, want a", s.leader())
		}
	})
}

// TestElectLeaseBelongsToThePod: what collects the pod collects the lease, and a leader whose lease was collected with
// the pod before it goes on leading.
func TestElectLeaseBelongsToThePod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l, s := newAPI(t), &logs{}, &terms{}
		a.put(leasePath, object{
			"metadata": object{"ownerReferences": []any{object{"apiVersion": "v1", "kind": "Pod", "name": "former", "uid": "1"}}},
			"spec":     object{"holderIdentity": "former", "leaseDurationSeconds": 15},
		})
		stand(t, a, l, "a", s.work(t, "a", 0))
		time.Sleep(short)
		want := []any{object{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "uid-of-a"}}
		owners := func() any { return metaOf(a.get(leasePath))["ownerReferences"] }
		if diff := cmp.Diff(any(want), owners()); diff != "" {
			t.Errorf("owners of the lease (-want +got):\n%s", diff)
		}
		a.delete(leasePath)
		time.Sleep(retryPeriod + short)
		if a.get(leasePath) == nil {
			t.Fatal("the lease is not there again")
		}
		if diff := cmp.Diff(any(want), owners()); diff != "" {
			t.Errorf("owners of the lease made anew (-want +got):\n%s", diff)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if diff := cmp.Diff([]string{"a"}, s.history); diff != "" {
			t.Errorf("terms (-want +got):\n%s", diff)
		}
	})
}

func TestElectStopsBeforeItsLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l, s := newAPI(t), &logs{}, &terms{}
		stand(t, a, l, "a", s.work(t, "a", 4*time.Second))
		time.Sleep(time.Minute)
		stand(t, a, l, "b", s.work(t, "b", 0))
		// Only a cannot reach the API server any more, which a stands for by its requests to update.
		var mu sync.Mutex
		cut := time.Now()
		a.refuse(func(verb, _ string) *status {
			mu.Lock()
			defer mu.Unlock()
			if verb == "update" && time.Since(cut) < leaseDuration {
				return &status{}
			}
			return nil
		})
		time.Sleep(leaseDuration)
		if got := s.leader(); got != "" {
			t.Errorf("%q leads with a lease that was not renewed for %s", got, leaseDuration)
		}
		time.Sleep(5 * time.Second)
		if got := s.leader(); got == "" {
			t.Error("nobody leads after the API server is back")
		}
		if lines := l.with("leads no more", "lease not renewed for", "connection refused"); len(lines) != 1 {
			t.Errorf("want one line about the loss, got %q", l.lines())
		}
	})
}

func TestElectLosesALeaseThatIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l, s := newAPI(t), &logs{}, &terms{}
		stand(t, a, l, "a", s.work(t, "a", 0))
		time.Sleep(time.Minute)
		lease := clone(a.get(leasePath))
		lease["spec"].(object)["holderIdentity"] = "thief"
		a.put(leasePath, lease)
		time.Sleep(retryPeriod + short)
		if got := s.leader(); got != "" {
			t.Errorf("%q leads with somebody else's lease", got)
		}
		if lines := l.with("leads no more", "another replica took the lease"); len(lines) != 1 {
			t.Errorf("want one line about the loss, got %q", l.lines())
		}
		time.Sleep(leaseDuration + 5*time.Second)
		if got := s.leader(); got != "a" {
			t.Errorf("%q leads after the thief's lease has ended, want a", got)
		}
		a.delete(leasePath)
		time.Sleep(20 * time.Second)
		if got := s.leader(); got != "a" {
			t.Errorf("%q leads after the lease was deleted, want a", got)
		}
	})
}

func TestElectGivesTheLeaseUpWhenTheWorkEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l, s := newAPI(t), &logs{}, &terms{}
		var tries atomic.Int64
		stop := stand(t, a, l, "a", func(context.Context) error {
			tries.Add(1)
			return errors.New("the work broke")
		})
		time.Sleep(20 * time.Second)
		if n := tries.Load(); n < 4 || n > 11 {
			t.Errorf("led %d times in 20 s, want once every two seconds or so", n)
		}
		stand(t, a, l, "b", s.work(t, "b", 0))
		time.Sleep(10 * time.Second)
		if got := s.leader(); got != "b" {
			t.Errorf("%q leads, want b", got)
		}
		stop()
		if lines := l.with("leads no more", "the work broke"); int64(len(lines)) != tries.Load() {
			t.Errorf("%d lines for %d failures", len(lines), tries.Load())
		}
	})
}

func TestElectWithoutPermission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l, s := newAPI(t), &logs{}, &terms{}
		a.refuse(forbid("create", "/leases"))
		stand(t, a, l, "a", s.work(t, "a", 0))
		time.Sleep(time.Minute)
		if lines := l.with("cannot stand for election", `lack {apiGroups: [\"coordination.k8s.io\"], resources: [leases], verbs: [create]}`); len(lines) != 1 {
			t.Errorf("want one line that names the rule, got %q", l.lines())
		}
		a.refuse(nil)
		time.Sleep(3 * time.Second)
		if got := s.leader(); got != "a" {
			t.Errorf("%q leads once it is allowed, want a", got)
		}
	})
}

func TestElectNeedsItsOptions(t *testing.T) {
	a, l := newAPI(t), &logs{}
	work := func(context.Context) error { return nil }
	wantError(t, Elect(t.Context(), ElectOptions{}), "required")
	wantError(t, Elect(t.Context(), ElectOptions{Client: a.client(), OnLead: work, Logger: l.logger(), Namespace: "n", Lease: "l"}), `identity ""`)
}
