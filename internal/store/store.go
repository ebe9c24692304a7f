package store

import (
	"sync"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"fairlead.dev/fairlead/internal/model"
)

// Store holds the newest snapshot.
type Store struct {
	schemas *schemas // fixed after New

	mu      sync.RWMutex
	current Snapshot // guarded by mu

	writing sync.Mutex // held during a commit, before mu
}

// Snapshot is the state of the model at one moment. The zero Snapshot is not usable; Store.Snapshot gives the first.
type Snapshot struct {
	revision uint64
	state    *state
}

// Revision counts the commits that changed something.
func (s Snapshot) Revision() uint64 { return s.revision }

// state is one immutable version of all tables.
type state struct {
	services   table[model.Service]
	auto       table[autoAddress]
	slices     table[model.Slice]
	workloads  table[model.Workload]
	nodes      table[model.Node]
	namespaces table[model.Namespace]
	routeSets  table[model.RouteSet]
	policies   table[model.DestinationPolicy]
	peers      table[model.PeerAuthentication]
	// sizes counts the workloads of each namespace.
	sizes *iradix.Tree[int]
}

// New gives an empty store.
func New() *Store {
	s := newSchemas()
	return &Store{schemas: s, current: Snapshot{state: &state{
		services:   newTable(&s.services),
		auto:       newTable(&s.auto),
		slices:     newTable(&s.slices),
		workloads:  newTable(&s.workloads),
		nodes:      newTable(&s.nodes),
		namespaces: newTable(&s.namespaces),
		routeSets:  newTable(&s.routeSets),
		policies:   newTable(&s.policies),
		peers:      newTable(&s.peers),
		sizes:      iradix.New[int](),
	}}}
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
	tx := newTxn(s.schemas, base.state)
	fn(tx)
	tx.assignAutoAddresses()
	return Snapshot{revision: base.revision + 1, state: tx.commit()}, tx.changed
}
