package store

import (
	"reflect"
	"sync"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// Store holds the newest snapshot.
type Store struct {
	mu      sync.RWMutex
	current Snapshot // guarded by mu

	writing sync.Mutex // held during a commit, before mu
}

// Snapshot is the state of the model at one moment. The zero Snapshot is not usable; Store.Snapshot gives the first.
type Snapshot struct{ state *state }

// state is one immutable version of all tables.
type state struct {
	tables map[reflect.Type]tableState // by the type of their rows
	// sizes counts the workloads of each namespace.
	sizes *iradix.Tree[int]
}

// in gives a table of a state.
func in[T any](s *state) *table[T] {
	return s.tables[reflect.TypeFor[T]()].(*table[T]) //nolint:forcetypeassert,errcheck // definitions puts it there
}

// New gives an empty store.
func New() *Store {
	tables := make(map[reflect.Type]tableState)
	for _, t := range definitions() {
		tables[t.row()] = t
	}
	return &Store{current: Snapshot{state: &state{tables: tables, sizes: iradix.New[int]()}}}
}

// Snapshot gives the newest state.
func (s *Store) Snapshot() Snapshot {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.current
}

// Commit applies what fn does to its transaction, all at once, and gives the new state with the keys that changed.
// A transaction that changes nothing gives the state there was and no keys.
func (s *Store) Commit(fn func(*Txn)) (Snapshot, Changed) {
	s.writing.Lock()
	defer s.writing.Unlock()
	base := s.Snapshot()
	next, changed := s.apply(base, fn)
	if len(changed) == 0 {
		return base, changed
	}
	s.mu.Lock()
	s.current = next
	s.mu.Unlock()
	return next, changed
}

// Try gives the state that Commit would lead to, and changes nothing.
func (s *Store) Try(fn func(*Txn)) Snapshot {
	next, _ := s.apply(s.Snapshot(), fn)
	return next
}

func (s *Store) apply(base Snapshot, fn func(*Txn)) (Snapshot, Changed) {
	tx := newTxn(base.state)
	fn(tx)
	tx.assignAutoAddresses()
	return Snapshot{state: tx.commit()}, tx.changed
}
