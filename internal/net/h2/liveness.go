package h2

import (
	"sync/atomic"
	"time"
)

// liveness is what tells a peer that is silent from one that is gone: a look at the connection now and then. What is neither
// fixed nor atomic is guarded by conn.mu.
type liveness struct {
	c *conn // whose it is; fixed

	received  atomic.Uint32 // reads so far; a sign of life
	large     atomic.Bool   // the reading goroutine holds a large buffer
	shrinking atomic.Bool   // it was woken to give that back

	timer    *time.Timer
	silent   bool // nothing was received between the last two ticks
	pinging  bool
	hastened bool   // the next look comes after ProbeAfter
	lastSeen uint32 // received at the last tick
	pingedAt time.Time
	// idleSince is when a look first found no stream running, none having come since it was idleMark.
	idleSince time.Time
	idleMark  uint32
}

// start begins the periodic look at the connection. Until there is doubt it costs one wake-up per PingAfter. mu
// is held, and a TLS handshake is over: a read deadline would end it.
func (l *liveness) start() {
	l.lastSeen = l.received.Load()
	l.c.wg.Add(1)
	l.timer = time.AfterFunc(l.c.opts.PingAfter, l.tick)
	if l.c.streams.active > 0 {
		l.hasten()
	}
}

// stop ends it. mu is held.
func (l *liveness) stop() {
	if l.timer != nil && l.timer.Stop() {
		l.c.wg.Done()
	}
}

// tick looks whether anything has come since last time. A connection with open streams and no sign of life is sent a
// PING; whatever arrives after that, not just the answer, proves it alive. Where pings may be taken amiss, it is the kernel
// that knows.
func (l *liveness) tick() {
	c := l.c
	defer c.wg.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.dead || c.err != nil {
		return
	}
	seen := l.received.Load()
	if c.in.later == nil && !l.silent && seen == l.lastSeen && (l.large.Load() || c.opts.Coalescer != nil) {
		// The reading goroutine is blocked in Read with its buffer: wake it, see shrink. A timeout does no harm to
		// crypto/tls's reading side.
		l.shrinking.Store(true)
		if err := c.nc.SetReadDeadline(time.Now()); err != nil {
			l.shrinking.Store(false)
		}
	}
	l.silent = seen == l.lastSeen
	l.lastSeen = seen
	switch {
	case !l.silent:
		l.pinging = false
	case l.unanswered():
		l.giveUp()
		return
	case !l.pinging && (l.waiting() || c.opts.PingIdle) && c.opts.Lost == nil:
		l.ping()
		c.out.kick()
	case c.streams.active == 0 && c.server != nil && c.server.private != nil:
		c.server.private.Trim()
	}
	if c.streams.active == 0 {
		c.inflow.reset()
	}
	if !l.endIdle() {
		return
	}
	next := c.opts.PingAfter
	if l.hastened = l.waiting() && c.opts.ProbeAfter < next; l.hastened {
		next = c.opts.ProbeAfter
	}
	if l.pinging { // the look that ends the wait comes when it is over, not one later
		next = min(next, max(c.opts.PingTimeout-time.Since(l.pingedAt), time.Millisecond))
	}
	c.wg.Add(1)
	l.timer.Reset(next)
}

// waiting reports whether anybody waits for the peer: a request, or who has begun to doubt it and would go on to for as long as nobody
// asks. mu is held.
func (l *liveness) waiting() bool { return l.c.streams.active > 0 || l.c.quiet.on.Load() }

// unanswered reports whether the peer of a silent connection is gone. mu is held.
func (l *liveness) unanswered() bool {
	if l.c.opts.Lost != nil {
		return l.c.streams.active > 0 && l.c.opts.Lost()
	}
	return l.pinging && time.Since(l.pingedAt) >= l.c.opts.PingTimeout
}

// giveUp ends a connection whose peer is gone. mu is held.
func (l *liveness) giveUp() {
	l.c.fail(ErrPeerSilent)
	l.c.out.dead = true
	l.c.mu.Unlock()
	l.c.nc.Close()
	l.c.mu.Lock()
}

// greetingTimeout is how long a client may take for its preface and its SETTINGS.
const greetingTimeout = time.Minute

// endIdle ends a server's connection that carries nothing. It reports whether the connection is to be looked at again.
// mu is held.
func (l *liveness) endIdle() bool {
	c := l.c
	now := time.Now()
	if c.server == nil || c.streams.active > 0 || l.idleSince.IsZero() || c.streams.accepted != l.idleMark {
		l.idleSince, l.idleMark = now, c.streams.accepted
	}
	switch idle := now.Sub(l.idleSince); {
	case c.server == nil || c.streams.active > 0:
	case !c.settings.known && idle >= greetingTimeout:
		l.giveUp()
		return false
	case c.opts.IdleTimeout > 0 && idle >= c.opts.IdleTimeout && !c.ending.announced:
		c.ending.announce(maxStreamID, CodeNo, "")
		c.ending.whenIdle()
	}
	return true
}

// ping asks for a sign of life. mu is held.
func (l *liveness) ping() {
	l.appendPing()
	l.pinging, l.pingedAt = true, time.Now()
}

// appendPing is ping without the wait for an answer. mu is held.
func (l *liveness) appendPing() {
	out := l.c.out.control()
	out.b = appendPing(out.b, 0, [8]byte{'a', 'l', 'i', 'v', 'e', '?'})
}

// probe sends a PING along with a request on a connection that has been silent: if its peer is gone, that shows soon.
// mu is held.
func (l *liveness) probe() {
	if !l.silent || l.pinging || l.c.opts.Lost != nil || l.received.Load() != l.lastSeen {
		return
	}
	l.ping()
	if l.timer != nil && l.timer.Stop() {
		l.timer.Reset(l.c.opts.PingTimeout)
	}
}

// hasten has the connection looked at sooner, now that a request is under way. mu is held.
func (l *liveness) hasten() {
	if l.hastened || l.pinging || l.timer == nil || l.c.opts.ProbeAfter >= l.c.opts.PingAfter || !l.timer.Stop() {
		return
	}
	l.hastened = true
	l.lastSeen = l.received.Load()
	l.timer.Reset(l.c.opts.ProbeAfter)
}
