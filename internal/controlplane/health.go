package controlplane

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/incluster"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// healthGrace is how long what a sidecar said counts after its stream has ended, where the pod's status has it too: long
// enough for the sidecar to say it again, here or to another replica, which writes it into the status.
const healthGrace = 30 * time.Second

// podKind is the kind of the objects that health is of.
const podKind = "Pod"

// healthSaid is what is new of one pod's health: in the inbox, the newest only.
type healthSaid struct {
	discovery.ClientHealth

	ended bool // the stream has, after the report if there is one
}

// healthBook is what sidecars say of their own pods. It belongs to the engine's goroutine.
type healthBook struct {
	staged  *staging // where changes go
	objects *objectBook
	log     *slog.Logger

	pods    map[model.ClusterKey]*podReport
	failing atomic.Int64 // how many pods say that a check of theirs fails; any goroutine may read it
	// shared is where the other replicas find it, nil where there are none.
	shared healthShare
}

func newHealthBook(staged *staging, objects *objectBook, log *slog.Logger) healthBook {
	return healthBook{staged: staged, objects: objects, log: log, pods: make(map[model.ClusterKey]*podReport)}
}

// healthShare writes into the statuses of pods. It does not block. incluster.PodConditions is one.
type healthShare interface {
	Set(pod incluster.Pod, conditions []incluster.PodCondition)
	// Forget ends what was asked for and is not written yet.
	Forget(namespace, name string)
}

// podReport is what the sidecar of one pod said last.
type podReport struct {
	uid     string
	stream  uint64
	results []model.CheckResult
	left    time.Time // when the stream ended, zero where it is there
}

func podKey(c discovery.ClientIdentity) model.ClusterKey {
	return model.ClusterKey{Key: model.Key{Namespace: c.Namespace, Name: c.Pod}}
}

// intake puts into force what sidecars said.
func (b *healthBook) intake(ctx context.Context, said map[model.ClusterKey]*healthSaid, now time.Time) {
	for key, s := range said {
		known := b.pods[key]
		if known != nil && known.stream > s.Stream || known == nil && (s.Report == nil || len(s.Report.Results) == 0) {
			continue
		}
		if s.Report != nil {
			if known == nil {
				known = &podReport{}
				b.pods[key] = known
			}
			before := known.results
			*known = podReport{uid: s.Client.UID, stream: s.Stream, results: s.Report.Results}
			b.logTurns(ctx, key, before, known.results)
			b.put(key, before, known.results)
			b.share(key, known)
		}
		if s.ended && known != nil {
			known.left = now
		}
	}
	b.countFailing()
}

// put has results put in force: at once where a check fails that did not. nil forgets the pod.
func (b *healthBook) put(key model.ClusterKey, before, after []model.CheckResult) {
	commit := func(tx *store.Txn) { tx.SetPodHealth(model.PodHealth{Pod: key, Results: after}) }
	if after == nil {
		commit = func(tx *store.Txn) { tx.DeletePodHealth(key) }
	}
	b.staged.seen(time.Now())
	b.staged.endpoint(model.Ref{Kind: "PodHealth", Key: key.Key, Cluster: key.Cluster}, commit)
	if anyNew(failing(before), failing(after)) {
		b.staged.hurry()
	}
}

func failing(results []model.CheckResult) (policies []string) {
	for _, r := range results {
		if r.Failing {
			policies = append(policies, r.Policy)
		}
	}
	return policies
}

func anyNew(before, after []string) bool {
	return slices.ContainsFunc(after, func(p string) bool { return !slices.Contains(before, p) })
}

// logTurns writes a line for each check that turned.
func (b *healthBook) logTurns(ctx context.Context, key model.ClusterKey, before, after []model.CheckResult) {
	for _, r := range after {
		was, known := (&model.PodHealth{Results: before}).Result(r.Policy)
		switch {
		case r.Failing && !was.Failing:
			b.log.LogAttrs(ctx, slog.LevelWarn, "a pod fails its health check, callers leave it alone",
				slog.String("pod", key.String()), slog.String("policy", r.Policy), slog.String("reason", r.Why))
		case !r.Failing && known && was.Failing:
			b.log.LogAttrs(ctx, slog.LevelInfo, "a pod passes its health check again", slog.String("pod", key.String()), slog.String("policy", r.Policy))
		}
	}
}

// share has what a sidecar said written into the status of its pod, where other replicas read it, as far as that says
// something else: a failure, the end of one, and whatever a readiness gate of the pod asks for.
func (b *healthBook) share(key model.ClusterKey, p *podReport) {
	if b.shared == nil || !p.left.IsZero() {
		return
	}
	w := b.objects.workload(key)
	if w == nil {
		return // it is known soon, and this is called again
	}
	var conditions []incluster.PodCondition
	for _, r := range p.results {
		written, there := (&model.PodHealth{Results: w.Checks}).Result(r.Policy)
		if there && written.Failing == r.Failing || !there && !r.Failing && !slices.Contains(w.CheckGates, r.Policy) {
			continue
		}
		c := incluster.PodCondition{Type: model.HealthCondition + r.Policy, Holds: !r.Failing, Reason: "CheckPasses", Message: "the health check passes", Since: r.Since}
		if r.Failing {
			c.Reason, c.Message = "CheckFails", r.Why
		}
		conditions = append(conditions, c)
	}
	if len(conditions) > 0 {
		b.shared.Set(incluster.Pod{Namespace: key.Namespace, Name: key.Name, UID: p.uid}, conditions)
	}
}

// podSeen hears of a pod that was read; a nil after means that it is gone.
func (b *healthBook) podSeen(ref model.Ref, before, after *model.Workload) {
	key := ref.InCluster()
	p := b.pods[key]
	switch {
	case p == nil:
	case after == nil:
		b.drop(key)
	case p.left.IsZero():
		b.share(key, p)
	case b.shared != nil && before != nil && !slices.Equal(before.Checks, after.Checks):
		b.drop(key) // what is written after the sidecar left is newer than what it said here
	}
}

func (b *healthBook) drop(key model.ClusterKey) {
	p := b.pods[key]
	delete(b.pods, key)
	b.put(key, p.results, nil)
	if b.shared != nil {
		b.shared.Forget(key.Namespace, key.Name)
	}
	b.countFailing()
}

// due says when something that was said is to be forgotten. Without pods' statuses nothing else keeps it, so that
// it stays as long as the pod does.
func (b *healthBook) due() (at time.Time, ok bool) {
	for key, p := range b.pods {
		if p.left.IsZero() || b.shared == nil && b.objects.workload(key) != nil {
			continue
		}
		if due := p.left.Add(healthGrace); !ok || due.Before(at) {
			at, ok = due, true
		}
	}
	return at, ok
}

// expire forgets what is due.
func (b *healthBook) expire(now time.Time) {
	for {
		at, ok := b.due()
		if !ok || at.After(now) {
			return
		}
		for key, p := range b.pods {
			if !p.left.IsZero() && p.left.Add(healthGrace).Equal(at) && (b.shared != nil || b.objects.workload(key) == nil) {
				b.drop(key)
			}
		}
	}
}

// countFailing counts the pods that say of themselves that a check fails.
func (b *healthBook) countFailing() {
	n := 0
	for _, p := range b.pods {
		if len(failing(p.results)) > 0 {
			n++
		}
	}
	b.failing.Store(int64(n))
}
