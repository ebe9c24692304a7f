package kube

import (
	"cmp"
	"slices"
	"sync"

	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

// outbox holds what the sink has not seen yet: of each object the newest state. Safe for concurrent use.
type outbox struct {
	wake chan struct{} // one slot

	mu      sync.Mutex                    // guards everything below
	waiting map[string]struct{}           // kinds not listed for the first time
	started bool                          // the first change was taken
	pending map[model.Ref]any             // nil: deleted
	broken  map[model.Ref][]model.Problem // objects that could not be decoded
	fresh   bool                          // problems changed
}

func newOutbox(list []config.Kind) *outbox {
	b := &outbox{
		wake: make(chan struct{}, 1), waiting: make(map[string]struct{}),
		pending: make(map[model.Ref]any), broken: make(map[model.Ref][]model.Problem),
	}
	for i := range list {
		b.waiting[list[i].Name] = struct{}{}
	}
	return b
}

func (b *outbox) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// put notes a new or changed object.
func (b *outbox) put(ref model.Ref, value any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending[ref] = value
	b.mend(ref)
	b.poke()
}

// refuse notes that the newest version of an object cannot be decoded; the last good one stays.
func (b *outbox) refuse(ref model.Ref, problems []model.Problem) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken[ref], b.fresh = problems, true
	b.poke()
}

// remove notes that an object is gone.
func (b *outbox) remove(ref model.Ref) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.started {
		b.pending[ref] = nil
	} else {
		delete(b.pending, ref)
	}
	b.mend(ref)
	b.poke()
}

func (b *outbox) mend(ref model.Ref) {
	if _, was := b.broken[ref]; was {
		delete(b.broken, ref)
		b.fresh = true
	}
}

// listed notes that all objects of a kind were put, or that they will not be waited for.
func (b *outbox) listed(kind string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiting, kind)
	b.poke()
}

// renew notes that problems kept elsewhere changed.
func (b *outbox) renew() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fresh = true
	b.poke()
}

// refused lists what is wrong with objects that could not be decoded.
func (b *outbox) refused() []model.Problem {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []model.Problem
	for _, problems := range b.broken {
		all = append(all, problems...)
	}
	return all
}

// take empties the outbox. first is whether the change, whose Problems are for the caller to fill in, is the first
// one; ok is whether there is one.
func (b *outbox) take() (change source.Change, first, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) > 0 || b.started && len(b.pending) == 0 && !b.fresh {
		return source.Change{}, false, false
	}
	change.Upserts = make([]source.Object, 0, len(b.pending))
	for ref, value := range b.pending {
		if value == nil {
			change.Deletes = append(change.Deletes, ref)
		} else {
			change.Upserts = append(change.Upserts, source.Object{Ref: ref, Value: value})
		}
	}
	slices.SortFunc(change.Upserts, func(a, c source.Object) int { return compareRefs(a.Ref, c.Ref) })
	slices.SortFunc(change.Deletes, compareRefs)
	first = !b.started
	b.pending, b.fresh, b.started = make(map[model.Ref]any), false, true
	return change, first, true
}

func compareRefs(a, b model.Ref) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.Compare(b.Key)) }
