package dns

import (
	"net"
	"net/netip"
	"strings"
	"sync"
)

// lookup is how many questions a resolver asks at once from one socket to look up one name: A and AAAA.
const lookup = 2

// shares are the questions that may be in work at once, divided by who asks and by what is asked for. A source, a
// client's socket, and a zone may each have as many in work as are left free: one that floods gets half of them, n of
// them leave one part of n+1. Stub resolvers often open a socket for each question, so that a flood of theirs is told by
// its zone, where mostly names are invented; a source that has hardly anything in work may find three quarters of them
// taken by its zone.
type shares struct {
	mu      sync.Mutex
	free    int
	sources map[netip.AddrPort]int
	zones   map[string]int
}

func newShares(n int) *shares {
	return &shares{free: n, sources: map[netip.AddrPort]int{}, zones: map[string]int{}}
}

// take reports whether a question may be worked on. If so, give must be called when it is done.
func (s *shares) take(source netip.AddrPort, zone string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	forZone := s.free
	if s.sources[source] < lookup {
		forZone *= 3
	}
	if s.sources[source] >= s.free || s.zones[zone] >= forZone {
		return false
	}
	s.free--
	s.sources[source]++
	s.zones[zone]++
	return true
}

func (s *shares) give(source netip.AddrPort, zone string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	decrement(s.sources, source)
	decrement(s.zones, zone)
}

// decrement takes one from a count, and forgets those that are 0.
func decrement[K comparable](counts map[K]int, k K) {
	counts[k]--
	if counts[k] == 0 {
		delete(counts, k)
	}
}

// zone is the name without its first label, in lower case.
func (q *query) zone() string {
	_, zone, _ := strings.Cut(strings.ToLower(q.question.Name.String()), ".")
	return zone
}

// sourceOf gives a client's socket; the zero value where its address is no IP's.
func sourceOf(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort()
	case *net.TCPAddr:
		return a.AddrPort()
	}
	return netip.AddrPort{}
}
