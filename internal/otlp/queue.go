package otlp

import "sync/atomic"

// Queue is a ring of items that wait to be sent. Any number of goroutines add, one takes (Vyukov's bounded queue).
type Queue struct {
	slots   []Slot
	mask    uint64
	head    atomic.Uint64 // of those who add
	tail    atomic.Uint64 // of the one who takes
	dropped atomic.Uint64
	wake    chan struct{}
	batch   uint64
}

// Slot is a place in a queue.
type Slot struct {
	// turn is the number of the place's position where it is free, and one more where it has an item.
	turn atomic.Uint64
	at   uint64
	item []byte
}

// keepItem is the most memory that a place keeps for its next item.
const keepItem = 4 << 10

// NewQueue returns a queue of at least so many places, a power of two. Whoever takes is woken once there are batch items.
func NewQueue(places, batch int) *Queue {
	size := 1
	for size < places {
		size *= 2
	}
	q := &Queue{slots: make([]Slot, size), mask: uint64(size - 1), wake: make(chan struct{}, 1), batch: uint64(batch)}
	for i := range q.slots {
		q.slots[i].turn.Store(uint64(i))
	}
	return q
}

// Reserve gives a place for an item, or nil where there is none: the item is dropped, and counted. Commit must follow.
func (q *Queue) Reserve() *Slot {
	at := q.head.Load()
	for {
		s := &q.slots[at&q.mask]
		switch ahead := int64(s.turn.Load() - at); {
		case ahead == 0:
			if q.head.CompareAndSwap(at, at+1) {
				s.at = at
				return s
			}
			at = q.head.Load()
		case ahead < 0:
			q.dropped.Add(1)
			return nil
		default:
			at = q.head.Load()
		}
	}
}

// Buffer gives the memory to append the item to.
func (s *Slot) Buffer() []byte { return s.item[:0] }

// Commit hands an item over.
func (q *Queue) Commit(s *Slot, item []byte) {
	s.item = item
	next := s.at + 1
	s.turn.Store(next) // the place is another's from here on
	if next-q.tail.Load() >= q.batch {
		select {
		case q.wake <- struct{}{}:
		default: // it is awake
		}
	}
}

// Dropped is how many items found no place.
func (q *Queue) Dropped() uint64 { return q.dropped.Load() }

// Len is how many places are taken.
func (q *Queue) Len() int { return int(q.head.Load() - q.tail.Load()) }

// take appends the next item to b with what between says before it. ok is false where there is none, or one that would make b
// longer than most bytes.
func (q *Queue) take(b []byte, between []byte, most int) (_ []byte, ok bool) {
	at := q.tail.Load()
	s := &q.slots[at&q.mask]
	if s.turn.Load() != at+1 || len(b) > 0 && len(b)+len(between)+len(s.item) > most {
		return b, false
	}
	if len(b) > 0 {
		b = append(b, between...)
	}
	b = append(b, s.item...)
	if cap(s.item) > keepItem {
		s.item = nil
	}
	q.tail.Store(at + 1)
	s.turn.Store(at + uint64(len(q.slots)))
	return b, true
}
