package controlplane

import (
	"slices"
	"sync"

	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

// objectBook is what is known of each object that was read: whether it was understood, and what of it is needed beside the
// store. It belongs to the engine's goroutine, except count.
type objectBook struct {
	kinds config.Table
	// domain and cluster are those of the control plane's own cluster.
	domain, cluster string
	// keep says that the objects whose statuses are ours to write are kept.
	keep bool

	known  map[model.Ref]*object
	faults map[model.Ref][]model.Problem // what was wrong in translating them
	values map[model.Ref]any             // those that are kept

	mu     sync.RWMutex
	counts map[string]int         // by kind; guarded by mu
	names  map[model.Ref]struct{} // those that are for people; guarded by mu
}

func newObjectBook(kinds config.Table, domain, cluster string) objectBook {
	return objectBook{
		kinds: kinds, domain: domain, cluster: cluster, known: make(map[model.Ref]*object), faults: make(map[model.Ref][]model.Problem),
		values: make(map[model.Ref]any), counts: make(map[string]int),
		names: make(map[model.Ref]struct{}),
	}
}

// object is what is known of one manifest.
type object struct {
	locate    func(field string) model.Position
	endpoints any // the *model.Slice or *model.Workload in force, or about to be
}

// read translates an object. Where it is refused, what is in force of it stays.
func (b *objectBook) read(ref model.Ref, o *source.Object) config.Translation {
	t := b.kinds.Translate(o.Value, config.Place{Ref: ref, ClusterDomain: b.domain, ClusterID: b.cluster})
	known := b.known[ref]
	if known == nil {
		known = &object{}
		b.known[ref] = known
		b.countUp(ref, 1)
	}
	known.locate = o.Locate
	if b.writes(o) {
		b.values[ref] = o.Value
	}
	if ref.Cluster != "" {
		t.Problems = refusals(ref, t.Problems)
	}
	if len(t.Problems) > 0 {
		b.faults[ref] = b.located(t.Problems)
	} else {
		delete(b.faults, ref)
	}
	return t
}

// refusals are those problems of an object of another cluster for which it is not in force; its own control plane says the others.
func refusals(ref model.Ref, list []model.Problem) []model.Problem {
	var out []model.Problem
	for _, p := range list {
		if p.Severity == model.Rejected {
			p.Ref.Cluster = ref.Cluster
			out = append(out, p)
		}
	}
	return out
}

// writes reports whether the status of an object is ours to write.
func (b *objectBook) writes(o *source.Object) bool {
	return b.keep && o.Ref.Cluster == "" && !o.NoStatus && hasStatus(b.kinds[o.Ref.Kind])
}

// has reports whether an object was read before.
func (b *objectBook) has(ref model.Ref) bool { return b.known[ref] != nil }

// forget ends what is known of an object that is gone.
func (b *objectBook) forget(ref model.Ref) {
	if _, known := b.known[ref]; known {
		delete(b.known, ref)
		delete(b.values, ref)
		delete(b.faults, ref)
		b.countUp(ref, -1)
	}
}

// endpoints gives the slice or the workload that an object stands for, nil where it is none.
func (b *objectBook) endpoints(ref model.Ref) any {
	if o := b.known[ref]; o != nil {
		return o.endpoints
	}
	return nil
}

// replace notes what an object stands for from now on, and gives what it stood for before.
func (b *objectBook) replace(ref model.Ref, endpoints any) (before any) {
	o := b.known[ref]
	before, o.endpoints = o.endpoints, endpoints
	return before
}

// workload gives the newest pod that is known, nil where none is.
func (b *objectBook) workload(key model.ClusterKey) *model.Workload {
	w, _ := b.endpoints(model.Ref{Kind: podKind, Key: key.Key, Cluster: key.Cluster}).(*model.Workload)
	return w
}

// faulty reports whether something was wrong in translating an object.
func (b *objectBook) faulty(ref model.Ref) bool { return len(b.faults[ref]) > 0 }

// problems lists what was wrong in translating all objects.
func (b *objectBook) problems() (all []model.Problem) {
	for _, list := range b.faults {
		all = append(all, list...)
	}
	return all
}

// located fills in where the fields of problems were written.
func (b *objectBook) located(list []model.Problem) []model.Problem {
	out := slices.Clone(list)
	for i := range out {
		if o := b.known[out[i].Ref]; o != nil && o.locate != nil && out[i].Pos == (model.Position{}) {
			out[i].Pos = o.locate(out[i].Field)
		}
	}
	return out
}

// countUp counts an object that is new, or one that is gone: by is 1 or -1.
func (b *objectBook) countUp(ref model.Ref, by int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[ref.Kind] += by
	switch {
	case by < 0:
		delete(b.names, ref)
	case ref.Cluster == "" && isForPeople(ref.Kind):
		b.names[ref] = struct{}{}
	}
}

// count gives how many objects of a kind there are. It is safe for concurrent use.
func (b *objectBook) count(kind string) int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.counts[kind]
}
