package kube

import (
	"context"
	"maps"
	"slices"
	"sync"

	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
)

// named follows the objects of ByName kinds that others name, each by itself and for as long as one does.
type named struct {
	kinds map[string]*config.Kind
	out   *outbox
	// begin follows an object until end is called; done is closed once nothing more of it comes.
	begin func(k *config.Kind, key model.Key, after <-chan struct{}) (end func(), done <-chan struct{})

	mu      sync.Mutex // guards everything below
	needs   map[model.Ref][]model.Ref
	follows map[model.Ref]*follow
}

// follow is an object that is followed, or was.
type follow struct {
	users int
	end   func()
	done  <-chan struct{}
}

func newNamed(out *outbox) *named {
	n := &named{
		kinds: make(map[string]*config.Kind), out: out,
		needs: make(map[model.Ref][]model.Ref), follows: make(map[model.Ref]*follow),
	}
	for _, k := range config.Kinds() {
		if k.Form == config.ByName {
			n.kinds[k.Name] = &k
		}
	}
	return n
}

// need notes what an object names from now on, nothing once it is gone.
func (n *named) need(by model.Ref, list []model.Ref) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.needs[by]
	if len(list) == 0 && len(before) == 0 {
		return
	}
	n.needs[by] = list
	if len(list) == 0 {
		delete(n.needs, by)
	}
	for _, ref := range list {
		n.join(ref)
	}
	for _, ref := range before {
		n.leave(ref)
	}
}

// join counts a user of an object in.
func (n *named) join(ref model.Ref) {
	k := n.kinds[ref.Kind]
	if k == nil {
		return
	}
	f := n.follows[ref]
	if f == nil {
		f = &follow{}
		n.follows[ref] = f
	}
	f.users++
	if f.users == 1 {
		n.out.expect(subject{k, ref.Key})
		f.end, f.done = n.begin(k, ref.Key, f.done)
	}
}

// leave counts one out. What is not followed any more is remembered until nothing more of it can come.
func (n *named) leave(ref model.Ref) {
	f := n.follows[ref]
	if f == nil {
		return
	}
	f.users--
	if f.users == 0 {
		f.end()
	}
	maps.DeleteFunc(n.follows, func(_ model.Ref, f *follow) bool { return f.users == 0 && isClosed(f.done) })
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// followNamed gives the function that follows one object with what follow has.
func (s *Source) followNamed(ctx context.Context, blank *follower, running *sync.WaitGroup) func(*config.Kind, model.Key, <-chan struct{}) (func(), <-chan struct{}) {
	return func(k *config.Kind, key model.Key, after <-chan struct{}) (func(), <-chan struct{}) {
		f := *blank
		f.kind, f.only, f.known = k, key, make(map[model.Key]seen)
		sub, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		running.Go(func() {
			defer close(done)
			defer cancel()
			if after != nil {
				<-after
			}
			f.follow(sub, k.Versions[0])
			if ctx.Err() == nil {
				f.clear(ctx)
			}
		})
		return cancel, done
	}
}

// names tells what an object names.
func (f *follower) names(ref model.Ref, value any) []model.Ref {
	if f.kind.Needs == nil || f.named == nil {
		return nil
	}
	list, ok := f.kind.Needs(value, config.Place{Ref: ref})
	if !ok {
		return nil
	}
	f.named.need(ref, slices.Clone(list))
	return list
}
