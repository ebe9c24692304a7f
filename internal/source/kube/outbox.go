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
	waiting map[subject]struct{}          // what was not listed for the first time
	needs   map[model.Ref][]model.Ref     // what pending objects are handed on with
	started bool                          // the first change was taken
	pending map[model.Ref]any             // nil: deleted
	broken  map[model.Ref][]model.Problem // objects that could not be decoded
	fresh   bool                          // problems changed
}

func newOutbox(list []config.Kind) *outbox {
	b := &outbox{
		wake: make(chan struct{}, 1), waiting: make(map[subject]struct{}), needs: make(map[model.Ref][]model.Ref),
		pending: make(map[model.Ref]any), broken: make(map[model.Ref][]model.Problem),
	}
	for i := range list {
		b.waiting[subject{kind: &list[i]}] = struct{}{}
	}
	return b
}

func (b *outbox) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// put notes a new or changed object. It waits for the first word about what it names: it is not to count without that.
func (b *outbox) put(ref model.Ref, value any, named []model.Ref) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending[ref] = value
	if b.needs[ref] = named; len(named) == 0 {
		delete(b.needs, ref)
	}
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
	delete(b.needs, ref)
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

// listed notes that all objects of a kind were put, or one that is followed alone, or that they will not be waited for.
func (b *outbox) listed(s subject) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiting, s)
	b.poke()
}

// expect notes that a subject will be listed.
func (b *outbox) expect(s subject) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting[s] = struct{}{}
}

// held reports whether an object waits for what it names.
func (b *outbox) held(ref model.Ref) bool {
	return slices.ContainsFunc(b.needs[ref], func(named model.Ref) bool {
		for s := range b.waiting {
			if s.only == named.Key && s.kind.Name == named.Kind {
				return true
			}
		}
		return false
	})
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
	if !b.started && len(b.waiting) > 0 {
		return source.Change{}, false, false
	}
	held := make(map[model.Ref]any)
	for ref, value := range b.pending {
		if b.held(ref) {
			held[ref] = value
			delete(b.pending, ref)
		} else {
			delete(b.needs, ref)
		}
	}
	if b.started && len(b.pending) == 0 && !b.fresh {
		b.pending = held
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
	b.pending, b.fresh, b.started = held, false, true
	return change, first, true
}

func compareRefs(a, b model.Ref) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.Compare(b.Key)) }
