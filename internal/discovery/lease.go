package discovery

import (
	linked "container/list"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// A workload calls addresses and looks up names that are not the mesh's in any number: crawlers, scanners, random
// labels. What leads nowhere is therefore bounded by count, besides its lease.
const (
	// maxMissing bounds the names on lease that lead nowhere, or were not answered yet. The one used longest ago goes for
	// a new one, which costs its next use a question.
	maxMissing = 4096
	// maxLeased bounds the names that stay, with room for those that are kept, below what a server takes from one client.
	// Beyond it nothing new is asked for; it takes as many names that do exist.
	maxLeased = MaxNames - 64
	// maxLeaving bounds those that go, until the handler was asked about them.
	maxLeaving = 2 * MaxNames
)

// leases are the names that are asked for: for how long, and in which order they go where there are too many.
type leases struct {
	names   map[string]*name
	missing linked.List // of *name on lease that lead nowhere, the one used last at the back
	leaving int         // how many the handler is asked about
	lapsed  []*name     // those that the handler must still be asked about
	created uint64      // counts names
}

// lease says how long a name stays subscribed. The zero value has none to lose.
type lease struct {
	kept    bool            // for good
	used    time.Time       // when it began
	missing *linked.Element // in leases.missing, where the name leads nowhere
	leaving bool            // the lease has ended, and the handler is asked whether the name is in use
}

var (
	// errLapsed tells those who wait for an answer that the name was given up.
	errLapsed = errors.New("the name was given up before the control plane answered")
	// errCrowded is why a name is not asked for.
	errCrowded = fmt.Errorf("%d names are subscribed already", maxLeased)
)

// Subscribe asks for a name, canonical or alias, and keeps it for good.
func (c *Client) Subscribe(n string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.known(n)
	if st == nil {
		st = c.ask(n)
	}
	st.kept = true
	c.unlist(st)
}

// Use asks for a name, canonical or alias, or renews its lease: ClientOptions.Lease after the last use the handler is
// asked whether the name is in use (see Update.Expired), and if not it is unsubscribed. Leases run while the control
// plane is in reach: nothing expires that could not be asked for again.
func (c *Client) Use(n string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.use(n)
}

// use is Use with mu held. A name that is not asked for has its answer, or the reason why there is none.
func (c *Client) use(n string) *name {
	if st := c.known(n); st != nil {
		return st
	}
	switch {
	case !validName(n): // no server would take it
		st := newName(n)
		st.answer("")
		return st
	case c.crowd():
		if !c.crowded {
			c.crowded = true
			c.o.Logger.Warn("too many names in use, no new ones are asked for", slog.Int("names", len(c.names)), slog.String("first", n))
		}
		st := newName(n)
		st.refuse(errCrowded)
		return st
	}
	st := c.ask(n)
	c.list(st)
	if c.missing.Len() > maxMissing {
		c.lapse(c.missing.Front())
		poke(c.nudged)
	}
	return st
}

// crowd reports whether there are too many names for another one. mu is held.
func (l *leases) crowd() bool { return len(l.names)-l.leaving >= maxLeased || l.leaving >= maxLeaving }

// leave and stay say whether the handler is asked about a name. mu is held.
func (l *leases) leave(st *name) {
	if !st.leaving {
		st.leaving = true
		l.leaving++
	}
}

func (l *leases) stay(st *name) {
	if st.leaving {
		st.leaving = false
		l.leaving--
	}
}

// known gives a name that is subscribed, its lease renewed, or nil. One that is leaving may be forgotten already by the
// handler: it is asked for anew.
func (l *leases) known(n string) *name {
	st, ok := l.names[n]
	if !ok || st.leaving {
		return nil
	}
	st.used = time.Now()
	if st.missing != nil {
		l.missing.MoveToBack(st.missing)
	}
	return st
}

// ask begins a subscription. mu is held.
func (c *Client) ask(n string) *name {
	st := c.add(n)
	if _, ok := c.resources[n]; ok { // canonical, and here for another reason
		st.answer(n)
	}
	c.announce(n)
	return st
}

// add notes a subscription, in place of one that is leaving.
func (l *leases) add(n string) *name {
	st := newName(n)
	l.created++
	st.id = l.created
	if old, ok := l.names[n]; ok {
		l.unlist(old)
	}
	l.names[n] = st
	return st
}

// list and unlist say whether a name leads nowhere. mu is held.
func (l *leases) list(st *name) {
	if !st.kept && !st.leaving && st.missing == nil && st.canonical == "" {
		st.missing = l.missing.PushBack(st)
	}
}

func (l *leases) unlist(st *name) {
	if st.missing != nil {
		l.missing.Remove(st.missing)
		st.missing = nil
	}
}

// lapse ends the lease of a name that leads nowhere. mu is held.
func (l *leases) lapse(e *linked.Element) {
	if st, ok := e.Value.(*name); ok {
		l.unlist(st)
		l.leave(st)
		l.lapsed = append(l.lapsed, st)
	}
}

// expire lets go of the names whose lease has run out and that are not in use, and says how long to wait before it is
// called again.
func (c *Client) expire() time.Duration {
	now := time.Now()
	c.mu.Lock()
	leaving, wait := c.displaced(), c.o.Lease
	if c.connected {
		var ended []*name
		ended, wait = c.ended(now, c.o.Lease)
		leaving = append(leaving, ended...)
	}
	c.mu.Unlock()
	if len(leaving) == 0 {
		return wait
	}
	updates := make([]Update, len(leaving))
	for i, st := range leaving {
		updates[i] = Update{Name: st.name, Expired: true}
	}
	inUse := make(map[string]bool)
	for _, r := range c.handler.Apply(updates) {
		inUse[r.Name] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range leaving {
		again := c.names[st.name] != st // it was asked for meanwhile
		c.stay(st)
		switch {
		case again:
			st.refuse(errLapsed)
		case inUse[st.name]:
			st.used = now
			c.list(st)
		default:
			st.refuse(errLapsed)
			c.unlist(st)
			delete(c.names, st.name)
			c.announce(st.name)
		}
	}
	c.crowded = c.crowded && c.crowd()
	poke(c.changed)
	return wait
}

// displaced gives the names that went for others, once.
func (l *leases) displaced() (leaving []*name) {
	for _, st := range l.lapsed {
		if st.leaving { // no answer came meanwhile
			leaving = append(leaving, st)
		}
	}
	l.lapsed = nil
	return leaving
}

// ended gives the names whose lease has run out, and the time until the next one's does.
func (l *leases) ended(now time.Time, lease time.Duration) (leaving []*name, wait time.Duration) {
	wait = lease
	for _, st := range l.names {
		if st.kept || st.leaving {
			continue
		}
		if left := lease - now.Sub(st.used); left > 0 {
			wait = min(wait, left)
			continue
		}
		l.leave(st)
		leaving = append(leaving, st)
	}
	return leaving, max(wait, lease/leaseGrain)
}

// leaseGrain bounds how often all names are looked at within a lease.
const leaseGrain = 32

// renew begins all leases anew, because the control plane is back. mu is held.
func (l *leases) renew() {
	now := time.Now()
	for _, st := range l.names {
		st.used = now
	}
}
