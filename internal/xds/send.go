package xds

import (
	"context"
	"time"
)

// maxBatch is how much one response of the protocol of differences holds, in bytes, unless a single resource is larger.
const maxBatch = 1 << 20

// flush sends what the client does not have: first what is new, in the order in which it can be used, then, in the opposite
// order, what is gone.
func (st *stream) flush(ctx context.Context) error {
	if err := st.learn(ctx); err != nil {
		return err
	}
	for t := Cluster; t < types; t++ {
		if t >= Listener && st.holds() {
			return nil // what is gone may still be in use there
		}
		if b := st.books[t]; b != nil {
			if err := st.sendDue(b); err != nil {
				return err
			}
		}
	}
	for t := types - 1; t >= Cluster; t-- {
		if b := st.books[t]; b != nil && len(b.gone) > 0 {
			if err := st.sendGone(b); err != nil {
				return err
			}
		}
	}
	return nil
}

// rest books what was sent once more because the client asked for it once more, and says for how long it is not to ask anything else.
// What changes it is told meanwhile; and what a new stream asks for it was not sent before.
func (st *stream) rest(ctx context.Context) time.Duration {
	bytes := 0
	for _, b := range st.books {
		if b != nil {
			bytes += b.repeats.take()
		}
	}
	if bytes == 0 {
		return 0
	}
	wait := st.account.repeat(bytes, time.Now())
	if wait > 0 {
		st.complain(ctx, "xds client asks again and again for what it was sent; it has to wait")
	}
	return wait
}

// holds reports whether the client has yet to ask for the endpoints of a cluster that it has just got. Until it has them,
// calls by a route to the cluster would fail.
func (st *stream) holds() bool {
	clusters, endpoints := st.books[Cluster], st.books[Endpoints]
	for name := range st.awaited {
		_, lost := clusters.gone[name]
		if lost || clusters.refusal != nil || endpoints != nil && endpoints.follows(name) {
			st.awaited = strike(st.awaited, name)
		}
	}
	if len(st.awaited) > 0 && !time.Now().Before(st.until) {
		st.awaited = nil // a client that has other plans with the cluster
	}
	return len(st.awaited) > 0
}

// sendDue sends what is new of a type.
func (st *stream) sendDue(b *book) error {
	list, first := b.takeDue()
	if len(list) == 0 && !b.greet {
		return nil
	}
	if b.typ == Cluster {
		st.clustersSent(b, list, first)
	}
	if !b.delta {
		if b.typ.whole() {
			all := b.all() // with what is gone: it is taken away last
			b.repeats.whole(all, list)
			list = all
		}
		return st.send(b, list, nil)
	}
	for {
		n, size := 0, 0
		for n < len(list) && (n == 0 || size+len(list[n].Body) <= maxBatch) {
			size += len(list[n].Body)
			n++
		}
		if err := st.send(b, list[:n], nil); err != nil {
			return err
		}
		if list = list[n:]; len(list) == 0 {
			return nil
		}
	}
}

// clustersSent notes what follows from sending clusters. Of a cluster that a wildcard brings the client asks for endpoints
// by itself. One that has changed waits for its endpoints anew, without asking again.
func (st *stream) clustersSent(b *book, list []Resource, first map[string]bool) {
	endpoints := st.books[Endpoints]
	for i := range list {
		name := list[i].Name
		switch {
		case !hasEndpoints(list[i].Body):
		case endpoints != nil && endpoints.follows(name):
			n := endpoints.again(name)
			if b.repeats.answers {
				endpoints.repeats.bytes += n
			}
		case first[name] && b.wildcard:
			if len(st.awaited) == 0 {
				st.until = time.Now().Add(st.s.o.Hold)
			}
			st.awaited = note(st.awaited, name)
		}
	}
}

// sendGone takes away what is not there any more.
func (st *stream) sendGone(b *book) error {
	removed := b.takeGone()
	switch {
	case b.delta:
		return st.send(b, nil, removed)
	case b.typ.whole():
		return st.send(b, b.all(), nil)
	}
	return nil // the state of the world has no way to say it: the client drops what nothing refers to
}

func (st *stream) send(b *book, list []Resource, removed []string) error {
	nonce, version := b.sent()
	began := time.Now()
	err := st.out.send(&response{typ: b.typ, nonce: nonce, version: version, resources: list, removed: removed})
	if err == nil && st.s.o.Sent != nil {
		st.s.o.Sent(b.typ, len(list), bytesOf(list), time.Since(began))
	}
	return err
}
