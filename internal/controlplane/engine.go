package controlplane

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/graph"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/observe"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/source/kube"
	"fairlead.dev/fairlead/internal/store"
)

// engine turns changes of objects into answers: it is the goroutine that runs its parts, one step after the other. All other
// goroutines leave work in the inbox and read published answers from watches.
type engine struct {
	global   compile.Global // fixed after newEngine, as the next nine
	kinds    config.Table
	trace    engineTrace
	store    *store.Store
	problems *problems
	publish  func(keys []graph.Key, since time.Time)
	resight  func()
	feed     *observe.Feed
	wake     chan struct{} // one slot
	synced   chan struct{} // closed when the first state of the sources is in force

	inbox   inbox
	watches watches
	imports *importWatch // nil where nothing is written for imports
	// registered is what Consul's catalog was made of; nil where nothing is written into it.
	registered *importWatch

	// The rest belongs to run's goroutine.
	graph   *graph.Graph
	native  *native
	sharing sharingBook
	objects objectBook
	staged  staging
	checks  checks
	health  healthBook
	probing probing
	loaded  bool
}

func newEngine(o engineOptions) *engine {
	s, wake := store.New(), make(chan struct{}, 1)
	n := &native{global: o.global, fixed: make(map[string]plan.Resource)}
	e := &engine{
		global: o.global, kinds: config.NewTable(), trace: o.trace, store: s, problems: &problems{log: o.log, feed: o.feed}, publish: o.publish, resight: o.resight, feed: o.feed,
		wake: wake, inbox: newInbox(wake), watches: newWatches(wake), synced: make(chan struct{}),
		graph:  graph.New(s.Snapshot(), append([]graph.Compiler{n}, o.wires...)...),
		native: n,
		staged: newStaging(),
	}
	e.sharing = newSharingBook(s.Snapshot(), o.global)
	e.watches.views.sharing.Store(e.sharing.now)
	e.objects = newObjectBook(e.kinds, o.global.ClusterDomain, o.global.ClusterID)
	e.objects.keep = o.report != nil
	e.checks = checks{
		global: o.global, kinds: e.kinds, problems: e.problems, report: o.report, inbox: &e.inbox, objects: &e.objects,
		work: make(chan func(), 1), pace: quietPace{quiet: checkQuiet, most: checkMost},
	}
	e.health = newHealthBook(&e.staged, &e.objects, o.log)
	e.probing = newProbing(o.global, &e.staged, o.callers, o.log)
	return e
}

// engineOptions configure newEngine.
type engineOptions struct {
	global compile.Global
	// wires are the compilers beside the native one, in the order of their graph.Wire, from 1.
	wires []graph.Compiler
	// publish is told which answers are new. It is called without a lock held.
	publish func(keys []graph.Key, since time.Time)
	// resight, where not nil, is told that standard clients see otherwise than before, without a lock held.
	resight func()
	// report, where not nil, is told the statuses of objects that are not as last time.
	report func(map[model.Ref]kube.Status)
	// callers says who holds a destination.
	callers callers
	trace   engineTrace
	// feed counts what changes, for who follows; it may be nil.
	feed *observe.Feed
	log  *slog.Logger
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
		if at, ok := earliest(e.staged.pacer.endpoints.due, e.staged.pacer.config.due, e.checks.due, e.health.due, e.probingDue); ok {
			timer.Reset(max(time.Until(at), 0))
		}
	}
}

// probingDue says when probers are chosen: not before it is known what there is.
func (e *engine) probingDue() (at time.Time, ok bool) {
	if !e.loaded {
		return at, false
	}
	return e.probing.due()
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
	e.takeClusters(in.clusters, now)
	if in.fresh || len(in.objects) > 0 {
		e.intake(ctx, in, now)
	}
	e.health.intake(ctx, in.health, now)
	e.health.expire(now)
	e.probing.intake(ctx, in.health, now)
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
		e.trace.failed(len(errs))
	}
	for _, take := range in.results {
		take()
	}
	e.checks.start(ctx, e.graph.Snapshot(), now)
	if e.loaded {
		e.probing.assign(ctx, e.graph.Snapshot(), now)
	}
}

// intake translates objects and stages what they do.
func (e *engine) intake(ctx context.Context, in work, now time.Time) {
	e.staged.seen(in.since)
	news := false
	for ref, o := range in.objects {
		faulty := e.objects.faulty(ref)
		e.trace.count(e.kinds[ref.Kind], change{was: e.objects.has(ref), is: o != nil})
		if o == nil {
			e.remove(ref, now)
		} else {
			e.take(ref, o, now)
		}
		news = news || faulty || e.objects.faulty(ref)
	}
	if in.fresh {
		e.problems.set(ctx, foundInReading, in.reading)
	}
	if news {
		e.problems.set(ctx, foundInObjects, e.objects.problems())
	}
}

// remove stages what the end of an object does.
func (e *engine) remove(ref model.Ref, now time.Time) {
	e.stage(ref, config.Translation{Commit: e.kinds.Remove(ref)}, now)
	e.objects.forget(ref)
	if ref.Kind == podKind {
		e.health.podSeen(ref, nil, nil)
	}
}

// take translates one object and stages what it does.
func (e *engine) take(ref model.Ref, o *source.Object, now time.Time) {
	t := e.objects.read(ref, o)
	if e.objects.writes(o) {
		e.checks.pace.note(now) // a status names the generation that it is about, even where nothing else changes
	}
	if t.Commit == nil {
		return // the last good version stays
	}
	e.stage(ref, t, now)
	before, _ := e.objects.replace(ref, t.Endpoints).(*model.Workload)
	if after, ok := t.Endpoints.(*model.Workload); ok && after != nil {
		e.health.podSeen(ref, before, after)
	}
}

// stage puts a change into its lane: urgently, where endpoints get worse by it.
func (e *engine) stage(ref model.Ref, t config.Translation, now time.Time) {
	if t.Commit == nil {
		return
	}
	worsens := e.kinds[ref.Kind].Worsens
	if worsens == nil {
		e.staged.config(ref, t.Commit, now)
		return
	}
	e.staged.endpoint(ref, t.Commit)
	if worsens(e.objects.endpoints(ref), t.Endpoints) {
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
	e.trace.committed(due)
	e.feed.Note(func(c *observe.Changes) { c.Config++ })
	e.checks.changed(changed, now)
	e.probing.changed(changed, now)
	e.imports.changed(changed)
	e.registered.changed(changed)
	e.announceSeen(e.graph.Update(snapshot, changed), e.sharing.next(snapshot, changed), since)
}

// announce publishes the answers that are new. Since is when the oldest change behind them was seen.
func (e *engine) announce(dirty map[*graph.Query]struct{}, since time.Time) {
	e.announceSeen(dirty, nil, since)
}

// announceSeen is announce for a moment in which standard clients may see otherwise than before: seen is nil where they do not.
func (e *engine) announceSeen(dirty map[*graph.Query]struct{}, seen *sharing, since time.Time) {
	keys := e.watches.renew(dirty, seen)
	if seen != nil && e.resight != nil {
		e.resight()
	}
	if len(keys) > 0 {
		e.publish(keys, since)
	}
}
