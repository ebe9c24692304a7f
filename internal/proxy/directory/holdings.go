package directory

import (
	"maps"
	"slices"
)

// Destinations gives what is in force, ordered by name.
func (t *Directory) Destinations() []*Destination {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []*Destination
	for _, name := range slices.Sorted(maps.Keys(t.names)) {
		out = append(out, t.names[name].state)
	}
	return out
}

// Names gives the backends of the hosts that calls of a backend have named, ordered by host.
func (t *Directory) Names(b *Backend) []*Backend {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []*Backend
	for _, host := range slices.Sorted(maps.Keys(b.children)) {
		out = append(out, b.children[host])
	}
	return out
}

// Cells gives the cells of all addresses and hosts, by alias.
func (t *Directory) Cells() map[string]*Cell {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return maps.Clone(t.aliases)
}

// Holdings counts what a directory keeps.
type Holdings struct {
	Endpoints, Shards, Groups int
	// Hosts are the names of endpoints that are being resolved.
	Hosts int
}

// Holdings counts what is there at the moment.
func (t *Directory) Holdings() Holdings {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return Holdings{Endpoints: len(t.stock.slots.byKey), Shards: len(t.stock.shards), Groups: len(t.stock.groups), Hosts: len(t.stock.hosts.byName)}
}
