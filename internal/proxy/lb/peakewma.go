package lb

import (
	"math"
	"sync/atomic"
	"time"
)

// Of Linkerd's balancer: how long it takes for 63 % of what is known of a latency to be forgotten, what is assumed before
// the first answer, and what a failure counts as.
const (
	latencyDecay   = 10 * time.Second
	firstLatency   = 30 * time.Millisecond
	failurePenalty = 5 * time.Second
	// leastLatency is below what is measured: an endpoint that was not called for minutes costs as much as another one.
	leastLatency = time.Microsecond
)

// peakEWMA is the power of two choices by what a call costs: the latency, as a moving average that is quick to rise and
// slow to fall, for each call in flight (Finagle's and Linkerd's "peak EWMA"). An endpoint that becomes slow loses its calls
// with the first one that is answered late, and is tried again as its average falls. Unlike Linkerd's, the average does not
// fall while calls are in flight that nothing is heard of: one that hangs would look faster and faster.
type peakEWMA struct {
	random
	costs []cost
	// clear is by how much the second of two must cost less to be taken. What differs less is alike: which of them was
	// called a little earlier, and has forgotten a little more, must not decide, least of all where weights do.
	clear float64
}

// cost is what is compared of a candidate.
type cost struct {
	*seen
	perCall float64 // what one call in flight counts as: less where the candidate weighs more
}

func newPeakEWMA(candidates []*Host) policy {
	p := &peakEWMA{random: drawOf(candidates), costs: make([]cost, len(candidates)), clear: 1.05}
	if p.cumulative != nil {
		p.clear = 1.25
	}
	each, _ := weights(candidates)
	mean := 0.0
	for _, w := range each {
		mean += w / float64(len(each))
	}
	for i, h := range candidates {
		h.latency.enabled.Store(true)
		p.costs[i] = cost{h.seen, mean / max(each[i], 1)}
	}
	return p
}

func (p *peakEWMA) choose(info *Info, try int) int {
	i, j := p.two(info, try)
	now := info.time()
	if p.costs[j].at(now)*p.clear < p.costs[i].at(now) {
		return j
	}
	return i
}

func (c *cost) at(now time.Time) float64 {
	active := c.active.Load()
	if active > 0 {
		return c.latency.last() * (1 + float64(active)*c.perCall)
	}
	return c.latency.at(now)
}

// latency is the average for an endpoint.
type latency struct {
	// state holds the average in seconds, a float32, above when that was, in units of 2^20 ns modulo 2^32. One that is not
	// asked for within 52 days is taken for younger than it is.
	state atomic.Uint64
	// enabled is set once a policy asks for it.
	enabled atomic.Bool
}

const (
	latencyUnit  = 1 << 20 // ns
	unitsOfDecay = float64(latencyDecay) / latencyUnit
)

func packLatency(seconds float64, now uint32) uint64 {
	return uint64(math.Float32bits(float32(seconds)))<<32 | uint64(now)
}

// begin sets what is assumed of an endpoint that was never called.
func (l *latency) begin(now time.Time) {
	l.state.Store(packLatency(firstLatency.Seconds(), latencyTime(now)))
}

func latencyTime(t time.Time) uint32 { return uint32(t.UnixNano() / latencyUnit) }

// fall gives what is left of a state now: what is not confirmed is forgotten.
func fall(state uint64, now uint32) (seconds, kept float64) {
	// e^-x as (e^(x/16))^-16 with a series of three terms: within 1 % for two decays, and a third of the time of math.Exp.
	y := max(float64(int32(now-uint32(state))), 0) / (16 * unitsOfDecay)
	kept = 1 + y + y*y/2
	kept *= kept
	kept *= kept
	kept *= kept
	kept = 1 / (kept * kept)
	return float64(math.Float32frombits(uint32(state>>32))) * kept, kept
}

// last is the average as it was last, in seconds.
func (l *latency) last() float64 {
	return max(float64(math.Float32frombits(uint32(l.state.Load()>>32))), leastLatency.Seconds())
}

// at is the average now, in seconds.
func (l *latency) at(now time.Time) float64 {
	seconds, _ := fall(l.state.Load(), latencyTime(now))
	return max(seconds, leastLatency.Seconds())
}

// observe counts a latency. One above the average replaces it, others bring it down by as much as time has passed.
func (l *latency) observe(d time.Duration) { l.update(d.Seconds(), false) }

// atLeast counts a latency of which no more is known than that it is not less.
func (l *latency) atLeast(d time.Duration) { l.update(d.Seconds(), true) }

func (l *latency) update(seconds float64, onlyPeak bool) {
	now := latencyTime(time.Now())
	for {
		before := l.state.Load()
		average, kept := fall(before, now)
		switch {
		case seconds >= average:
			average = seconds
		case onlyPeak:
			return
		default:
			average += seconds * (1 - kept)
		}
		if l.state.CompareAndSwap(before, packLatency(average, now)) {
			return
		}
	}
}

// note counts what became of a call. A failure costs what a slow answer does, however quick it was: an endpoint that
// refuses everything at once must not look fast.
func (l *latency) note(o Outcome) {
	if !l.enabled.Load() {
		return
	}
	switch o.Kind {
	case Unknown:
		l.atLeast(o.Latency) // the client did not wait any longer
	case Refused, Reset, TimedOut, Cut:
		l.observe(max(o.Latency, failurePenalty))
	case Answered:
		switch {
		case o.heard:
		case o.Status >= 500 || o.Status == 429:
			l.observe(max(o.Latency, failurePenalty))
		default:
			l.observe(o.Latency)
		}
	case Carried:
	}
}

// Latency is what calls of the endpoint take, as PEAK_EWMA goes by it; ok is false where nothing asks for it.
func (h *Host) Latency(now time.Time) (_ time.Duration, ok bool) {
	return time.Duration(h.latency.at(now) * float64(time.Second)), h.latency.enabled.Load()
}
