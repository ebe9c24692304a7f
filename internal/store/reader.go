package store

import (
	"slices"
)

// Reader looks things up in one snapshot and notes the key of every look-up, answered or not. Values it hands out
// are shared: never change them. A Reader belongs to one goroutine; make one per computation.
type Reader struct {
	state   *state
	keys    map[Key]struct{}
	derived []Derived
}

// NewReader gives a reader that has read nothing yet.
func NewReader(s Snapshot) *Reader { return &Reader{state: s.state, keys: make(map[Key]struct{})} }

// Derived is a text that was computed from what was read for it: a change of that makes a difference where the text differs.
type Derived struct {
	keys    []Key
	text    string
	compute func(*Reader) string
}

// Derive gives a text that compute makes of what it reads through its argument. It depends on nothing else that changes by a commit,
// unless the reader has read it: compute is called again, with a later snapshot, for as long as nothing of that has changed.
func Derive(r *Reader, compute func(*Reader) string) string {
	d := derive(r.state, compute)
	r.derived = append(r.derived, d)
	return d.text
}

func derive(s *state, compute func(*Reader) string) Derived {
	r := NewReader(Snapshot{state: s})
	text := compute(r)
	return Derived{keys: r.Keys(), text: text, compute: compute}
}

// DerivedBy lists what was derived so far. What was read for it is not among the reader's Keys.
func DerivedBy(r *Reader) []Derived { return r.derived }

// Keys lists what was read for it.
func (d Derived) Keys() []Key { return d.keys }

// Again computes it from another snapshot; same is set where it is as before.
func (d Derived) Again(s Snapshot) (again Derived, same bool) {
	again = derive(s.state, d.compute)
	return again, again.text == d.text
}

// Keys lists what was read so far, in order.
func (r *Reader) Keys() []Key {
	keys := make([]Key, 0, len(r.keys))
	for k := range r.keys {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, Key.Compare)
	return keys
}

func (r *Reader) note(t Table, id string) { r.keys[Key{t, id}] = struct{}{} }

// row gives the row of an id, or nil.
func row[T any](r *Reader, id string) *T {
	t := in[T](r.state)
	r.note(t.schema.table, id)
	v, _ := t.get(id)
	return v
}

// List lists all rows of a table.
func List[T any](r *Reader) []*T {
	t := in[T](r.state)
	r.note(t.schema.table, All)
	return t.all()
}

// By lists the rows under an id of an index.
func By[T any](r *Reader, index Table, id string) []*T {
	r.note(index, id)
	return in[T](r.state).by(index, id)
}
