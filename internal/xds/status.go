package xds

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// ClientStatus is what is known of one stream.
type ClientStatus struct {
	Peer  Peer
	Node  Node
	Delta bool
	Since time.Time
	Types []TypeStatus // those that the client has asked for, in their order
}

// Synced reports whether everything that was sent is in force.
func (c *ClientStatus) Synced() bool {
	return !slices.ContainsFunc(c.Types, func(t TypeStatus) bool { return !t.Synced })
}

// TypeStatus is how a stream stands with one type.
type TypeStatus struct {
	Type     Type
	Wildcard bool
	// Names are those that the client asked for, Over those of its last request that are not followed, Resources what it
	// has.
	Names, Over, Resources int
	// Sent and InForce are versions: of the newest response, and of the newest that the client confirmed.
	Sent, InForce string
	// Synced means that they are the same, and that nothing waits to be sent.
	Synced bool
	// Refusal is set where the client would not have the newest response that it said something about.
	Refusal *Refusal
}

// Status lists the streams in the order of their clients.
func (s *Server) Status() []ClientStatus {
	s.mu.RLock()
	streams := slices.Collect(maps.Keys(s.streams))
	s.mu.RUnlock()
	list := make([]ClientStatus, 0, len(streams))
	for _, st := range streams {
		st.mu.Lock()
		status := st.status
		status.Types = slices.Clone(status.Types)
		for i := range status.Types {
			t := &status.Types[i]
			t.Synced = t.Synced && !st.dirtyOf(t.Type)
		}
		st.mu.Unlock()
		list = append(list, status)
	}
	slices.SortFunc(list, func(a, b ClientStatus) int {
		return cmp.Or(strings.Compare(a.Peer.String(), b.Peer.String()), strings.Compare(a.Node.ID, b.Node.ID), a.Since.Compare(b.Since))
	})
	return list
}

// dirtyOf reports whether something of a type was not looked at yet, or is being sent: to a client that does not read for long. mu is
// held.
func (st *stream) dirtyOf(t Type) bool {
	if st.looking[t] {
		return true
	}
	for r := range st.dirty {
		if r.typ == t {
			return true
		}
	}
	return false
}

// report publishes how the stream stands, and for how long the client is to ask nothing.
func (st *stream) report(wait time.Duration) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if wait > 0 {
		st.resting = time.Now().Add(wait)
	}
	st.looking = [types]bool{}
	list := st.status.Types[:0]
	for _, b := range st.books {
		if b == nil {
			continue
		}
		list = append(list, TypeStatus{
			Type: b.typ, Wildcard: b.wildcard, Names: b.shelf.asked, Over: b.over, Resources: b.shelf.held,
			Sent: b.last, InForce: b.good, Synced: b.synced(), Refusal: b.refusal,
		})
	}
	st.status = ClientStatus{Peer: st.peer, Node: st.node, Delta: st.delta, Since: st.since, Types: list}
}
