package controlplane

import (
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// staging holds the changes that are translated and not committed, the newest of each object, in the lane that says when
// they are. It belongs to the engine's goroutine.
type staging struct {
	pacer pacer
	lanes [lanes]map[model.Ref]func(*store.Txn)
	since time.Time // when the oldest of them was seen, zero where there is none
}

func newStaging() staging {
	s := staging{pacer: newPacer()}
	for l := range s.lanes {
		s.lanes[l] = make(map[model.Ref]func(*store.Txn))
	}
	return s
}

// seen notes when what is staged next was seen.
func (s *staging) seen(at time.Time) {
	if s.since.IsZero() {
		s.since = at
	}
}

// config stages a change of configuration.
func (s *staging) config(ref model.Ref, commit func(*store.Txn), now time.Time) {
	s.lanes[laneConfig][ref] = commit
	s.pacer.config.note(now)
}

// endpoint stages a change of endpoints that can wait for others.
func (s *staging) endpoint(ref model.Ref, commit func(*store.Txn)) {
	s.lanes[laneEndpoints][ref] = commit
	s.pacer.endpoint()
}

// hurry has the endpoints that are staged committed at once.
func (s *staging) hurry() { s.pacer.urgent() }

// laneKept bounds the changes of a commit whose memory is kept for the next one.
const laneKept = 64

// flush has a transaction make the changes of the lanes that are due, which are staged no longer.
func (s *staging) flush(tx *store.Txn, due [lanes]bool) {
	left := 0
	for l, lane := range s.lanes {
		if due[l] {
			for _, commit := range lane {
				commit(tx)
			}
			if len(lane) > laneKept { // clear takes as long as the largest load that the map has seen
				lane = make(map[model.Ref]func(*store.Txn))
				s.lanes[l] = lane
			} else {
				clear(lane)
			}
		}
		left += len(lane)
	}
	if left == 0 {
		s.since = time.Time{}
	}
}
