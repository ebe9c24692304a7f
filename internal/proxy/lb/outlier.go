package lb

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// outliers is the passive health check of a group: an endpoint that fails often, or often in a row, is ejected for a while, as
// Envoy's outlier detection does it. No timer runs: when an ejection ends is known when it begins.
type outliers struct {
	rules atomic.Pointer[model.OutlierDetection] // nil where nothing is watched
	// panic is until when ejections do not count, for too many are; in Unix nanoseconds.
	panic atomic.Int64
	// sweepAt is when the interval ends in which failures are counted for their share; in Unix nanoseconds.
	sweepAt atomic.Int64
	// changes are told of ejections; nil until a picker asks for it.
	changes atomic.Pointer[Changes]

	mu     sync.Mutex
	origin time.Time // of the intervals
	all    map[netip.AddrPort]*watch
	ready  int    // endpoints that discovery calls healthy
	total  uint64 // ejections so far
}

// watch is what is known of the failures of one endpoint in one group.
type watch struct {
	of *outliers

	errors, gateway, local atomic.Uint32 // in a row
	until                  atomic.Int64  // end of the ejection in Unix nanoseconds, 0 for none
	probe                  atomic.Int64  // of failure accrual: until when a call is finding out how the endpoint is
	ofAll, ofLocal         shareCount    // of the interval, where the share of failures counts

	// Guarded by the group's mu.
	ejections uint32 // by which an ejection grows; intervals without one take it back
	ended     int64  // of the last ejection, as until
	why       string
}

// maxEjection bounds how far ejections grow, unless the base is longer; it is Envoy's.
const maxEjection = 300 * time.Second

// SetOutlierDetection puts rules in force, nil for none. What is ejected stays so for as long as it was to.
func (g *Group) SetOutlierDetection(rules *model.OutlierDetection) {
	o := &g.outliers
	o.mu.Lock()
	defer o.mu.Unlock()
	if rules == nil {
		o.all = nil
	} else {
		own := *rules
		own.Interval = cmp.Or(max(own.Interval, 0), 10*time.Second)
		own.BaseEjectionTime = cmp.Or(max(own.BaseEjectionTime, 0), 30*time.Second)
		before := o.rules.Load()
		if rules = &own; before == nil {
			o.origin = time.Now()
		}
		if before == nil || before.Interval != rules.Interval {
			o.sweepAt.Store(time.Now().Add(rules.Interval - time.Since(o.origin)%rules.Interval).UnixNano())
		}
	}
	o.rules.Store(rules)
	o.recount(time.Now())
}

// watched gives the endpoints as the group watches them, and forgets those that are not among them.
func watched[A any](g *Group, all []*Endpoint[A]) []*Endpoint[A] {
	if g == nil || g.outliers.rules.Load() == nil {
		return all
	}
	o := &g.outliers
	o.mu.Lock()
	defer o.mu.Unlock()
	before := o.all
	o.all, o.ready = make(map[netip.AddrPort]*watch, len(all)), 0
	out := make([]*Endpoint[A], len(all))
	for i, e := range all {
		w := before[e.Plan.Addr]
		if w == nil {
			w = &watch{of: o}
		}
		o.all[e.Plan.Addr] = w
		if e.Plan.Health == plan.Healthy {
			o.ready++
		}
		own := *e
		own.watch = w
		out[i] = &own
	}
	o.recount(time.Now())
	return out
}

// Ejections are how many there have been of the group's endpoints, and how many endpoints are ejected now; ok is false
// where nothing asks for outlier detection.
func (g *Group) Ejections(now time.Time) (total uint64, active int, ok bool) {
	o := &g.outliers
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.total, o.ejected(now), o.rules.Load() != nil
}

// blocked reports whether the endpoint is ejected, and ejections count. now is only asked for where it matters.
func (w *watch) blocked(now func() time.Time) bool {
	return w.ejectedUntil(now) != 0 && now().UnixNano() >= w.of.panic.Load() || w.onProbation()
}

// ejectedUntil gives the end of the endpoint's ejection in Unix nanoseconds, 0 for none.
func (w *watch) ejectedUntil(now func() time.Time) int64 {
	if w == nil {
		return 0
	}
	until := w.until.Load()
	if until == 0 || now().UnixNano() < until {
		return until
	}
	if w.of.accrues() {
		return 0 // onProbation has it
	}
	if w.until.CompareAndSwap(until, 0) {
		w.errors.Store(0)
		w.gateway.Store(0)
		w.local.Store(0)
	}
	return 0
}

// note counts what became of a call.
func (w *watch) note(o Outcome) {
	if w == nil {
		return
	}
	rules := w.of.rules.Load()
	if rules == nil {
		return
	}
	if rules.Accrual != nil {
		w.accrue(rules, o)
		return
	}
	w.blocked(time.Now) // an ejection that is over is over before anything counts
	switch o.Kind {
	case Unknown, Carried:
	case Answered, Cut:
		if !o.heard {
			w.answer(rules, o.Status)
		}
		if o.Kind == Cut {
			w.failure(rules, 503)
		}
	case Refused, Reset:
		w.failure(rules, 503)
	case TimedOut:
		w.failure(rules, 504)
	}
}

// accepted is the news of a connection that was made.
func (w *watch) accepted() {
	if w == nil {
		return
	}
	w.local.Store(0)
	if rules := w.of.rules.Load(); rules != nil && rules.SplitLocal {
		w.tallied(rules, true, false)
	}
}

// failure is one that this side has found out.
func (w *watch) failure(rules *model.OutlierDetection, status int) {
	if !rules.SplitLocal {
		w.tallied(rules, false, true)
		w.count(rules, status)
		return
	}
	w.tallied(rules, true, true)
	if n := w.local.Add(1); n == rules.ConsecutiveLocal {
		w.eject(rules, fmt.Sprintf("%d local origin failures in a row", n))
		w.local.Store(0)
	}
}

// answer is one by the endpoint.
func (w *watch) answer(rules *model.OutlierDetection, status int) {
	if isError := status >= 500; len(rules.Codes) == 0 && isError || len(rules.Codes) > 0 && slices.Contains(rules.Codes, status) {
		w.tallied(rules, false, true)
		w.count(rules, status)
		return
	}
	w.tallied(rules, false, false)
	w.errors.Store(0)
	w.gateway.Store(0)
}

func (w *watch) count(rules *model.OutlierDetection, status int) {
	if status >= 502 && status <= 504 {
		if n := w.gateway.Add(1); n == rules.ConsecutiveGateway {
			w.eject(rules, fmt.Sprintf("%d gateway errors in a row", n))
			w.gateway.Store(0)
		}
	} else {
		w.gateway.Store(0)
	}
	if n := w.errors.Add(1); n == rules.Consecutive5xx {
		w.eject(rules, fmt.Sprintf("%d errors in a row", n))
		w.errors.Store(0)
	}
}

// eject ejects the endpoint, unless it is already or as many are as may be.
func (w *watch) eject(rules *model.OutlierDetection, why string) {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	w.ejectAt(rules, why, time.Now())
}

// ejectAt is eject as of a time that may be past; mu is held.
func (w *watch) ejectAt(rules *model.OutlierDetection, why string, now time.Time) {
	o := w.of
	if w.until.Load() > now.UnixNano() || 100*(o.ejected(now)+1) > int(rules.MaxEjectionPercent)*len(o.all) {
		return
	}
	if w.ended != 0 { // each interval without an ejection takes one back
		w.ejections -= min(w.ejections, uint32(min(now.Sub(time.Unix(0, w.ended))/rules.Interval, 1<<20)))
	}
	longest := max(maxEjection, rules.BaseEjectionTime)
	if time.Duration(w.ejections)*rules.BaseEjectionTime < longest+rules.BaseEjectionTime { // as far as Envoy counts
		w.ejections++
	}
	end := now.Add(min(time.Duration(w.ejections)*rules.BaseEjectionTime, longest))
	// An endpoint that is ejected returns with the first interval after that.
	if over := end.Sub(o.origin) % rules.Interval; over > 0 {
		end = end.Add(rules.Interval - over)
	}
	o.total++
	w.ofAll.take() // what an endpoint was ejected for counts once
	w.ofLocal.take()
	w.why = why
	w.ended = end.UnixNano()
	w.until.Store(end.UnixNano())
	o.recount(now)
	o.changes.Load().note()
}

// ejected counts the endpoints that are; mu is held.
func (o *outliers) ejected(now time.Time) (n int) {
	for _, w := range o.all {
		if w.out(now) {
			n++
		}
	}
	return n
}

// out reports whether the endpoint is ejected.
func (w *watch) out(now time.Time) bool {
	until := w.until.Load()
	return until > now.UnixNano() || until != 0 && w.of.accrues()
}

// recount finds until when ejections do not count because too few endpoints would be left; mu is held.
func (o *outliers) recount(now time.Time) {
	rules := o.rules.Load()
	if rules == nil || rules.MinHealthPercent == 0 || len(o.all) == 0 {
		o.panic.Store(0)
		return
	}
	var ends []int64
	for _, w := range o.all {
		if until := w.until.Load(); until > now.UnixNano() {
			ends = append(ends, until)
		}
	}
	slices.Sort(ends)
	end := int64(0)
	for i := range ends { // once i of them are over
		if 100*(o.ready-len(ends)+i) >= int(rules.MinHealthPercent)*o.ready {
			break
		}
		end = ends[i]
	}
	o.panic.Store(end)
}

// Outlier says why and until when outlier detection has ejected the endpoint; ok is false where it has not. A time that is
// past is when a call may find out how it is.
func (h *Host) Outlier(now time.Time) (why string, until time.Time, ok bool) {
	w := h.watch
	if w == nil {
		return "", time.Time{}, false
	}
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	if !w.out(now) {
		return "", time.Time{}, false
	}
	return w.why, time.Unix(0, w.until.Load()), true
}
