package discovery

import (
	"maps"
	"slices"
	"sync"

	"fairlead.dev/fairlead/internal/plan"
)

// following has the streams of clients that hold some destinations: those that somebody asks about. What a client says that it
// has does not count: it holds what it is subscribed to and may read.
type following struct {
	mu sync.RWMutex
	// streams counts by destination, as plan.Name.Destination names it, the shards that each stream holds; guarded by mu.
	streams map[string]map[*stream]int
	changed func() // nil where nobody asks
}

// note says that a stream begins (1) or ceases (-1) to hold a resource. stream.mu is held.
func (f *following) note(st *stream, name string, by int) {
	if f.changed == nil || plan.KindOf(name) != plan.NameShard || f.nothing() {
		return
	}
	if f.count(st, destinationOf(name), by) {
		f.changed()
	}
}

// nothing reports whether nobody asks about any destination.
func (f *following) nothing() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return len(f.streams) == 0
}

// count reports whether the stream is another holder, or one no more.
func (f *following) count(st *stream, destination string, by int) (changed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	holders := f.streams[destination]
	if holders == nil || st.gone {
		return false
	}
	before := holders[st]
	if holders[st] = before + by; holders[st] <= 0 {
		delete(holders, st)
	}
	return (before > 0) != (holders[st] > 0)
}

func destinationOf(shard string) string {
	n, ok := plan.ParseName(shard)
	if !ok {
		return ""
	}
	return n.Destination()
}

// drop forgets a stream.
func (f *following) drop(st *stream) {
	st.mu.Lock()
	st.gone = true
	st.mu.Unlock()
	held := false
	f.mu.Lock()
	for _, holders := range f.streams {
		if _, ok := holders[st]; ok {
			held = true
			delete(holders, st)
		}
	}
	f.mu.Unlock()
	if held && f.changed != nil {
		f.changed()
	}
}

// Follow says of which destinations, as plan.Name.Destination names them, HoldersOf is to know.
func (s *Server) Follow(destinations []string) {
	f := &s.following
	fresh, next := make(map[string]bool), make(map[string]map[*stream]int, len(destinations))
	f.mu.Lock()
	for _, d := range destinations {
		if next[d] = f.streams[d]; next[d] == nil {
			next[d] = make(map[*stream]int)
			fresh[d] = true
		}
	}
	f.streams = next
	f.mu.Unlock()
	if len(fresh) == 0 {
		return
	}
	s.mu.RLock()
	streams := slices.Collect(maps.Keys(s.streams))
	s.mu.RUnlock()
	for _, st := range streams {
		f.recount(st, fresh)
	}
}

// recount counts what a stream holds of destinations, which nobody has counted from the beginning.
func (f *following) recount(st *stream, fresh map[string]bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.gone {
		return
	}
	counts := make(map[string]int)
	for n, h := range st.held {
		if h.users > 0 && plan.KindOf(n) == plan.NameShard {
			if d := destinationOf(n); fresh[d] {
				counts[d]++
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for d, n := range counts {
		if f.streams[d] != nil {
			f.streams[d][st] = n
		}
	}
}

// HoldersOf lists the clients that hold a destination that is followed.
func (s *Server) HoldersOf(destination string) []ClientIdentity {
	s.following.mu.RLock()
	defer s.following.mu.RUnlock()
	out := make([]ClientIdentity, 0, len(s.following.streams[destination]))
	for st := range s.following.streams[destination] {
		out = append(out, st.client)
	}
	return out
}
