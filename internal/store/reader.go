package store

import (
	"slices"
)

// Reader looks things up in one snapshot and notes the key of every look-up, answered or not. Values it hands out
// are shared: never change them. A Reader belongs to one goroutine; make one per computation.
type Reader struct {
	state *state
	keys  map[Key]struct{}
}

// NewReader gives a reader that has read nothing yet.
func NewReader(s Snapshot) *Reader { return &Reader{state: s.state, keys: make(map[Key]struct{})} }

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
