package controlplane

import (
	"context"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/graph"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/xds"
)

// watches are the names that are subscribed, and the newest answer for each. The servers of the wires begin and end them
// and read answers, from any goroutine; the engine's goroutine answers.
type watches struct {
	wake chan struct{} // one slot, the engine's

	mu      sync.RWMutex
	views   views
	answers map[graph.Key]*watch   // guarded by mu, as the next
	touched map[graph.Key]struct{} // names of which the first watch has begun or the last one ended

	asked nameQueue // to be opened or closed in the graph; of the engine's goroutine
}

// watch is a subscribed name.
type watch struct {
	users  int
	ready  chan struct{} // closed when found is there
	done   bool
	found  graph.Found
	listed []xds.Resource // found, as standard clients are told it: made once for all of them
}

// put takes an answer.
func (w *watch) put(key graph.Key, found graph.Found) {
	w.found = found
	if key.Wire == wireXDS {
		w.listed = resourcesOf(key, found)
	}
}

func newWatches(wake chan struct{}) watches {
	return watches{wake: wake, answers: make(map[graph.Key]*watch), touched: make(map[graph.Key]struct{})}
}

// begin watches keys and returns when there is an answer for each; end undoes it. Before the first state of the
// sources is in force there are no answers, so it waits: "does not exist" would be wrong.
func (ws *watches) begin(ctx context.Context, keys []graph.Key) error {
	ws.mu.Lock()
	waiting := make([]chan struct{}, 0, len(keys))
	for _, key := range keys {
		w := ws.answers[key]
		if w == nil {
			w = &watch{ready: make(chan struct{})}
			ws.answers[key] = w
			ws.touched[key] = struct{}{}
		}
		w.users++
		if !w.done {
			waiting = append(waiting, w.ready)
		}
	}
	ws.mu.Unlock()
	poke(ws.wake)
	for _, ready := range waiting {
		select {
		case <-ready:
		case <-ctx.Done():
			ws.end(keys)
			return context.Cause(ctx)
		}
	}
	return nil
}

// end ends one watch of each of the keys.
func (ws *watches) end(keys []graph.Key) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, key := range keys {
		w := ws.answers[key]
		if w == nil {
			continue
		}
		w.users--
		if w.users == 0 {
			delete(ws.answers, key)
			ws.touched[key] = struct{}{}
		}
	}
	poke(ws.wake)
}

// answer gives the newest answer for a watched key; false where there is none.
func (ws *watches) answer(key graph.Key) (graph.Found, bool) {
	ws.mu.RLock()
	defer ws.mu.RUnlock()
	w := ws.answers[key]
	if w == nil || !w.done {
		return graph.Found{}, false
	}
	return w.found, true
}

// standard gives the newest answers for watched keys of standard clients, all of one moment.
func (ws *watches) standard(keys []graph.Key) []xds.Answer {
	ws.mu.RLock()
	defer ws.mu.RUnlock()
	list := make([]xds.Answer, len(keys))
	for i, key := range keys {
		w := ws.answers[key]
		list[i].Unknown = w == nil || !w.done
		if !list[i].Unknown {
			list[i].Resources = w.listed
		}
	}
	return list
}

// parts lists what is sent on a wire as a part of something else; several times where several answers have it.
func (ws *watches) parts(wire graph.Wire) (all []*plan.Encoded) {
	ws.mu.RLock()
	defer ws.mu.RUnlock()
	for key, w := range ws.answers {
		if key.Wire == wire {
			all = append(all, w.found.Parts...)
		}
	}
	return all
}

// renew takes over the answers that are new, and how clients see where that is new, and gives the keys that have had an answer before:
// the engine's goroutine publishes those.
func (ws *watches) renew(dirty map[*graph.Query]struct{}, seen *sharing) []graph.Key {
	keys := make([]graph.Key, 0, len(dirty))
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if seen != nil {
		ws.views.sharing.Store(seen)
	}
	for q := range dirty {
		if w := ws.answers[q.Key()]; w != nil && w.done {
			w.put(q.Key(), q.Found())
			keys = append(keys, q.Key())
		}
	}
	return keys
}

// collect queues the names that were touched for follow.
func (ws *watches) collect() {
	ws.mu.Lock()
	touched := ws.touched
	ws.touched = make(map[graph.Key]struct{})
	ws.mu.Unlock()
	ws.asked.add(touched)
}

// followSlice is how long names are opened and closed before changes, an endpoint that goes above all, get their turn.
const followSlice = 2 * time.Millisecond

// follow opens the names in the graph that are watched now and closes those that are no more, for a while. What is left waits
// for the engine's next step.
func (ws *watches) follow(g *graph.Graph) {
	for until := time.Now().Add(followSlice); ; {
		key, ok := ws.asked.next()
		switch {
		case !ok:
			return
		case ws.wanted(key):
			ws.open(g, key)
		default:
			g.Close(key)
		}
		if time.Now().After(until) && !ws.asked.empty() {
			poke(ws.wake)
			return
		}
	}
}

func (ws *watches) wanted(key graph.Key) bool {
	ws.mu.RLock()
	defer ws.mu.RUnlock()
	return ws.answers[key] != nil
}

// open finds the answer for a name.
func (ws *watches) open(g *graph.Graph, key graph.Key) {
	found := g.Open(key).Found()
	ws.mu.Lock()
	defer ws.mu.Unlock()
	// Should the last subscriber have gone meanwhile, the key is touched once more, and the graph closes it then.
	if w := ws.answers[key]; w != nil && !w.done {
		w.put(key, found)
		w.done = true
		close(w.ready)
	}
}
