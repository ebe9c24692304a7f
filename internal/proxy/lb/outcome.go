package lb

import (
	"fmt"
	"time"
)

// Outcome is what became of a call to an endpoint, as far as it tells how the endpoint is.
type Outcome struct {
	Kind OutcomeKind
	// Status is that of the answer, in HTTP's terms; 0 where there was none, or the call was opaque.
	Status int
	// Latency is the time from the call's begin until the head of the answer, or until the call failed.
	Latency time.Duration
	// Bytes is what was received from the endpoint.
	Bytes int64

	heard bool // the answer counts already
}

// OutcomeKind tells outcomes apart.
type OutcomeKind uint8

const (
	// Unknown says nothing of the endpoint: the client went away first, or discovery took the endpoint.
	Unknown OutcomeKind = iota
	// Refused means that no connection could be made, to the endpoint or by its sidecar to the app.
	Refused
	// Reset means that the connection broke before an answer.
	Reset
	// TimedOut means that no answer came in time.
	TimedOut
	// Answered means that an answer came, with Status.
	Answered
	// Cut means that the connection broke in the middle of the answer.
	Cut
	// Carried means that an opaque connection came to its end.
	Carried
)

// String names the kind.
func (k OutcomeKind) String() string {
	switch k {
	case Unknown:
		return "unknown"
	case Refused:
		return "refused"
	case Reset:
		return "reset"
	case TimedOut:
		return "timed out"
	case Answered:
		return "answered"
	case Cut:
		return "cut"
	case Carried:
		return "carried"
	}
	return fmt.Sprintf("outcome %d", k)
}

// End is the counterpart of Begin: the call has ended, and o says how.
func (h *Host) End(o Outcome) {
	h.active.Add(-1)
	if h.together != nil {
		h.together.Add(-1)
	}
	h.watch.note(o)
	h.latency.note(o)
	if o.Kind == Refused {
		h.refused(time.Now())
	}
}

// Answering is the news that the head of an answer came, with o.Status: it counts at once, for the rest may be long in
// coming, and not again at the end.
func (h *Host) Answering(o *Outcome) {
	h.watch.note(*o)
	h.latency.note(*o)
	o.heard = true
}

// Carrying is the news that an opaque connection was made: of those, that is all that counts as success.
func (h *Host) Carrying() {
	h.Accepted()
	h.watch.note(Outcome{Kind: Answered, Status: 200})
}
