package h2

import "time"

// startTimer begins the periodic look at the connection. Until there is doubt it costs one wake-up per PingAfter. mu
// is held, and a TLS handshake is over: a read deadline would end it.
func (c *conn) startTimer() {
	c.lastSeen = c.received.Load()
	c.wg.Add(1)
	c.timer = time.AfterFunc(c.opts.PingAfter, c.tick)
	if c.active > 0 {
		c.hasten()
	}
}

// stopTimer ends it. mu is held.
func (c *conn) stopTimer() {
	if c.timer != nil && c.timer.Stop() {
		c.wg.Done()
	}
}

// tick looks whether anything has come since last time. A connection with open streams and no sign of life is sent a
// PING; whatever arrives after that, not just the answer, proves it alive. Where pings may be taken amiss, it is the kernel
// that knows.
func (c *conn) tick() {
	defer c.wg.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.dead || c.err != nil {
		return
	}
	seen := c.received.Load()
	if !c.silent && seen == c.lastSeen && (c.large.Load() || c.opts.Coalescer != nil) {
		// The reading goroutine is blocked in Read with its buffer: wake it, see shrink. A timeout does no harm to
		// crypto/tls's reading side.
		c.shrinking.Store(true)
		if err := c.nc.SetReadDeadline(time.Now()); err != nil {
			c.shrinking.Store(false)
		}
	}
	c.silent = seen == c.lastSeen
	c.lastSeen = seen
	switch {
	case !c.silent:
		c.pinging = false
	case c.unanswered():
		c.giveUp()
		return
	case !c.pinging && c.active > 0 && c.opts.Lost == nil:
		c.ping()
		c.out.kick()
	case c.active == 0 && c.server != nil && c.server.private != nil:
		c.server.private.Trim()
	}
	if c.active == 0 {
		c.inflow.reset()
	}
	if !c.endIdle() {
		return
	}
	next := c.opts.PingAfter
	if c.hastened = c.active > 0 && c.opts.ProbeAfter < next; c.hastened {
		next = c.opts.ProbeAfter
	}
	if c.pinging { // the look that ends the wait comes when it is over, not one later
		next = min(next, max(c.opts.PingTimeout-time.Since(c.pingedAt), time.Millisecond))
	}
	c.wg.Add(1)
	c.timer.Reset(next)
}

// unanswered reports whether the peer of a silent connection is gone. mu is held.
func (c *conn) unanswered() bool {
	if c.opts.Lost != nil {
		return c.active > 0 && c.opts.Lost()
	}
	return c.pinging && time.Since(c.pingedAt) >= c.opts.PingTimeout
}

// giveUp ends a connection whose peer is gone. mu is held.
func (c *conn) giveUp() {
	c.fail(ErrPeerSilent)
	c.out.dead = true
	c.mu.Unlock()
	c.nc.Close()
	c.mu.Lock()
}

// greetingTimeout is how long a client may take for its preface and its SETTINGS.
const greetingTimeout = time.Minute

// endIdle ends a server's connection that carries nothing. It reports whether the connection is to be looked at again.
// mu is held.
func (c *conn) endIdle() bool {
	now := time.Now()
	if c.server == nil || c.active > 0 || c.idleSince.IsZero() || c.accepted != c.idleMark {
		c.idleSince, c.idleMark = now, c.accepted
	}
	switch idle := now.Sub(c.idleSince); {
	case c.server == nil || c.active > 0:
	case !c.peer.known && idle >= greetingTimeout:
		c.giveUp()
		return false
	case c.opts.IdleTimeout > 0 && idle >= c.opts.IdleTimeout && !c.announced:
		c.announce(maxStreamID, CodeNo, "")
		c.idleLocked()
	}
	return true
}

// ping asks for a sign of life. mu is held.
func (c *conn) ping() {
	out := c.out.control()
	out.b = appendPing(out.b, 0, [8]byte{'a', 'l', 'i', 'v', 'e', '?'})
	c.pinging, c.pingedAt = true, time.Now()
}

// probe sends a PING along with a request on a connection that has been silent: if its peer is gone, that shows soon.
// mu is held.
func (c *conn) probe() {
	if !c.silent || c.pinging || c.opts.Lost != nil || c.received.Load() != c.lastSeen {
		return
	}
	c.ping()
	if c.timer != nil && c.timer.Stop() {
		c.timer.Reset(c.opts.PingTimeout)
	}
}

// hasten has the connection looked at sooner, now that a request is under way. mu is held.
func (c *conn) hasten() {
	if c.hastened || c.pinging || c.timer == nil || c.opts.ProbeAfter >= c.opts.PingAfter || !c.timer.Stop() {
		return
	}
	c.hastened = true
	c.lastSeen = c.received.Load()
	c.timer.Reset(c.opts.ProbeAfter)
}
