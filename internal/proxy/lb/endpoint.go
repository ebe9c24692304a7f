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

// refusedFor is how long an endpoint that refused a connection is left alone while others exist: long enough for
// discovery to catch up with a dead pod, too short to hurt one that restarts.
const refusedFor = 2 * time.Second

// Refused notes that a connection to the endpoint could not be made.
func (e *Endpoint) Refused(now time.Time) { e.ejected.Store(now.Add(refusedFor).UnixNano()) }

// Accepted ends an ejection early.
func (e *Endpoint) Accepted() {
	if e.ejected.Load() != 0 {
		e.ejected.Store(0)
	}
}

// Ejected reports whether the endpoint is being left alone. now is only asked for where the answer is not
// plain already.
func (e *Endpoint) Ejected(now func() time.Time) bool {
	until := e.ejected.Load()
	return until != 0 && now().UnixNano() < until
}
