package controlplane

import (
	"context"
	"maps"
	"time"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// checks looks at the whole model when it has changed, beside the engine's goroutine: that takes as long as there are
// objects, and an endpoint that goes must not wait for it. Whatever is checked is a snapshot, and one check runs at a time.
// Its fields belong to the engine's goroutine, except work.
type checks struct {
	pace quietPace
	// work is done by the goroutine of run, one at a time.
	work chan func()
	// running is set from the start of a check until its last result is in the inbox.
	running bool
	// reads is what the newest check depends on; nil before the first.
	reads map[store.Key]struct{}
}

func newChecks() checks {
	return checks{pace: quietPace{quiet: checkQuiet, most: checkMost}, work: make(chan func(), 1)}
}

// run does the work until ctx ends.
func (c *checks) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-c.work:
			f()
		}
	}
}

// changed notes that a commit has changed keys: endpoints that come and go concern no check.
func (c *checks) changed(keys store.Changed, now time.Time) {
	if c.running || c.reads == nil || c.concern(keys) {
		c.pace.note(now)
	}
}

func (c *checks) concern(keys store.Changed) bool {
	for k := range keys {
		if _, ok := c.reads[k]; ok {
			return true
		}
	}
	return false
}

// due says when the next check begins; never before the present one has ended.
func (c *checks) due() (time.Time, bool) {
	if c.running {
		return time.Time{}, false
	}
	return c.pace.due()
}

// startChecks begins a check where its time has come.
func (e *engine) startChecks(ctx context.Context, now time.Time) {
	if e.checks.running || !e.checks.pace.take(now) {
		return
	}
	e.checks.running = true
	look := store.NewReader(e.graph.Snapshot())
	e.checks.work <- func() {
		found := compile.Check(look, e.global)
		e.inbox.deliver(func() { e.finishChecks(ctx, look, found) })
	}
}

// finishChecks has what was found published, and the statuses that it changes.
func (e *engine) finishChecks(ctx context.Context, look *store.Reader, found []model.Problem) {
	found = e.objects.located(found)
	var objects map[model.Ref]any
	if e.report != nil {
		objects = maps.Clone(e.objects.values)
	}
	e.checks.work <- func() {
		e.problems.set(ctx, foundInChecks, found)
		e.tellStatuses(statusInput{kinds: e.kinds, reader: look, global: e.global, objects: objects, problems: e.problems.list()})
		reads := make(map[store.Key]struct{})
		for _, k := range look.Keys() {
			reads[k] = struct{}{}
		}
		e.inbox.deliver(func() { e.checks.running, e.checks.reads = false, reads })
	}
}

// tellStatuses reports what became of objects, as far as that is news.
func (e *engine) tellStatuses(in statusInput) {
	if e.report == nil {
		return
	}
	if statuses := e.book.update(in, time.Now()); len(statuses) > 0 {
		e.report(statuses)
	}
}
