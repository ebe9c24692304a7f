package controlplane

import "fairlead.dev/fairlead/internal/discovery"

// nameQueue is names that wait their turn, each once.
type nameQueue struct {
	order []discovery.Key
	known map[discovery.Key]struct{}
}

func (q *nameQueue) add(keys map[discovery.Key]struct{}) {
	if q.known == nil {
		q.known = make(map[discovery.Key]struct{})
	}
	for key := range keys {
		if _, waits := q.known[key]; !waits {
			q.known[key] = struct{}{}
			q.order = append(q.order, key)
		}
	}
}

func (q *nameQueue) empty() bool { return len(q.order) == 0 }

func (q *nameQueue) next() (key discovery.Key, ok bool) {
	if q.empty() {
		q.order, q.known = nil, nil // what a crowd needed is given back
		return discovery.Key{}, false
	}
	key, q.order = q.order[0], q.order[1:]
	delete(q.known, key)
	return key, true
}
