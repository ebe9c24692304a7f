package controlplane

import (
	"context"
	"time"

	"fairlead.dev/fairlead/internal/graph"
	"fairlead.dev/fairlead/internal/plan"
)

// watch is a subscribed name.
type watch struct {
	users int
	ready chan struct{} // closed when found is there
	done  bool
	found graph.Found
}

// watch begins to watch keys and returns when there is an answer for each; unwatch undoes it. Before the first state of the
// sources is in force there are no answers, so it waits: "does not exist" would be wrong.
func (e *engine) watch(ctx context.Context, keys []graph.Key) error {
	e.mu.Lock()
	waiting := make([]chan struct{}, 0, len(keys))
	for _, key := range keys {
		w := e.answers[key]
		if w == nil {
			w = &watch{ready: make(chan struct{})}
			e.answers[key] = w
			e.touched[key] = struct{}{}
		}
		w.users++
		if !w.done {
			waiting = append(waiting, w.ready)
		}
	}
	e.mu.Unlock()
	poke(e.wake)
	for _, ready := range waiting {
		select {
		case <-ready:
		case <-ctx.Done():
			e.unwatch(keys)
			return context.Cause(ctx)
		}
	}
	return nil
}

// unwatch ends one watch of each of the keys.
func (e *engine) unwatch(keys []graph.Key) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, key := range keys {
		w := e.answers[key]
		if w == nil {
			continue
		}
		w.users--
		if w.users == 0 {
			delete(e.answers, key)
			e.touched[key] = struct{}{}
		}
	}
	poke(e.wake)
}

// answerOf gives the newest answer for a watched key; false where there is none.
func (e *engine) answerOf(key graph.Key) (graph.Found, bool) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	w := e.answers[key]
	if w == nil || !w.done {
		return graph.Found{}, false
	}
	return w.found, true
}

// parts lists what is sent on a wire as a part of something else; several times where several answers have it.
func (e *engine) parts(wire graph.Wire) (all []*plan.Encoded) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for key, w := range e.answers {
		if key.Wire == wire {
			all = append(all, w.found.Parts...)
		}
	}
	return all
}

// answerSlice is how long names are opened and closed before changes, an endpoint that goes above all, get their turn.
const answerSlice = 2 * time.Millisecond

// answer opens names that were asked for and closes those that nobody wants any more, for a while. What is left waits
// for the next step.
func (e *engine) answer() {
	for until := time.Now().Add(answerSlice); ; {
		key, ok := e.asked.next()
		switch {
		case !ok:
			return
		case e.wanted(key):
			e.open(key)
		default:
			e.graph.Close(key)
		}
		if time.Now().After(until) && !e.asked.empty() {
			poke(e.wake)
			return
		}
	}
}

func (e *engine) wanted(key graph.Key) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.answers[key] != nil
}

// open finds the answer for a name.
func (e *engine) open(key graph.Key) {
	found := e.graph.Open(key).Found()
	e.mu.Lock()
	defer e.mu.Unlock()
	// Should the last subscriber have gone meanwhile, the key is in the inbox once more, and the graph closes it then.
	if w := e.answers[key]; w != nil && !w.done {
		w.found, w.done = found, true
		close(w.ready)
	}
}
