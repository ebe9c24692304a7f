package controlplane

import (
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/remote"
	"fairlead.dev/fairlead/internal/source"
)

// inbox is where other goroutines leave work for the engine's. Of each thing it keeps the newest only, so that it holds no
// more than there is. Its methods are safe for concurrent use and do not block.
type inbox struct {
	wake chan struct{} // one slot, the engine's

	mu   sync.Mutex
	work work // guarded by mu
}

// work is what an inbox has gathered.
type work struct {
	objects map[model.Ref]*source.Object // nil value: deleted
	reading []model.Problem              // replaces the former ones where fresh is set
	fresh   bool
	since   time.Time                // of the oldest object
	fixed   map[string]plan.Resource // resources that are not compiled, by name
	seals   sealKeys                 // those that replace the former ones, nil for none
	results []func()                 // of checks
	health  map[model.ClusterKey]*healthSaid
	// clusters says how it stands with other clusters, by their names.
	clusters map[string]remote.Known
}

func newWork() work {
	return work{
		objects: make(map[model.Ref]*source.Object), fixed: make(map[string]plan.Resource), health: make(map[model.ClusterKey]*healthSaid),
		clusters: make(map[string]remote.Known),
	}
}

func newInbox(wake chan struct{}) inbox { return inbox{wake: wake, work: newWork()} }

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// add takes the objects of a change.
func (w *work) add(c source.Change) {
	for i := range c.Upserts {
		w.objects[c.Upserts[i].Ref] = &c.Upserts[i]
	}
	for _, ref := range c.Deletes {
		w.objects[ref] = nil
	}
}

// put has f add to the work, and the engine wake up.
func (b *inbox) put(f func(w *work)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.work)
	poke(b.wake)
}

// take empties the inbox.
func (b *inbox) take() work {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.work
	b.work = newWork()
	return w
}

// receiveMore takes a change from a source beside the first one, which says what is wrong with it elsewhere.
func (b *inbox) receiveMore(c source.Change) {
	b.put(func(w *work) {
		if w.since.IsZero() {
			w.since = time.Now()
		}
		w.add(c)
	})
}

// receive takes a change from a source.
func (b *inbox) receive(c source.Change) {
	b.put(func(w *work) {
		if w.since.IsZero() {
			w.since = time.Now()
		}
		w.add(c)
		w.reading, w.fresh = c.Problems, true
	})
}

// fix puts a resource in force that is not compiled, in place of an older one.
func (b *inbox) fix(value plan.Resource) {
	b.put(func(w *work) { w.fixed[value.ResourceName()] = value })
}

// seal puts the keys in force that seals are made of, in place of older ones.
func (b *inbox) seal(keys sealKeys) {
	b.put(func(w *work) { w.seals = keys })
}

// deliver has the engine's goroutine take over a result.
func (b *inbox) deliver(result func()) {
	b.put(func(w *work) { w.results = append(w.results, result) })
}

// receiveHealth takes what a sidecar says of its pod, or that its stream has ended.
func (b *inbox) receiveHealth(h discovery.ClientHealth) {
	b.put(func(w *work) {
		key := podKey(h.Client)
		before := w.health[key]
		switch {
		case before != nil && before.Stream > h.Stream:
		case h.Report == nil && before != nil && before.Stream == h.Stream:
			before.ended = true
		case h.Report == nil:
			w.health[key] = &healthSaid{ClientHealth: h, ended: true}
		default:
			w.health[key] = &healthSaid{ClientHealth: h}
		}
	})
}
