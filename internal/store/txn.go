package store

import (
	"maps"
	"reflect"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// Txn collects the changes of one commit. It is valid only inside the function given to Commit, in its goroutine.
// Later calls see what earlier ones did.
type Txn struct {
	changed Changed
	base    *state
	writers map[reflect.Type]tableWriter // of the tables that were asked for something: most commits touch one or two
	sizes   *iradix.Txn[int]
}

func newTxn(base *state) *Txn {
	return &Txn{changed: Changed{}, base: base, writers: make(map[reflect.Type]tableWriter), sizes: base.sizes.Txn()}
}

// to gives the writer of a table.
func to[T any](tx *Txn) *writer[T] {
	row := reflect.TypeFor[T]()
	w := tx.writers[row]
	if w == nil {
		w = tx.base.tables[row].write(tx.changed)
		tx.writers[row] = w
	}
	return w.(*writer[T]) //nolint:forcetypeassert,errcheck // definitions puts its table there
}

func (tx *Txn) commit() *state {
	s := &state{tables: maps.Clone(tx.base.tables), sizes: tx.sizes.CommitOnly()}
	for row, w := range tx.writers {
		s.tables[row] = w.commit()
	}
	return s
}
