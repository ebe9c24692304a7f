package grpcstream

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// PlacesOptions configure NewPlaces. All are required.
type PlacesOptions struct {
	// Room is how many calls have a place at once, Line how many more may wait for one.
	Room, Line int
	// Stay is how long a call keeps its place at most: beyond it is another one's turn, whether the call is done or not.
	Stay time.Duration
	// Wait is how long a call waits for a place.
	Wait time.Duration
}

// Places are what calls need while their beginning makes much work, as when a thousand clients come at once because a replica has
// ended: of so many some are served at a time, in the order in which they came, so that those are done soon which a thousand at once
// would all keep from being done. They are safe for concurrent use.
type Places struct {
	o PlacesOptions // fixed

	mu    sync.Mutex
	taken int      // guarded by mu, as the next
	line  []*Place // first come, first
}

// Place is one call's. It is safe for concurrent use.
type Place struct {
	of   *Places
	come chan struct{} // closed when it is there
	late *time.Timer   // ends its stay; nil while it is waited for, guarded by of.mu

	given bool // back, or up; guarded by of.mu
}

// NewPlaces makes them.
func NewPlaces(o PlacesOptions) *Places { return &Places{o: o} }

// Take waits for a place, which Leave gives back. Without one: ctx has ended, which is its cause, or UNAVAILABLE, at which a client asks
// another replica, or this one later.
func (p *Places) Take(ctx context.Context) (*Place, error) {
	pl := &Place{of: p, come: make(chan struct{})}
	if !p.join(pl) {
		return nil, &StatusError{CodeUnavailable, fmt.Sprintf("%d calls begin and %d wait for that already: come again", p.o.Room, p.o.Line)}
	}
	patience := time.NewTimer(p.o.Wait)
	defer patience.Stop()
	select {
	case <-pl.come:
		return pl, nil
	case <-ctx.Done():
		pl.Leave()
		return nil, context.Cause(ctx)
	case <-patience.C:
		pl.Leave()
		return nil, &StatusError{CodeUnavailable, fmt.Sprintf("waited for %s while %d calls began: come again", p.o.Wait, p.o.Room)}
	}
}

// join puts a call at the end of the line; false where that is full.
func (p *Places) join(pl *Place) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken >= p.o.Room && len(p.line) >= p.o.Line {
		return false
	}
	p.line = append(p.line, pl)
	p.next()
	return true
}

// Leave gives a place back, or up. What was given back before, or has been taken from a call that stayed too long, is so already.
func (pl *Place) Leave() {
	p := pl.of
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case pl.given:
		return
	case pl.late == nil:
		p.line = slices.DeleteFunc(p.line, func(other *Place) bool { return other == pl })
	default:
		pl.late.Stop()
		p.taken--
	}
	pl.given = true
	p.next()
}

// next gives free places to those who wait. mu is held.
func (p *Places) next() {
	for len(p.line) > 0 && p.taken < p.o.Room {
		pl := p.line[0]
		p.line[0] = nil
		if p.line = p.line[1:]; len(p.line) == 0 {
			p.line = nil // what a crowd needed is given back
		}
		p.taken++
		pl.late = time.AfterFunc(p.o.Stay, pl.Leave)
		close(pl.come)
	}
}

// Waiting is how many calls wait for a place.
func (p *Places) Waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.line)
}
