package upstream

import "time"

// A server closes a connection that has been idle for as long as it likes. A request that is put on it in that moment may or
// may not have been carried out, and most cannot be repeated. So a pool finds out how long its server is patient, and lets a
// connection go before.

// keepAlive is what a pool knows of its server's patience. Pool.mu guards it.
type keepAlive struct {
	told   time.Duration // by the server (Keep-Alive: timeout), 0 for nothing
	seen   time.Duration // how long an idle connection was when it was found closed
	seenAt time.Time     // when that was
	learnt time.Duration // seen twice
	at     time.Time     // when that was
}

const (
	// keepAliveMargin is how long before its end a connection is not used any more: as long as a request may be on its way.
	keepAliveMargin = 500 * time.Millisecond
	// shortestIdle is below what servers are configured to: what is closed sooner was closed for another reason.
	shortestIdle = 800 * time.Millisecond
	// alike is by how much two observations may differ: the looks are a second apart.
	alike = sweepEvery + keepAliveMargin
	// learntFor is for how long what was learnt holds. The server may have been replaced.
	learntFor = 10 * time.Minute
)

// observe notes that a connection was found closed that had been idle for so long. Once may be a server that ends, which closes
// all that it has; twice alike is its habit.
func (k *keepAlive) observe(idle time.Duration, now time.Time) {
	if idle < shortestIdle {
		return
	}
	if k.seen > 0 && now.Sub(k.seenAt) < alike { // found at once, or nearly
		k.seen = max(k.seen, idle)
		return
	}
	if d := idle - k.seen; k.seen > 0 && d.Abs() <= alike {
		k.learnt, k.at = min(idle, k.seen), now
	}
	k.seen, k.seenAt = idle, now
}

// bound is how long a connection may have been idle to be used, 0 for any time.
func (k *keepAlive) bound(now time.Time) time.Duration {
	var out time.Duration
	if k.told > 0 {
		out = max(k.told-keepAliveMargin, k.told/2)
	}
	if k.learnt > 0 && now.Sub(k.at) < learntFor {
		if b := max(k.learnt-sweepEvery-keepAliveMargin, k.learnt/4); out == 0 || b < out {
			out = b
		}
	}
	return out
}

// tooOld reports whether an idle connection is not to be used any more, for its server may close it.
func (p *Pool) tooOld(c *Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.alive.told == 0 && p.alive.learnt == 0 {
		return false
	}
	now := time.Now()
	b := p.alive.bound(now)
	return b > 0 && now.Sub(c.since) >= b
}

// found notes that a connection was closed by its server, which a request has found before the next look.
func (p *Pool) found(c *Conn) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alive.observe(now.Sub(c.since), now)
}

// look closes the idle connections whose servers have closed them, and notes how long they were idle: the longest of those that
// are found at once, for a server that ends closes all it has.
func (p *Pool) look(now time.Time) {
	var closed []*Conn
	p.mu.Lock()
	kept := p.idle[:0]
	for _, c := range p.idle {
		if now.Sub(c.since) >= shortestIdle && c.Stale() {
			closed = append(closed, c)
			continue
		}
		kept = append(kept, c)
	}
	clear(p.idle[len(kept):])
	p.idle = kept
	if len(closed) > 0 {
		p.alive.observe(now.Sub(closed[0].since), now) // the first of the list is the oldest
	}
	p.mu.Unlock()
	for _, c := range closed {
		c.conn.Close() // it carries nothing
	}
}

// idleLimit is for how long a connection is kept that carries nothing, at most after.
func (p *Pool) idleLimit(now time.Time, after time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.alive.bound(now); b > 0 {
		return min(after, b)
	}
	return after
}
