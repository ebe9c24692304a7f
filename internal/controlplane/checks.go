package controlplane

import (
	"context"
	"maps"
	"time"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/mirror"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source/kube"
	"fairlead.dev/fairlead/internal/store"
)

// How long after a change the whole model is checked: when it has been quiet for checkQuiet, or after checkMost.
const (
	checkQuiet = 150 * time.Millisecond
	checkMost  = 2 * time.Second
)

// checks looks at the whole model when it has changed, beside the engine's goroutine: that takes as long as there are
// objects, and an endpoint that goes must not wait for it. What is checked is a snapshot, and one check runs at a time.
type checks struct {
	global   compile.Global // fixed, as the next four
	kinds    config.Table
	problems *problems
	report   func(map[model.Ref]kube.Status) // nil where no statuses are written
	inbox    *inbox
	// mirrors decides about mirrors of what is checked; nil for none.
	mirrors *mirrors

	// work is done by the goroutine of run, one at a time.
	work chan func()
	book statusBook // of the goroutine of run

	// The rest belongs to the engine's goroutine.
	objects *objectBook
	pace    quietPace
	// running is set from the start of a check until its last result is in the inbox.
	running bool
	// reads is what the newest check depends on; nil before the first.
	reads map[store.Key]struct{}
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

// start begins a check of a snapshot where its time has come.
func (c *checks) start(ctx context.Context, snapshot store.Snapshot, now time.Time) {
	if c.running || !c.pace.take(now) {
		return
	}
	c.running = true
	look := store.NewReader(snapshot)
	c.work <- func() {
		found := compile.Check(look, c.global)
		if c.mirrors != nil {
			found = append(found, c.mirrors.decide(look)...)
		}
		c.inbox.deliver(func() { c.finish(ctx, look, found) })
	}
}

// finish has what was found published, and the statuses that it changes.
func (c *checks) finish(ctx context.Context, look *store.Reader, found []model.Problem) {
	found = c.objects.located(found)
	var objects map[model.Ref]any
	if c.report != nil {
		objects = maps.Clone(c.objects.values)
	}
	c.work <- func() {
		c.problems.set(ctx, foundInChecks, found)
		c.tell(statusInput{kinds: c.kinds, reader: look, global: c.global, objects: objects, problems: c.problems.list(), links: c.linkStatuses()})
		reads := make(map[store.Key]struct{})
		for _, k := range look.Keys() {
			reads[k] = struct{}{}
		}
		c.inbox.deliver(func() { c.running, c.reads = false, reads })
	}
}

// linkStatuses says what became of what Links select.
func (c *checks) linkStatuses() map[model.Ref]mirror.Status {
	if c.mirrors == nil {
		return nil
	}
	return c.mirrors.decided.Status
}

// tell reports the statuses of objects, as far as they are not as last time. It runs in the goroutine of run.
func (c *checks) tell(in statusInput) {
	if c.report == nil {
		return
	}
	if statuses := c.book.update(in, time.Now()); len(statuses) > 0 {
		c.report(statuses)
	}
}
