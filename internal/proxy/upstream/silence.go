package upstream

import (
	"sync"
	"time"
)

// A peer is silent while the connection that its next stream would take has a request and a PING that nothing followed, or while it is being
// dialled and nothing has come of that for a while. That ends nothing: it is for who chooses among peers. By a gateway it is the same, for a
// connection by one is with one peer (docs/adr/0037-silent-peers.md).
const (
	// doubtAfter is how long after a request a peer is asked for a sign of life, and doubtTimeout how long it has for that. A peer at the other
	// side of the world takes less, and a packet that is lost is sent again within 200 ms (RFC 6298 has a second at least, Linux that).
	doubtAfter   = 150 * time.Millisecond
	doubtTimeout = 250 * time.Millisecond
	// doubtDial is how long a dial may take, which is three journeys there and back.
	doubtDial = 500 * time.Millisecond
)

// silence is whether a peer is silent, and who is told.
type silence struct {
	mu    sync.Mutex
	on    bool
	heeds map[*Way]func(silent bool)
}

// Heed has f told when who is reached falls silent, and when that is over, until the way is released: in order, and f must not block. Of endpoints
// without a sidecar nothing is told: they are not asked for a sign of life.
func (w *Way) Heed(f func(silent bool)) {
	if w.Peer == nil {
		return
	}
	q := &w.Peer.quiet
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.heeds == nil {
		q.heeds = map[*Way]func(bool){}
	}
	q.heeds[w] = f
	if q.on {
		f(true)
	}
}

// forget has a way told no more.
func (q *silence) forget(w *Way) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.heeds, w)
}

// doubt finds out whether the peer is silent, whenever that may have changed. No lock of a connection or a link is held.
func (p *Peer) doubt() {
	q := &p.quiet
	q.mu.Lock()
	defer q.mu.Unlock()
	on := p.http.isSilent() || p.tcp.isSilent()
	if on == q.on {
		return
	}
	q.on = on
	if on && p.silenced != nil {
		p.silenced()
	}
	for _, tell := range q.heeds {
		tell(on)
	}
}

// isSilent reports whether the connection that the next stream would take is silent, or the dial that it would wait for.
func (l *link) isSilent() bool {
	if conns := l.conns.Load(); conns != nil {
		for _, c := range *conns {
			if !c.Closed() {
				return c.Silent()
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dialing != nil && l.dialing.slow
}

// watchDial has a dial noticed that takes long. What is returned ends that, once l.dialing is another one.
func (l *link) watchDial(d *dialing) (end func()) {
	if l.doubt == nil {
		return func() {}
	}
	timer := time.AfterFunc(doubtDial, func() {
		l.mu.Lock()
		d.slow = true
		l.mu.Unlock()
		l.doubt()
	})
	return func() {
		timer.Stop()
		l.doubt()
	}
}
