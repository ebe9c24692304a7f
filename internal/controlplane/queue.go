package controlplane

import "fairlead.dev/fairlead/internal/graph"

// nameQueue is names that wait their turn, each once.
type nameQueue struct {
	order []graph.Key
	known map[graph.Key]struct{}
}

func (q *nameQueue) add(keys map[graph.Key]struct{}) {
	if q.known == nil {
		q.known = make(map[graph.Key]struct{})
	}
	for key := range keys {
		if _, waits := q.known[key]; !waits {
			q.known[key] = struct{}{}
			q.order = append(q.order, key)
		}
	}
}

func (q *nameQueue) empty() bool { return len(q.order) == 0 }

func (q *nameQueue) next() (key graph.Key, ok bool) {
	if q.empty() {
		q.order, q.known = nil, nil // what a crowd needed is given back
		return graph.Key{}, false
	}
	key, q.order = q.order[0], q.order[1:]
	delete(q.known, key)
	return key, true
}
