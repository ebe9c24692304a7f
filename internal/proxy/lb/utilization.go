package lb

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// utilization gives the candidates turns by the load that they report: as Envoy's client-side weighted round robin, one
// weighs the requests that it answers in a second by the part of its power that it takes for that.
//
// Turns are those of gRPC's static stride scheduler: all in turn, and one that weighs half as much as the heaviest is passed
// over every other time. Weights are found anew by the pick that finds it due, in place: nothing is rebuilt.
type utilization struct {
	anywhere
	rule    model.BackendUtilization
	hosts   []*seen
	weights []atomic.Uint32 // of full; 0 until they are found for the first time, which counts as full
	next    atomic.Uint64
	due     atomic.Int64 // when weights are to be found anew, Unix ns

	mu      sync.Mutex
	scratch []float64 // guarded by mu
}

// full is the weight of a turn in every round.
const full = math.MaxUint16

// spread bounds weights, as a multiple of their median and as a part of it: turns that are passed over take time.
const spread = 10

func utilizationOf(rule *model.BackendUtilization) func([]*Host) policy {
	return func(candidates []*Host) policy {
		u := &utilization{anywhere: anywhere(len(candidates)), weights: make([]atomic.Uint32, len(candidates))}
		if rule != nil {
			u.rule = *rule
		}
		u.rule.Update = cmp.Or(max(u.rule.Update, 0), time.Second) // never for each pick: it looks at all
		for i, h := range candidates {
			u.hosts = append(u.hosts, h.seen)
			u.weights[i].Store(full)
		}
		u.next.Store(rand.Uint64N(1 << 32)) //nolint:gosec // spreading load needs no secrecy
		return u
	}
}

func (u *utilization) choose(info *Info, _ int) (i int) {
	if now, due := info.time(), u.due.Load(); now.UnixNano() >= due &&
		u.due.CompareAndSwap(due, now.Add(u.rule.Update).UnixNano()) {
		u.weigh(now)
	}
	n := uint64(u.anywhere)
	for range drawsOf {
		k := u.next.Add(1)
		i = int(k % n)
		w := uint64(u.weights[i].Load())
		// Of full rounds, w are taken, evenly; where they begin differs by candidate.
		if (w*(k/n)+uint64(i)*(full/2+1))%full >= full-w {
			break
		}
	}
	return i
}

// weigh finds the weights. Who reports nothing, reports no more, or has just begun to, weighs what the median of the others
// does.
func (u *utilization) weigh(now time.Time) {
	if !u.mu.TryLock() {
		return // another one is at it
	}
	defer u.mu.Unlock()
	if u.scratch == nil {
		u.scratch = make([]float64, 2*len(u.hosts))
	}
	each, known := u.scratch[:len(u.hosts)], u.scratch[len(u.hosts):len(u.hosts)]
	for i, h := range u.hosts {
		each[i] = h.load.weight(&u.rule, now)
		if each[i] > 0 {
			known = append(known, each[i])
		}
	}
	median, largest := medianOf(known), 0.0
	for i := range each {
		if each[i] == 0 {
			each[i] = median
		}
		each[i] = min(max(each[i], median/spread), median*spread)
		largest = max(largest, each[i])
	}
	for i := range each {
		u.weights[i].Store(uint32(max(math.Round(full*each[i]/largest), 1)))
	}
}

// medianOf sorts, and gives 1 for nothing.
func medianOf(all []float64) float64 {
	slices.Sort(all)
	switch n := len(all); {
	case n == 0:
		return 1
	case n%2 == 0:
		return (all[n/2-1] + all[n/2]) / 2
	default:
		return all[n/2]
	}
}

// reportedLoad is what an endpoint has reported of its load.
type reportedLoad struct {
	value       atomic.Uint64 // the weight, a float64; 0 for none
	since, last atomic.Int64  // of the reports in force, Unix ns
}

// weight is what the reports say the endpoint weighs, 0 where they do not count.
func (l *reportedLoad) weight(rule *model.BackendUtilization, now time.Time) float64 {
	at := now.UnixNano()
	if l.value.Load() == 0 || at-l.since.Load() < int64(rule.Stabilization) {
		return 0
	}
	if at-l.last.Load() > int64(rule.Expiration) {
		l.value.Store(0) // whatever comes now has to prove itself again
		return 0
	}
	return math.Float64frombits(l.value.Load())
}

// Load is a report of an endpoint's load.
type Load struct {
	// Utilization is the part of its power that it takes, RPS the requests that it answers and EPS the errors that it makes
	// in a second.
	Utilization, RPS, EPS float64
}

// Report counts what an endpoint says of its load. Envoy's formula; what gives no weight above 0 is passed over.
func (h *Host) Report(rule *model.BackendUtilization, r Load) {
	weight := r.RPS / (r.Utilization + rule.ErrorPenalty*r.EPS/r.RPS)
	if r.RPS <= 0 || weight <= 0 || math.IsInf(weight, 0) || math.IsNaN(weight) {
		return
	}
	now := time.Now().UnixNano()
	if h.load.value.Swap(math.Float64bits(weight)) == 0 {
		h.load.since.Store(now)
	}
	h.load.last.Store(now)
}

// Reported is the weight that the endpoint's reports give it, 0 where they do not count.
func (h *Host) Reported(rule *model.BackendUtilization, now time.Time) float64 {
	if rule == nil {
		return 0
	}
	return h.load.weight(rule, now)
}
