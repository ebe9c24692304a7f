package store

import (
	"cmp"
	"slices"
)

// Table names one way to look values up: a table by its own key, or one of its indexes.
type Table string

// Key is one thing that can be read. The ID All stands for a table as a whole.
type Key struct {
	Table Table
	ID    string
}

// All is the ID of a read of a whole table: it changes with every row.
const All = ""

// String gives "table/id".
func (k Key) String() string { return string(k.Table) + "/" + k.ID }

// Compare orders keys by table, then ID.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Table, o.Table), cmp.Compare(k.ID, o.ID))
}

// Changed is the set of keys that a commit touched. It is not changed once handed out.
type Changed map[Key]struct{}

// Has reports whether k was touched.
func (c Changed) Has(k Key) bool {
	_, ok := c[k]
	return ok
}

// Any reports whether one of keys was touched.
func (c Changed) Any(keys []Key) bool { return slices.ContainsFunc(keys, c.Has) }

// Keys lists the set in order.
func (c Changed) Keys() []Key {
	keys := make([]Key, 0, len(c))
	for k := range c {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, Key.Compare)
	return keys
}
