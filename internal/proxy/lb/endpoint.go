package lb

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Endpoint is a host and what its owner, of type A, attaches to it.
type Endpoint[A any] struct {
	Host
	// Attachment is fixed once the endpoint is published.
	Attachment A
}

// Host is one address and what this proxy has seen of it.
type Host struct {
	*seen        // first, so that a pick needs one line of the cache
	watch *watch // of the group's outlier detection, nil where there is none
	// together counts what is in flight to the group, nil where nothing asks for it.
	together *atomic.Int64

	// Plan is what discovery says; fixed.
	Plan plan.Endpoint
}

// seen is what outlives an update of the endpoint.
type seen struct {
	active  atomic.Int64
	ejected atomic.Int64 // until when, in Unix nanoseconds; 0 = not ejected
	latency latency
	// trial is until when a call is given after the ejection to find out how the endpoint is; refusals counts those in a
	// row. Both matter only where ejected is set.
	trial    atomic.Int64
	ready    atomic.Int64 // since when discovery calls it healthy, Unix ns
	refusals atomic.Int32
	silent   atomic.Bool // it owes an answer, and says nothing
	load     reportedLoad
	// changes are told where what is above begins or ends to keep calls away; nil until a picker asks for it.
	changes atomic.Pointer[Changes]
}

// NewEndpoint returns an endpoint that nothing is known of yet.
func NewEndpoint[A any](p plan.Endpoint, attachment A) *Endpoint[A] {
	e := &Endpoint[A]{Host: Host{Plan: p, seen: &seen{}}, Attachment: attachment}
	now := time.Now()
	e.latency.begin(now)
	e.becameReady(now)
	return e
}

// With is the same endpoint after discovery said something new about it: what was seen stays.
func (e *Endpoint[A]) With(p plan.Endpoint) *Endpoint[A] {
	if p.Health == plan.Healthy && e.Plan.Health != plan.Healthy {
		e.becameReady(time.Now())
	}
	return &Endpoint[A]{Host: Host{Plan: p, seen: e.seen}, Attachment: e.Attachment}
}

// Attach is the same endpoint with something else attached.
func (e *Endpoint[A]) Attach(attachment A) *Endpoint[A] {
	return &Endpoint[A]{Host: e.Host, Attachment: attachment}
}

// Among reports whether the host is at one of several addresses. Of one backend, an address is the same endpoint, also
// where discovery said something new about it meanwhile.
func (h *Host) Among(addrs []netip.AddrPort) bool {
	return len(addrs) > 0 && slices.Contains(addrs, h.Plan.Addr)
}

// String is for logs and tests.
func (h *Host) String() string {
	return fmt.Sprintf("%s %s weight=%d active=%d", model.AppendAddr(nil, h.Plan.Addr), h.Plan.Health, h.Plan.Weight, h.Active())
}

// Begin counts a call in; End counts it out.
func (h *Host) Begin() {
	h.active.Add(1)
	if h.together != nil {
		h.together.Add(1)
	}
}

// Active is the number of calls in flight.
func (h *Host) Active() int64 { return h.active.Load() }

// An endpoint that refused a connection, or did not answer to one, is left alone while others exist: at first long enough
// for discovery to catch up with a dead pod and too short to hurt one that restarts, and twice as long each time it fails
// again, for a pod that is there and cannot be reached may stay so for long.
const (
	firstPause = 2 * time.Second
	maxPause   = 30 * time.Second
)

// TrialTimeout bounds the connection that is tried after a pause; others avoid the endpoint for as long.
const TrialTimeout = time.Second

// refused notes that a connection to the endpoint could not be made. Those that fail while it is left alone already were
// begun before, and say nothing new.
func (h *Host) refused(now time.Time) {
	until := h.ejected.Load()
	if until != 0 && now.UnixNano() < until {
		return
	}
	pause := min(firstPause<<min(h.refusals.Load(), 8), maxPause)
	if h.ejected.CompareAndSwap(until, now.Add(pause).UnixNano()) {
		h.refusals.Add(1)
		h.trial.Store(0)
		h.changes.Load().note()
	}
}

// Accepted notes that a connection was made: all is well again. It does not wait for the call's end, which may be far.
func (h *Host) Accepted() {
	h.watch.accepted()
	if h.ejected.Load() != 0 {
		h.refusals.Store(0)
		h.trial.Store(0)
		h.ejected.Store(0)
		h.changes.Load().note()
	}
}

// Ejected reports whether the endpoint is being left alone, or being tried. now is only asked for where the answer is not
// plain already.
func (h *Host) Ejected(now func() time.Time) bool {
	until := h.ejected.Load()
	if until == 0 {
		return false
	}
	at := now().UnixNano()
	return at < until || at < h.trial.Load()
}

// OnTrial reports whether the pause of the endpoint is over and a call is finding out how it is.
func (h *Host) OnTrial(now func() time.Time) bool {
	trial := h.trial.Load()
	return trial != 0 && now().UnixNano() < trial
}

// ejections says what outlier detection's ejections mean to a pick.
type ejections uint8

const (
	// groupDecides has them count unless the whole group is in panic.
	groupDecides ejections = iota
	// counting has them count.
	counting
	// ignored has ejected endpoints called like others.
	ignored
)

// blocked reports whether outlier detection keeps a call away.
func (h *Host) blocked(e ejections) bool {
	switch e {
	case groupDecides:
		return h.watch.blocked(time.Now)
	case counting:
		return h.watch.ejectedUntil(time.Now) != 0 || h.watch.onProbation()
	case ignored:
	}
	return false
}

// downUntil gives the time, in Unix nanoseconds, until which calls are kept from the endpoint by what was seen of it; 0 where
// none are.
func (h *Host) downUntil(now time.Time) int64 {
	clock := func() time.Time { return now }
	until := h.watch.ejectedUntil(clock)
	if paused := max(h.ejected.Load(), h.trial.Load()); h.Ejected(clock) {
		until = max(until, paused)
	}
	return until
}

// take reports whether a call may go to the endpoint. After a pause one call may, and the others wait for what comes of it: a
// trial that nothing is heard of lapses.
func (h *Host) take(e ejections, now func() time.Time) bool {
	if h.blocked(e) && !h.watch.due(now) {
		return false
	}
	until := h.ejected.Load()
	if until == 0 {
		return h.watch.admit(now)
	}
	at, trial := now(), h.trial.Load()
	if at.UnixNano() < until || at.UnixNano() < trial {
		return false
	}
	if !h.trial.CompareAndSwap(trial, at.Add(TrialTimeout).UnixNano()) {
		return false
	}
	h.changes.Load().note()
	return h.watch.admit(now)
}
