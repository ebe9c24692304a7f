package xds

import (
	"errors"
	"time"
)

// lease says how long a name stays subscribed. The zero value has none to lose.
type lease struct {
	kept    bool      // for good
	used    time.Time // when it began
	leaving bool      // it has run out, and the handler is asked whether the name is in use
}

// errLapsed tells those who wait for an answer that the name was given up.
var errLapsed = errors.New("the name was given up before the control plane answered")

// Use asks for a name, canonical or alias, or renews its lease: ClientOptions.Lease after the last use the handler is
// asked whether the name is in use (see Update.Expired), and if not it is unsubscribed. Leases run while the control
// plane is in reach: nothing expires that could not be asked for again.
func (c *Client) Use(n string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.use(n)
}

// use is Use with mu held.
func (c *Client) use(n string) *name {
	// A name that is leaving may be forgotten already by the handler: it is asked for anew.
	if st, ok := c.names[n]; ok && !st.leaving {
		st.used = time.Now()
		return st
	}
	st := c.newName(n)
	if _, ok := c.resources[n]; ok { // canonical, and here for another reason
		st.answer(n)
	}
	c.announce(n)
	return st
}

// expire lets go of the names whose lease has run out and that are not in use, and says how long to wait before it is
// called again.
func (c *Client) expire() time.Duration {
	now := time.Now()
	leaving, wait := c.leave(now)
	if len(leaving) == 0 {
		return wait
	}
	updates := make([]Update, len(leaving))
	for i, st := range leaving {
		updates[i] = Update{Name: st.name, Expired: true}
	}
	inUse := make(map[string]bool)
	for _, r := range c.o.Handler.Apply(updates) {
		inUse[r.Name] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range leaving {
		again := c.names[st.name] != st // it was asked for meanwhile
		switch {
		case again:
			st.refuse(errLapsed)
		case inUse[st.name]:
			st.leaving, st.used = false, now
		default:
			st.refuse(errLapsed)
			delete(c.names, st.name)
			c.announce(st.name)
		}
	}
	poke(c.changed)
	return wait
}

// leave gives the names whose lease has run out, and the time until the next one's does.
func (c *Client) leave(now time.Time) (leaving []*name, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait = c.o.Lease
	if !c.connected {
		return nil, wait
	}
	for _, st := range c.names {
		if st.kept || st.leaving {
			continue
		}
		if left := c.o.Lease - now.Sub(st.used); left > 0 {
			wait = min(wait, left)
			continue
		}
		st.leaving = true
		leaving = append(leaving, st)
	}
	return leaving, max(wait, c.o.Lease/leaseGrain)
}

// leaseGrain bounds how often all names are looked at within a lease.
const leaseGrain = 32

// renew begins all leases anew, because the control plane is back. mu is held.
func (c *Client) renew() {
	now := time.Now()
	for _, st := range c.names {
		st.used = now
	}
	poke(c.nudged)
}
