package lb

import (
	"fmt"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// Ejection by the share of failures, as Envoy counts it: at the end of each interval, among endpoints that had enough calls in it,
// where there are enough of these. Its defaults, which Istio has no fields for.
const (
	shareCalls     = 50 // failure_percentage_request_volume
	shareEndpoints = 5  // failure_percentage_minimum_hosts
)

// shareCount counts the calls of an interval: failures in the upper half, all in the lower one.
type shareCount struct{ atomic.Uint64 }

func (t *shareCount) add(failed bool) { //nolint:revive // a fact about the call
	const one = 1<<32 + 1
	if failed {
		t.Add(one)
		return
	}
	t.Add(1)
}

// take ends an interval.
func (t *shareCount) take() (failed, all uint64) {
	n := t.Swap(0)
	return n >> 32, n & (1<<32 - 1)
}

// tallied notes what a call was for the share of failures: what the endpoint answered, or what this side found out where that
// counts by its own.
func (w *watch) tallied(rules *model.OutlierDetection, local, failed bool) { //nolint:revive // facts about the call
	if rules.FailurePercent == 0 {
		return
	}
	w.of.sweep(rules, time.Now())
	if local {
		w.ofLocal.add(failed)
		return
	}
	w.ofAll.add(failed)
}

// sweep ends the interval that was, at the first call of a later one: the endpoints are judged as of its end.
func (o *outliers) sweep(rules *model.OutlierDetection, now time.Time) {
	if now.UnixNano() < o.sweepAt.Load() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	end := o.sweepAt.Load()
	if now.UnixNano() < end {
		return
	}
	o.sweepAt.Store(now.Add(rules.Interval - now.Sub(o.origin)%rules.Interval).UnixNano())
	o.judge(rules, time.Unix(0, end), func(w *watch) (failed, all uint64) { return w.ofAll.take() }, "calls")
	o.judge(rules, time.Unix(0, end), func(w *watch) (failed, all uint64) { return w.ofLocal.take() }, "calls by local origin")
}

// judge ejects the endpoints of whose calls too many failed; mu is held.
func (o *outliers) judge(rules *model.OutlierDetection, end time.Time, take func(*watch) (failed, all uint64), what string) {
	type verdict struct {
		of          *watch
		failed, all uint64
	}
	var bad []verdict
	enough := 0
	for _, w := range o.all {
		failed, all := take(w)
		if all < shareCalls || w.ended > end.UnixNano() { // it was ejected then
			continue
		}
		enough++
		if 100*failed >= uint64(rules.FailurePercent)*all {
			bad = append(bad, verdict{w, failed, all})
		}
	}
	if enough < shareEndpoints {
		return
	}
	for _, v := range bad {
		v.of.ejectAt(rules, fmt.Sprintf("%d of %d %s failed in %v", v.failed, v.all, what, rules.Interval), end)
	}
}
