package lb

import (
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/plan"
)

// Endpoint is one address and what this proxy has seen of it.
type Endpoint struct {
	// Plan is what discovery says; fixed.
	Plan plan.Endpoint
	// Attachment is the owner's: connection pools, metric handles. It is fixed once the endpoint is published.
	Attachment any

	*seen
}

// seen is what outlives an update of the endpoint.
type seen struct {
	active  atomic.Int64
	ejected atomic.Int64 // until when, in Unix nanoseconds; 0 = not ejected
	// trial is until when a call is given after the ejection to find out how the endpoint is; refusals counts those in a
	// row. Both matter only where ejected is set.
	trial    atomic.Int64
	refusals atomic.Int32
}

// NewEndpoint returns an endpoint that nothing is known of yet.
func NewEndpoint(p plan.Endpoint, attachment any) *Endpoint {
	return &Endpoint{Plan: p, Attachment: attachment, seen: &seen{}}
}

// With is the same endpoint after discovery said something new about it: what was seen stays.
func (e *Endpoint) With(p plan.Endpoint) *Endpoint {
	return &Endpoint{Plan: p, Attachment: e.Attachment, seen: e.seen}
}

// Attach is the same endpoint with something else attached.
func (e *Endpoint) Attach(attachment any) *Endpoint {
	return &Endpoint{Plan: e.Plan, Attachment: attachment, seen: e.seen}
}

// Among reports whether the endpoint is one of several, also where discovery said something new about it meanwhile: of
// one backend, an address is the same endpoint.
func (e *Endpoint) Among(several []*Endpoint) bool {
	for _, o := range several {
		if o == e || o.Plan.Addr == e.Plan.Addr {
			return true
		}
	}
	return false
}

// Begin counts a request in; End counts it out.
func (e *Endpoint) Begin() { e.active.Add(1) }

// End is the counterpart of Begin.
func (e *Endpoint) End() { e.active.Add(-1) }

// Active is the number of requests in flight.
func (e *Endpoint) Active() int64 { return e.active.Load() }

// An endpoint that refused a connection, or did not answer to one, is left alone while others exist: at first long enough
// for discovery to catch up with a dead pod and too short to hurt one that restarts, and twice as long each time it fails
// again, for a pod that is there and cannot be reached may stay so for long.
const (
	firstPause = 2 * time.Second
	maxPause   = 30 * time.Second
)

// TrialTimeout bounds the connection that is tried after a pause; others avoid the endpoint for as long.
const TrialTimeout = time.Second

// Refused notes that a connection to the endpoint could not be made. Those that fail while it is left alone already were
// begun before, and say nothing new.
func (e *Endpoint) Refused(now time.Time) {
	until := e.ejected.Load()
	if until != 0 && now.UnixNano() < until {
		return
	}
	pause := min(firstPause<<min(e.refusals.Load(), 8), maxPause)
	if e.ejected.CompareAndSwap(until, now.Add(pause).UnixNano()) {
		e.refusals.Add(1)
		e.trial.Store(0)
	}
}

// Accepted notes that a connection was made: all is well again.
func (e *Endpoint) Accepted() {
	if e.ejected.Load() != 0 {
		e.refusals.Store(0)
		e.trial.Store(0)
		e.ejected.Store(0)
	}
}

// Ejected reports whether the endpoint is being left alone, or being tried. now is only asked for where the answer is not
// plain already.
func (e *Endpoint) Ejected(now func() time.Time) bool {
	until := e.ejected.Load()
	if until == 0 {
		return false
	}
	at := now().UnixNano()
	return at < until || at < e.trial.Load()
}

// OnTrial reports whether the pause of the endpoint is over and a call is finding out how it is.
func (e *Endpoint) OnTrial(now func() time.Time) bool {
	trial := e.trial.Load()
	return trial != 0 && now().UnixNano() < trial
}

// take reports whether a call may go to the endpoint. After a pause one call may, and the others wait for what comes of
// it: a trial that nothing is heard of lapses.
func (e *Endpoint) take(now func() time.Time) bool {
	until := e.ejected.Load()
	if until == 0 {
		return true
	}
	at, trial := now(), e.trial.Load()
	if at.UnixNano() < until || at.UnixNano() < trial {
		return false
	}
	return e.trial.CompareAndSwap(trial, at.Add(TrialTimeout).UnixNano())
}
