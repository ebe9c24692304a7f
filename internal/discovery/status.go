package discovery

import (
	"maps"
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/plan"
)

// ClientStatus is what is known of one connected proxy.
type ClientStatus struct {
	// ID is "pod.namespace".
	ID       string
	Client   ClientIdentity
	Node     Node
	Since    time.Time
	Names    map[string]int // subscribed names by kind
	Held     map[string]int // resources by kind
	Sent     uint64         // nonce of the newest response
	Acked    uint64         // nonce of the newest response that the proxy confirmed
	AckedAt  time.Time
	Synced   bool // everything sent is confirmed, nothing is refused, nothing waits to be sent
	Refusals []Refusal
	// Partial are the resources that the proxy obeys without a part that it is too old to know.
	Partial []Refusal
}

// Status lists the connected proxies by ID.
func (s *Server) Status() []ClientStatus {
	s.mu.RLock()
	streams := slices.Collect(maps.Keys(s.streams))
	s.mu.RUnlock()
	list := make([]ClientStatus, 0, len(streams))
	for _, st := range streams {
		list = append(list, st.status())
	}
	slices.SortFunc(list, func(a, b ClientStatus) int {
		if c := strings.Compare(a.ID, b.ID); c != 0 {
			return c
		}
		return a.Since.Compare(b.Since)
	})
	return list
}

// Clients lists who is connected; a client with two streams is there twice.
func (s *Server) Clients() []ClientIdentity {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]ClientIdentity, 0, len(s.streams))
	for st := range s.streams {
		list = append(list, st.client)
	}
	return list
}

func (st *stream) status() ClientStatus {
	st.mu.Lock()
	defer st.mu.Unlock()
	status := ClientStatus{
		ID: st.client.ID(), Client: st.client, Node: st.node, Since: st.since,
		Names: make(map[string]int), Held: make(map[string]int),
		Sent: st.nonce, Acked: st.acked, AckedAt: st.ackedAt,
		Synced: st.greeted && st.acked == st.nonce && len(st.refused)+len(st.dirty) == 0,
	}
	for n := range st.subs {
		status.Names[plan.KindOf(n).String()]++
	}
	for n := range st.held {
		status.Held[plan.KindOf(n).String()]++
	}
	for _, n := range slices.Sorted(maps.Keys(st.refused)) {
		status.Refusals = append(status.Refusals, st.refused[n])
	}
	for _, n := range slices.Sorted(maps.Keys(st.partial)) {
		status.Partial = append(status.Partial, st.partial[n])
	}
	return status
}
