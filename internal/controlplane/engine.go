package controlplane

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/graph"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/source/kube"
	"fairlead.dev/fairlead/internal/store"
)

// How long after a change the whole model is checked: when it has been quiet for checkQuiet, or after checkMost.
const (
	checkQuiet = 150 * time.Millisecond
	checkMost  = 2 * time.Second
)

// engine turns changes of objects into answers. One goroutine, that of run, owns objects, store and graph; all others
// leave work in the inbox and read published answers.
type engine struct {
	global   compile.Global // fixed after newEngine, as the next seven
	kinds    config.Table
	log      *slog.Logger
	store    *store.Store
	problems *problems
	publish  func(keys []graph.Key, since time.Time)
	report   func(map[model.Ref]kube.Status)
	wake     chan struct{} // one slot
	synced   chan struct{} // closed when the first state of the sources is in force

	inbox   inbox
	watches watches

	mu     sync.RWMutex
	counts map[string]int // objects in force by kind; guarded by mu

	// The rest belongs to run's goroutine.
	graph   *graph.Graph
	native  *native
	objects map[model.Ref]*object
	faults  map[model.Ref][]model.Problem // what was wrong in translating them
	staged  staging
	values  map[model.Ref]any // those with a status that is ours to write, where statuses are reported
	checks  checks
	health  healthBook
	loaded  bool

	book statusBook // belongs to the goroutine of checks
}

// object is what is known of one manifest.
type object struct {
	locate    func(field string) model.Position
	endpoints any // the *model.Slice or *model.Workload in force
}

func newEngine(o engineOptions) *engine {
	s, wake := store.New(), make(chan struct{}, 1)
	n := &native{global: o.global, fixed: make(map[string]plan.Resource)}
	e := &engine{
		global: o.global, kinds: config.NewTable(), log: o.log, store: s, problems: &problems{log: o.log}, publish: o.publish, report: o.report,
		wake: wake, inbox: newInbox(wake), watches: newWatches(wake), synced: make(chan struct{}), counts: make(map[string]int),
		graph:   graph.New(s.Snapshot(), append([]graph.Compiler{n}, o.wires...)...),
		native:  n,
		objects: make(map[model.Ref]*object),
		faults:  make(map[model.Ref][]model.Problem),
		staged:  newStaging(),
		values:  make(map[model.Ref]any),
		checks:  newChecks(),
	}
	e.health = healthBook{stage: e.stageHealth, hurry: e.hurry, workload: e.workload, log: o.log, pods: make(map[model.ClusterKey]*podReport)}
	return e
}

// engineOptions configure newEngine.
type engineOptions struct {
	global compile.Global
	// wires are the compilers beside the native one, in the order of their graph.Wire, from 1.
	wires []graph.Compiler
	// publish is told which answers are new. It is called without a lock held.
	publish func(keys []graph.Key, since time.Time)
	// report, where not nil, is told the statuses of objects that are not as last time.
	report func(map[model.Ref]kube.Status)
	log    *slog.Logger
}

// loadedOnce reports whether the first state of the sources is in force.
func (e *engine) loadedOnce() bool {
	select {
	case <-e.synced:
		return true
	default:
		return false
	}
}

// count gives how many objects of a kind there are.
func (e *engine) count(kind string) int {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.counts[kind]
}

// run works until ctx ends.
func (e *engine) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { e.checks.run(ctx) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		case <-timer.C:
		}
		e.step(ctx)
		timer.Stop()
		if at, ok := earliest(e.staged.pacer.endpoints.due, e.staged.pacer.config.due, e.checks.due, e.health.due); ok {
			timer.Reset(max(time.Until(at), 0))
		}
	}
}

// step takes the inbox and does what is due.
func (e *engine) step(ctx context.Context) {
	in := e.inbox.take()
	e.watches.collect()
	now := time.Now()
	for name, value := range in.fixed {
		e.native.fixed[name] = value
		e.announce(e.graph.Recompile(wireNative, name), now)
	}
	if in.seals != nil {
		e.native.seals = in.seals
		e.announce(e.graph.RecompileAll(wireNative, isSeal), now)
	}
	if in.fresh {
		e.intake(ctx, in, now)
	}
	e.health.intake(ctx, in.health, now)
	e.health.expire(now)
	due := e.staged.pacer.take(now)
	first := in.fresh && !e.loaded
	if first { // the first state comes into force as a whole
		due = [lanes]bool{true, true}
	}
	e.commit(due, now)
	if first {
		e.loaded = true
		close(e.synced)
	}
	if e.loaded {
		e.watches.follow(e.graph)
	}
	if errs, news := e.graph.Errors(); news {
		e.problems.set(ctx, foundInEncoding, unsendable(errs))
	}
	for _, take := range in.results {
		take()
	}
	e.startChecks(ctx, now)
}

// intake translates objects and stages what they do.
func (e *engine) intake(ctx context.Context, in work, now time.Time) {
	e.staged.seen(in.since)
	news := false
	for ref, o := range in.objects {
		faulty := len(e.faults[ref]) > 0
		if o == nil {
			e.stage(ref, e.kinds.Remove(ref), nil, now)
			e.forget(ref)
			if ref.Kind == podKind {
				e.health.podSeen(ref, nil, nil)
			}
		} else {
			e.take(ref, o, now)
		}
		news = news || faulty || len(e.faults[ref]) > 0
	}
	e.problems.set(ctx, foundInReading, in.reading)
	if news {
		var all []model.Problem
		for _, list := range e.faults {
			all = append(all, list...)
		}
		e.problems.set(ctx, foundInObjects, all)
	}
}

// take translates one object.
func (e *engine) take(ref model.Ref, o *source.Object, now time.Time) {
	t := e.kinds.Translate(o.Value, config.Place{Ref: ref, ClusterDomain: e.global.ClusterDomain})
	known := e.objects[ref]
	if known == nil {
		known = &object{}
		e.objects[ref] = known
		e.countUp(ref.Kind, 1)
	}
	known.locate = o.Locate
	if e.report != nil && hasStatus(e.kinds[ref.Kind]) {
		e.values[ref] = o.Value
		e.checks.pace.note(now) // a status names the generation that it is about, even where nothing else changes
	}
	if len(t.Problems) > 0 {
		e.faults[ref] = e.located(t.Problems)
	} else {
		delete(e.faults, ref)
	}
	if t.Commit == nil {
		return // the last good version stays
	}
	e.stage(ref, t.Commit, t.Endpoints, now)
	before, _ := known.endpoints.(*model.Workload)
	known.endpoints = t.Endpoints
	if after, ok := t.Endpoints.(*model.Workload); ok && after != nil {
		e.health.podSeen(ref, before, after)
	}
}

func (e *engine) forget(ref model.Ref) {
	if _, known := e.objects[ref]; known {
		delete(e.objects, ref)
		delete(e.values, ref)
		delete(e.faults, ref)
		e.countUp(ref.Kind, -1)
	}
}

func (e *engine) countUp(kind string, by int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counts[kind] += by
}

// stage puts a change into its lane, in place of an older one of the same object.
func (e *engine) stage(ref model.Ref, commit func(*store.Txn), endpoints any, now time.Time) {
	if commit == nil {
		return
	}
	worsens := e.kinds[ref.Kind].Worsens
	if worsens == nil {
		e.staged.config(ref, commit, now)
		return
	}
	e.staged.endpoint(ref, commit)
	if known := e.objects[ref]; known != nil && worsens(known.endpoints, endpoints) {
		e.staged.hurry()
	}
}

// commit puts lanes in force and publishes what that changes.
func (e *engine) commit(due [lanes]bool, now time.Time) {
	if !due[laneEndpoints] && !due[laneConfig] {
		return
	}
	since := e.staged.since
	snapshot, changed := e.store.Commit(func(tx *store.Txn) { e.staged.flush(tx, due) })
	if len(changed) == 0 {
		return
	}
	e.checks.changed(changed, now)
	e.announce(e.graph.Update(snapshot, changed), since)
}

// announce publishes the answers that are new. Since is when the oldest change behind them was seen.
func (e *engine) announce(dirty map[*graph.Query]struct{}, since time.Time) {
	if keys := e.watches.renew(dirty); len(keys) > 0 {
		e.publish(keys, since)
	}
}

// located fills in where the fields of problems were written.
func (e *engine) located(list []model.Problem) []model.Problem {
	out := slices.Clone(list)
	for i := range out {
		if o := e.objects[out[i].Ref]; o != nil && o.locate != nil && out[i].Pos == (model.Position{}) {
			out[i].Pos = o.locate(out[i].Field)
		}
	}
	return out
}
