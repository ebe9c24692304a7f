package controlplane

import "time"

// How long changes are gathered. One endpoint that comes is sent at once, the next ones of a burst together; what
// people write is taken when the writing pauses.
const (
	endpointGap = 15 * time.Millisecond
	configQuiet = 25 * time.Millisecond
	configMost  = 500 * time.Millisecond
)

// lane separates what must be fast from what may wait.
type lane int

const (
	laneEndpoints lane = iota
	laneConfig
	lanes
)

// pacer decides when pending changes are committed. It is a value without a clock.
type pacer struct {
	endpoints endpointPace
	config    quietPace
}

func newPacer() pacer { return pacer{config: quietPace{quiet: configQuiet, most: configMost}} }

// endpointPace lets the first change pass at once, then one batch per endpointGap. Urgent changes never wait.
type endpointPace struct {
	pending, urgent bool
	last            time.Time // of the previous batch
}

func (p *endpointPace) due() (at time.Time, ok bool) {
	switch {
	case !p.pending:
		return time.Time{}, false
	case p.urgent:
		return time.Time{}, true
	}
	return p.last.Add(endpointGap), true
}

// quietPace waits until nothing came for quiet, but no longer than most.
type quietPace struct {
	quiet, most time.Duration
	first, last time.Time // of what is pending, zero where nothing is
}

func (p *quietPace) note(now time.Time) {
	if p.first.IsZero() {
		p.first = now
	}
	p.last = now
}

func (p *quietPace) due() (at time.Time, ok bool) {
	if p.first.IsZero() {
		return time.Time{}, false
	}
	at = p.last.Add(p.quiet)
	if most := p.first.Add(p.most); most.Before(at) {
		at = most
	}
	return at, true
}

// take reports whether the time has come, and begins anew if so.
func (p *quietPace) take(now time.Time) bool {
	at, ok := p.due()
	if !ok || at.After(now) {
		return false
	}
	p.first, p.last = time.Time{}, time.Time{}
	return true
}

// endpoint notes a change of endpoints that can wait for others, urgent one that cannot.
func (p *pacer) endpoint() { p.endpoints.pending = true }
func (p *pacer) urgent()   { p.endpoints.pending, p.endpoints.urgent = true, true }

// take says which lanes are to be committed now, and forgets what was pending in them.
func (p *pacer) take(now time.Time) (due [lanes]bool) {
	if at, ok := p.endpoints.due(); ok && !at.After(now) {
		due[laneEndpoints] = true
		p.endpoints = endpointPace{last: now}
	}
	due[laneConfig] = p.config.take(now)
	return due
}

// earliest gives the first of several times; false where there is none.
func earliest(dues ...func() (time.Time, bool)) (first time.Time, ok bool) {
	for _, due := range dues {
		if at, pending := due(); pending && (!ok || at.Before(first)) {
			first, ok = at, true
		}
	}
	return first, ok
}
