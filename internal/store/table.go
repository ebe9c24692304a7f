package store

import (
	"reflect"
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// schema says how one kind of value is kept. Rows are pointers to values that never change.
type schema[T any] struct {
	// table is the name of the table; a read of all its rows has the key {table, All}.
	table Table
	id    func(*T) string
	// indexes are the other ways to find a row. The position in this list is the position in table.indexes.
	indexes []index[T]
}

// at gives the position of an index. To ask for one that the table does not have is a mistake in the program.
func (s *schema[T]) at(name Table) int {
	for i := range s.indexes {
		if s.indexes[i].table == name {
			return i
		}
	}
	panic("store: " + string(s.table) + " has no index " + string(name))
}

// index finds rows by something else than their id.
type index[T any] struct {
	table Table
	ids   func(*T) []string
	// part is what readers of this index see of a row; what does not change it does not touch the index's keys.
	// nil means the whole row.
	part func(*T) any
}

// table is one immutable state of all rows of one type.
type table[T any] struct {
	schema *schema[T]
	rows   *iradix.Tree[*T]
	// indexes hold the rows under "<index id>NUL<row id>": names and hosts contain no NUL.
	indexes []*iradix.Tree[*T]
}

// tableState is a table of whatever type.
type tableState interface {
	row() reflect.Type
	write(changed Changed) tableWriter
}

// tableWriter is a writer of whatever type.
type tableWriter interface {
	commit() tableState
}

// define gives the empty table of a schema.
func define[T any](s schema[T]) *table[T] {
	t := &table[T]{schema: &s, rows: iradix.New[*T](), indexes: make([]*iradix.Tree[*T], len(s.indexes))}
	for i := range t.indexes {
		t.indexes[i] = iradix.New[*T]()
	}
	return t
}

// row implements tableState: a state has one table for each type of rows.
func (*table[T]) row() reflect.Type { return reflect.TypeFor[T]() }

// write implements tableState: it begins to change the table.
func (t *table[T]) write(changed Changed) tableWriter { //nolint:ireturn // as the interface demands
	w := &writer[T]{schema: t.schema, rows: t.rows.Txn(), indexes: make([]*iradix.Txn[*T], len(t.indexes)), changed: changed}
	for i, tree := range t.indexes {
		w.indexes[i] = tree.Txn()
	}
	return w
}

func (t *table[T]) get(id string) (*T, bool) { return t.rows.Get([]byte(id)) }

func (t *table[T]) all() []*T {
	out := make([]*T, 0, t.rows.Len())
	t.rows.Root().Walk(func(_ []byte, row *T) bool {
		out = append(out, row)
		return false
	})
	return out
}

// by lists the rows under id in an index, in the order of their row ids.
func (t *table[T]) by(index Table, id string) []*T {
	var out []*T
	t.indexes[t.schema.at(index)].Root().WalkPrefix([]byte(id+"\x00"), func(_ []byte, row *T) bool {
		out = append(out, row)
		return false
	})
	return out
}

// writer is one table inside a transaction.
type writer[T any] struct {
	schema  *schema[T]
	rows    *iradix.Txn[*T]
	indexes []*iradix.Txn[*T]
	changed Changed
}

// set puts row in place of the one with the same id. It reports whether anything changed.
func (w *writer[T]) set(row *T) bool {
	id := w.schema.id(row)
	old, ok := w.rows.Get([]byte(id))
	if ok && reflect.DeepEqual(old, row) {
		return false
	}
	w.rows.Insert([]byte(id), row)
	w.replace(id, old, row)
	return true
}

// remove drops the row. It reports whether there was one.
func (w *writer[T]) remove(id string) bool {
	old, ok := w.rows.Delete([]byte(id))
	if ok {
		w.replace(id, old, nil)
	}
	return ok
}

// replace notes the changed keys and moves the index entries of one row. old or row is nil where there is none.
func (w *writer[T]) replace(id string, old, row *T) {
	w.changed[Key{w.schema.table, All}] = struct{}{}
	w.changed[Key{w.schema.table, id}] = struct{}{}
	for i, x := range w.schema.indexes {
		before, after := ids(x, old), ids(x, row)
		same := old != nil && row != nil && x.samePart(old, row)
		for _, k := range before {
			if same && slices.Contains(after, k) {
				continue
			}
			w.changed[Key{x.table, k}] = struct{}{}
		}
		for _, k := range after {
			if same && slices.Contains(before, k) {
				continue
			}
			w.changed[Key{x.table, k}] = struct{}{}
		}
		for _, k := range before {
			w.indexes[i].Delete([]byte(k + "\x00" + id))
		}
		for _, k := range after {
			w.indexes[i].Insert([]byte(k+"\x00"+id), row)
		}
	}
}

// by lists the rows under id in an index as the transaction sees them.
func (w *writer[T]) by(index Table, id string) []*T {
	var out []*T
	w.indexes[w.schema.at(index)].Root().WalkPrefix([]byte(id+"\x00"), func(_ []byte, row *T) bool {
		out = append(out, row)
		return false
	})
	return out
}

// commit implements tableWriter: it gives the new state of the table.
func (w *writer[T]) commit() tableState { //nolint:ireturn // as the interface demands
	t := &table[T]{schema: w.schema, rows: w.rows.CommitOnly(), indexes: make([]*iradix.Tree[*T], len(w.indexes))}
	for i, txn := range w.indexes {
		t.indexes[i] = txn.CommitOnly()
	}
	return t
}

func (x index[T]) samePart(a, b *T) bool {
	if x.part == nil {
		return false // the rows differ, or set would not have come here
	}
	return reflect.DeepEqual(x.part(a), x.part(b))
}

func ids[T any](x index[T], row *T) []string {
	if row == nil {
		return nil
	}
	return x.ids(row)
}
