package proxy

import (
	"sync"
	"time"
)

// penalties slow down the peers whose connections cost more than they may (h2.Options.Abused): an attacker who opens
// another connection for each that is ended would have the sidecar spend its time on handshakes and on what each new
// connection may throw away. The next connections of such a peer wait for their turn, one at a time, the longer the
// more often it happens. Nobody is turned away for good: what it did is forgotten after a while.
//
// A peer in the mesh is told by its identity and address, so that pods behind one address (SNAT) do not wait for each other;
// that is known after the handshake. Where so many connections of one peer wait that others are reset, its address is
// slowed as well, for handshakes cost. A plain client is its address.
type penalties struct {
	mu sync.Mutex
	of map[peerKey]*penalty // at most maxPenalties
}

// penalty is one peer's.
type penalty struct {
	pause   time.Duration // between two of its connections
	last    time.Time     // when it last did something
	next    time.Time     // when its next connection may go on
	waiting int           // connections that wait for their turn
}

const (
	// firstPause is between the connections of a peer that was told once to calm down; it doubles up to longestPause
	// while the peer goes on. An honest sidecar whose app cancels too much loses the time of a slow handshake.
	firstPause, longestPause = 50 * time.Millisecond, 500 * time.Millisecond
	// penaltyTime is when it is forgotten.
	penaltyTime = 10 * time.Second
	// maxWaiting connections of one peer wait, for at most maxWaiting times longestPause. More are reset.
	maxWaiting = 16
	// maxPenalties is of how many peers it is known; the one of long ago goes for a new one.
	maxPenalties = 1024
)

// charge notes that a connection of a peer has been ended, or is to end, because it costs too much. It reports whether
// the peer had none to its account.
func (p *penalties) charge(k peerKey, now time.Time) (first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.find(k, now)
	if first = e == nil; first {
		e = &penalty{pause: firstPause / 2}
		p.put(k, e)
	}
	e.pause = min(2*e.pause, longestPause)
	e.last = now
	return first
}

// enter says how long a new connection of a peer is to wait; then leave is to be called once it has waited. Where too
// many wait already, ok is false. A peer that has done nothing waits for nothing.
func (p *penalties) enter(k peerKey, now time.Time) (wait time.Duration, leave func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.find(k, now)
	switch {
	case e == nil:
		return 0, func() {}, true
	case e.waiting >= maxWaiting:
		return 0, nil, false
	}
	if e.next.Before(now) {
		e.next = now
	}
	e.next = e.next.Add(e.pause)
	e.waiting++
	return e.next.Sub(now), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		e.waiting--
	}, true
}

// find gives the penalty of a peer, nil where it has none any more. mu is held.
func (p *penalties) find(k peerKey, now time.Time) *penalty {
	e := p.of[k]
	if e != nil && e.over(now) {
		delete(p.of, k)
		return nil
	}
	return e
}

// over reports whether a penalty is served.
func (e *penalty) over(now time.Time) bool { return e.waiting == 0 && now.Sub(e.last) > penaltyTime }

// put remembers a penalty. Where there are too many, that which is over, or else the one of longest ago, is forgotten. mu is
// held.
func (p *penalties) put(k peerKey, e *penalty) {
	if p.of == nil {
		p.of = make(map[peerKey]*penalty)
	}
	if len(p.of) >= maxPenalties {
		var oldest peerKey
		for at, other := range p.of {
			if !oldest.addr.IsValid() || other.last.Before(p.of[oldest].last) {
				oldest = at
			}
		}
		delete(p.of, oldest)
	}
	p.of[k] = e
}
