package upstream

import (
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"fairlead.dev/fairlead/internal/net/netio"
)

// ErrLost is why an exchange ended whose request was lost with the host that it was sent to: the kernel has sent it again
// and again, and nothing was acknowledged. Sidecars ping each other instead; an app may never be pinged.
var ErrLost = errors.New("what was sent is not acknowledged: the host is out of reach")

// busyConn is what a pool knows of a connection while it carries an exchange.
type busyConn struct {
	socket syscall.RawConn // nil where there is none below
	lost   atomic.Bool     // closed because its host is out of reach
	spare  atomic.Bool     // what it carries can be sent elsewhere

	// Guarded by Pool.mu.
	at   int    // in Pool.busy
	turn uint32 // counts exchanges
	seen uint32 // turn at the latest look
}

// How often a request must have been sent again in vain before its connection is given up: soon where it can be sent to
// another host, and otherwise only after an outage that few clients would wait for.
const (
	repeatsOfSpare = 4
	repeatsOfOther = 7
)

// Spare says whether the exchange at hand can be carried by another connection as well.
func (b *busyConn) Spare(can bool) { b.spare.Store(can) }

// outOfReach reports whether nothing is heard of the host any more.
func (b *busyConn) outOfReach() bool {
	if b.socket == nil || b.Lost() {
		return false
	}
	limit := repeatsOfOther
	if b.spare.Load() {
		limit = repeatsOfSpare
	}
	return netio.Repeats(b.socket) >= limit
}

// Lost reports whether the connection was closed because its host is out of reach.
func (b *busyConn) Lost() bool { return b.lost.Load() }

// begin notes that a connection carries an exchange. mu is held.
func (p *Pool) begin(c *Conn) {
	if c.turn == 0 {
		c.socket = socketBelow(c.conn)
	}
	c.turn++
	c.at = len(p.busy)
	p.busy = append(p.busy, c)
}

// end is the counterpart of begin. mu is held.
func (p *Pool) end(c *Conn) {
	last := len(p.busy) - 1
	p.busy[c.at] = p.busy[last]
	p.busy[c.at].at = c.at
	p.busy[last] = nil
	p.busy = p.busy[:last]
}

// closeLost closes the connections whose host is out of reach, with what they carry, and then the idle ones to it. Looked
// at are those of exchanges that have lasted since the look before: the others cost nothing.
func (p *Pool) closeLost(now time.Time) {
	if p.key.app {
		return // on this host
	}
	var found []*Conn
	p.mu.Lock()
	for _, c := range p.busy {
		if c.seen != c.turn {
			c.seen = c.turn
		} else if c.outOfReach() {
			c.lost.Store(true)
			found = append(found, c)
		}
	}
	p.mu.Unlock()
	for _, c := range found {
		bottom(c.conn).Close() // the exchange reports it
	}
	if len(found) > 0 {
		p.closeIdle(now, -time.Hour)
	}
}

// lostOf asks whether the host of a connection is out of reach.
func lostOf(conn net.Conn) func() bool {
	socket := socketBelow(conn)
	return func() bool { return socket != nil && netio.Repeats(socket) >= repeatsOfSpare }
}

// bottom gives the connection below TLS that the proxy has begun.
func bottom(conn net.Conn) net.Conn {
	if c, ok := conn.(*originConn); ok {
		return c.below.Conn
	}
	return conn
}

// socketBelow gives the socket that a connection stands on, nil where there is none.
func socketBelow(conn net.Conn) syscall.RawConn {
	if s, ok := bottom(conn).(interface{ Unbuffered() syscall.RawConn }); ok {
		return s.Unbuffered()
	}
	return nil
}
