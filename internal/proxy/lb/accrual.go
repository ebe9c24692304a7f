package lb

import (
	"fmt"
	"math/rand/v2"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// Failure accrual is Linkerd's kind of outlier detection (linkerd2-proxy, consecutive_failures.rs): after failures in a row an
// endpoint is left alone for a penalty, and then one call finds out how it is. Where that succeeds all is as before, else
// the next penalty is twice as long. There is no bound on how many endpoints are out at a time.
//
// A watch has until = 0 while calls are let through, the end of the penalty from then on, also when it is past: it is one
// call's outcome, and not the time, that ends an ejection.

// probeLapse is how long a probe that nothing is heard of keeps others from probing.
const probeLapse = 10 * time.Second

// accrues reports whether the rules are those of failure accrual.
func (o *outliers) accrues() bool {
	rules := o.rules.Load()
	return rules != nil && rules.Accrual != nil
}

// onProbation reports whether only probes may go to the endpoint, once its penalty is over.
func (w *watch) onProbation() bool { return w != nil && w.until.Load() != 0 && w.of.accrues() }

// due reports whether the penalty of an endpoint is over and no call is finding out how it is.
func (w *watch) due(now func() time.Time) bool {
	if !w.of.accrues() {
		return false
	}
	at := now().UnixNano()
	return at >= w.until.Load() && at >= w.probe.Load()
}

// admit lets a call through for which a probe was due: one of several that come at the same time.
func (w *watch) admit(now func() time.Time) bool {
	if !w.onProbation() {
		return true
	}
	probe := w.probe.Load()
	at := now()
	return at.UnixNano() >= probe && w.probe.CompareAndSwap(probe, at.Add(probeLapse).UnixNano())
}

// accrue counts what became of a call.
func (w *watch) accrue(rules *model.OutlierDetection, o Outcome) {
	failed := false
	switch o.Kind {
	case Carried:
		return
	case Unknown:
		w.probe.Store(0) // another one may find out
		return
	case Answered:
		if o.heard {
			return
		}
		failed = o.Status >= 500
	case Cut, Refused, Reset, TimedOut:
		failed = true
	}
	switch until := w.until.Load(); {
	case until != 0 && time.Now().UnixNano() < until: // an answer to a call of before the penalty
	case until != 0 && failed:
		w.penalize(rules, until)
	case until != 0:
		w.reopen(until)
	case !failed:
		w.errors.Store(0)
	case w.errors.Add(1) == rules.Consecutive5xx:
		w.penalize(rules, until)
	}
}

// reopen lets calls through again, unless another outcome has ended the penalty until then.
func (w *watch) reopen(until int64) {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	if w.until.Load() == until {
		w.ejections = 0
		w.errors.Store(0)
		w.until.Store(0)
		w.probe.Store(0)
		w.of.changes.Load().note()
	}
}

// penalize has the endpoint left alone, unless another outcome has ended the penalty until then; 0 is none.
func (w *watch) penalize(rules *model.OutlierDetection, until int64) {
	o := w.of
	o.mu.Lock()
	defer o.mu.Unlock()
	if w.until.Load() != until {
		return
	}
	penalty := penaltyOf(rules.Accrual, w.ejections, rand.Float64()) //nolint:gosec // spreading probes needs no secrecy
	if w.ejections == 0 {
		w.why = fmt.Sprintf("%d failures in a row", rules.Consecutive5xx)
	}
	w.ejections++
	o.total++
	w.probe.Store(0)
	w.until.Store(time.Now().Add(penalty).UnixNano())
	o.changes.Load().note()
}

// penaltyOf gives how long an endpoint is left alone that has been so many times in a row; random is from 0 to below 1.
func penaltyOf(a *model.FailureAccrual, before uint32, random float64) time.Duration {
	base := a.MaxPenalty
	if grown := a.MinPenalty << min(before, 40); grown>>min(before, 40) == a.MinPenalty {
		base = min(base, grown)
	}
	return min(base+time.Duration(float64(base)*a.Jitter*random), a.MaxPenalty)
}
