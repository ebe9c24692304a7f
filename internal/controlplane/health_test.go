package controlplane

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/graph"
	"fairlead.dev/fairlead/internal/incluster"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/store"
)

// fakeShare notes what is written into statuses.
type fakeShare struct {
	mu      sync.Mutex
	written []string
}

func (s *fakeShare) Set(pod incluster.Pod, conditions []incluster.PodCondition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range conditions {
		s.written = append(s.written, fmt.Sprintf("%s/%s %s: %s=%t %s", pod.Namespace, pod.Name, pod.UID, c.Type, c.Holds, c.Message))
	}
}

func (s *fakeShare) Forget(namespace, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written = append(s.written, "forget "+namespace+"/"+name)
}

func (s *fakeShare) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := strings.Join(s.written, "; ")
	s.written = nil
	return out
}

// healthWorld is an engine with one pod, users-a, in a bubble of its own time.
type healthWorld struct {
	*engine
	t   *testing.T
	log *strings.Builder
}

func runHealth(t *testing.T, shared healthShare, settings ...func(*engineOptions)) *healthWorld {
	t.Helper()
	w := &healthWorld{t: t, log: &strings.Builder{}}
	o := engineOptions{publish: func([]graph.Key, time.Time) {}, log: slog.New(slog.NewTextHandler(w.log, nil))}
	for _, set := range settings {
		set(&o)
	}
	w.engine = newEngine(o)
	w.health.shared = shared
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	w.pod("")
	return w
}

// pod puts the pod with conditions, in flow style.
func (w *healthWorld) pod(conditions string) {
	w.t.Helper()
	w.inbox.receive(source.Change{Upserts: objects(w.t, `{apiVersion: v1, kind: Pod, metadata: {name: users-a, namespace: myapp}, spec: {containers: [{name: a, image: b}]}, status: {podIP: 10.1.0.1, conditions: [`+conditions+`]}}`)})
	synctest.Wait()
}

// says reports policies that pass, and with a - before them, that fail; "gone" is the end of the stream.
func (w *healthWorld) says(stream uint64, policies ...string) {
	h := discovery.ClientHealth{Client: discovery.ClientIdentity{Namespace: "myapp", Pod: "users-a", UID: "u1"}, Stream: stream}
	if !slices.Equal(policies, []string{"gone"}) {
		h.Report = &discovery.HealthReport{}
		for _, p := range policies {
			name, fails := strings.CutPrefix(p, "-")
			r := model.CheckResult{Policy: name, Failing: fails}
			if fails {
				r.Why = "no answer"
			}
			h.Report.Results = append(h.Report.Results, r)
		}
	}
	w.inbox.receiveHealth(h)
	synctest.Wait()
}

// known is what is in force of the pod.
func (w *healthWorld) known() string {
	h := store.PodHealthOf(w.reader(), model.ClusterKey{Key: model.Key{Namespace: "myapp", Name: "users-a"}})
	if h == nil {
		return "nothing"
	}
	var out []string
	for _, r := range h.Results {
		out = append(out, map[bool]string{true: "-"}[r.Failing]+r.Policy)
	}
	return strings.Join(out, " ")
}

func (w *healthWorld) expect(what, want string) {
	w.t.Helper()
	time.Sleep(endpointGap) // what can wait for others does
	synctest.Wait()
	if got := w.known(); got != want {
		w.t.Errorf("%s: %q is known, want %q", what, got, want)
	}
}

const (
	written     = `{type: health.fairlead.dev/users, status: "False", message: no answer}`
	writtenBack = `{type: health.fairlead.dev/users, status: "True"}`
)

func TestHealthOnACluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := &fakeShare{}
		w := runHealth(t, share)
		w.expect("at first", "nothing")
		w.says(1, "users")
		w.expect("it passes", "users")
		if got := share.take(); got != "" {
			t.Errorf("a check that passes and always has is written: %s", got)
		}
		w.says(1, "-users")
		w.expect("it fails", "-users")
		if got := share.take(); got != "myapp/users-a u1: health.fairlead.dev/users=false no answer" {
			t.Errorf("written: %s", got)
		}
		if n := w.health.failing.Load(); n != 1 {
			t.Errorf("%d pods fail", n)
		}
		w.says(1, "users") // before the API server has said that the failure is written
		w.expect("it passes again", "users")
		share.take()
		w.pod(written)
		if got := share.take(); got != "myapp/users-a u1: health.fairlead.dev/users=true the health check passes" {
			t.Errorf("what is written late is not set right: %q", got)
		}
		w.pod(writtenBack)
		if got := share.take(); got != "" {
			t.Errorf("written once more: %s", got)
		}
		w.says(1, "-users")
		w.pod(written)
		w.says(1, "gone")
		w.expect("the stream has ended", "-users")
		w.says(2, "-users")
		w.says(1, "users") // of the stream before
		time.Sleep(2 * healthGrace)
		synctest.Wait()
		w.expect("the sidecar came again at once", "-users")
		w.says(2, "gone")
		time.Sleep(healthGrace - time.Second)
		synctest.Wait()
		w.expect("just before the grace is over", "-users")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		w.expect("the sidecar did not come again: the status counts", "nothing")
		if n := strings.Count(w.log.String(), "a pod fails its health check"); n != 2 {
			t.Errorf("%d lines about a failure, want 2:\n%s", n, w.log.String())
		}
	})
}

// TestAnotherReplicaTakesOver: what it writes counts at once, though what was said here is still remembered.
func TestAnotherReplicaTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := runHealth(t, &fakeShare{})
		w.says(1, "-users")
		w.pod(written)
		w.says(1, "gone")
		w.pod(writtenBack)
		w.expect("the other replica wrote", "nothing")
	})
}

// TestAReadinessGateIsAnswered: a pod that waits for its check hears of it the first time that it passes.
func TestAReadinessGateIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := &fakeShare{}
		w := runHealth(t, share)
		w.inbox.receive(source.Change{Upserts: objects(t, `{apiVersion: v1, kind: Pod, metadata: {name: users-a, namespace: myapp}, spec: {containers: [{name: a, image: b}], readinessGates: [{conditionType: health.fairlead.dev/users}]}, status: {podIP: 10.1.0.1}}`)})
		w.says(1, "users", "other")
		if got := share.take(); got != "myapp/users-a u1: health.fairlead.dev/users=true the health check passes" {
			t.Errorf("written: %q", got)
		}
	})
}

// TestHealthWithoutStatuses: with files, nothing else keeps what a sidecar said; it stays for as long as the pod does.
func TestHealthWithoutStatuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := runHealth(t, nil)
		w.says(1, "-users")
		w.says(1, "gone")
		time.Sleep(time.Hour)
		synctest.Wait()
		w.expect("the sidecar is away", "-users")
		w.inbox.receive(source.Change{Deletes: []model.Ref{{Kind: "Pod", Key: model.Key{Namespace: "myapp", Name: "users-a"}}}})
		synctest.Wait()
		w.expect("the pod is gone", "nothing")
		w.says(2, "-users") // a pod that is not known, such as one that has just gone
		w.says(2, "gone")
		time.Sleep(2 * healthGrace)
		synctest.Wait()
		w.expect("the pod is not known", "nothing")
		if len(w.health.pods) != 0 {
			t.Errorf("%d pods are remembered", len(w.health.pods))
		}
	})
}
