package history

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/traffic"
)

// Step is how often sidecars report, and the finest that the store tells apart.
const Step = 10 * time.Second

const (
	stepsPerMinute = int64(time.Minute / Step)
	// hour is how many steps are kept, leastFine how many of them as they are however much memory that takes, and coarsen how many
	// more become minutes at a time where it takes too much.
	hour      = int64(Kept / Step)
	leastFine = int64(10 * time.Minute / Step)
	coarsen   = int64(5 * time.Minute / Step)
	// liveSteps is how long an open connection is believed to be open after the last report of it.
	liveSteps = 3
)

// Kept is how long the store remembers.
const Kept = time.Hour

const (
	// DefaultMaxEdges bounds the edges of a store.
	DefaultMaxEdges = 30_000
	// DefaultMaxBytes bounds the memory: 20,000 edges that are always busy take less for an hour of steps.
	DefaultMaxBytes = 54 << 20
)

// Options bound a store.
type Options struct {
	// MaxEdges is how many edges are told apart; beyond, they are counted in edges named "other".
	MaxEdges int
	// MaxBytes is about how much memory is taken; beyond, the oldest samples are put together by minutes, but for the last ten.
	MaxBytes int
}

// Defaults are the bounds of a replica of the control plane.
func Defaults() Options { return Options{MaxEdges: DefaultMaxEdges, MaxBytes: DefaultMaxBytes} }

// maxReporterEdges bounds those of one sidecar, which may have called others an hour ago.
const maxReporterEdges = 4 * traffic.MaxEdges

// Store is the last hour of all sidecars that report to a replica of the control plane.
type Store struct {
	now   func() time.Time
	o     Options
	since time.Time

	edges    atomic.Int64 // series of all reporters, but those that stand for several edges
	fineFrom atomic.Int64 // before this step, the beginning of a minute, samples are of minutes
	pages    sync.Pool    // *pages

	mu        sync.Mutex
	reporters map[model.Key]*reporter
	swept     int64
}

// reporter is one sidecar.
type reporter struct {
	mu     sync.Mutex
	series []*series
	// covered is the milliseconds for which the sidecar has counted, by step modulo its length; last is the newest step.
	covered [hour]uint32
	last    int64
	// cut is how many edges of the last report are counted together with others: by the sidecar, or here.
	cut uint64
	// pod is what is known of the reporter, which may have gone since; nil where nobody has said.
	pod *traffic.Pod
}

// key is a traffic.Edge whose texts all edges share.
type key struct {
	direction traffic.Direction
	texts     [traffic.Texts]unique.Handle[string]
}

func keyOf(e *traffic.Edge) key {
	k := key{direction: e.Direction}
	for i, text := range e.Texts() {
		k.texts[i] = unique.Make(*text)
	}
	return k
}

func (k *key) edge() traffic.Edge {
	e := traffic.Edge{Direction: k.direction}
	for i, text := range e.Texts() {
		*text = k.texts[i].Value()
	}
	return e
}

// New gives an empty store.
func New(now func() time.Time, o Options) *Store {
	return &Store{now: now, o: o, since: now(), reporters: map[model.Key]*reporter{}}
}

func stepOf(t time.Time) int64 { return t.Unix() / int64(Step/time.Second) }

// Add takes the report of the pod's sidecar.
func (st *Store) Add(pod model.Key, report *traffic.Report) {
	now := stepOf(st.now())
	r := st.reporter(pod, now)
	p := st.page()
	defer st.pages.Put(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cover(now, report.Milliseconds)
	r.cut = report.Folded
	at := 0
	for i := range report.Rows {
		row := &report.Rows[i]
		if row.Sample.IsZero() {
			continue
		}
		at = st.place(r, &row.Edge, at)
		s := r.series[at]
		at++
		s.add(now, &row.Sample, p)
		s.age(now, st.fineFrom.Load(), p)
	}
}

// Describe notes what is known of a pod that reports, for as long as its reports are kept, unless that was noted before. The store
// asks only then; a pod that is not known, nil, is asked for again the next time.
func (st *Store) Describe(pod model.Key, known func() *traffic.Pod) {
	r := st.reporter(pod, stepOf(st.now()))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pod == nil {
		r.pod = known()
	}
}

// Described are all pods of which it was said what is known of them, those among them that have gone included.
func (st *Store) Described() (list []traffic.Pod) {
	for _, r := range st.all() {
		r.mu.Lock()
		if r.pod != nil {
			list = append(list, *r.pod)
		}
		r.mu.Unlock()
	}
	return list
}

// page gives pages of the pool. Who has them puts them back.
func (st *Store) page() *pages {
	p, _ := st.pages.Get().(*pages)
	if p == nil {
		p = new(pages)
	}
	return p
}

// place gives the index of the series of an edge: one that stands for several where there is no room for it. Likely is where it is
// if the sidecar reports the edges that it has reported before: a report has them in order. r.mu is held.
func (st *Store) place(r *reporter, edge *traffic.Edge, likely int) int {
	k := keyOf(edge)
	if at := r.find(k, likely); at >= 0 {
		return at
	}
	if !edge.IsOther() && (len(r.series) >= maxReporterEdges || !st.reserve()) {
		r.cut++
		other := edge.Other()
		k = keyOf(&other)
		if at := r.find(k, likely); at >= 0 {
			return at
		}
	}
	r.series = append(r.series, &series{key: k})
	return len(r.series) - 1
}

// find looks for a series, from an index on; it is -1 where there is none.
func (r *reporter) find(k key, from int) int {
	for i := range r.series {
		if at := (from + i) % len(r.series); r.series[at].key == k {
			return at
		}
	}
	return -1
}

// reporter gives that of a pod, and looks for what is too old now and then.
func (st *Store) reporter(pod model.Key, now int64) *reporter {
	st.mu.Lock()
	defer st.mu.Unlock()
	if now >= st.swept+stepsPerMinute {
		st.swept = now
		st.sweep(now)
	}
	r := st.reporters[pod]
	if r == nil {
		r = &reporter{last: now}
		st.reporters[model.Key{Namespace: unique.Make(pod.Namespace).Value(), Name: pod.Name}] = r
	}
	return r
}

// reserve takes a place for one more series, or reports that there is none.
func (st *Store) reserve() bool {
	if st.edges.Add(1) <= int64(st.o.MaxEdges) {
		return true
	}
	st.edges.Add(-1)
	return false
}

// sweep forgets what is older than an hour. Where the rest takes too much room, five more minutes of steps become minutes: of each
// edge with its next report, or the next sweep. mu is held.
func (st *Store) sweep(now int64) {
	p := st.page()
	defer st.pages.Put(p)
	if st.sweepReporters(now, p) <= st.o.MaxBytes {
		return
	}
	// A sweep a minute makes room for more than a minute brings.
	from := (max(st.fineFrom.Load(), now-hour, stepOf(st.since)) + coarsen) / stepsPerMinute * stepsPerMinute
	if from <= now-leastFine {
		st.fineFrom.Store(from)
	}
}

// sweepReporters gives how much memory is left in use. mu is held.
func (st *Store) sweepReporters(now int64, p *pages) (used int) {
	for pod, r := range st.reporters {
		r.mu.Lock()
		r.series = slices.DeleteFunc(r.series, func(s *series) bool {
			s.age(now, st.fineFrom.Load(), p)
			used += s.bytes() + seriesBytes
			if edge := s.key.edge(); s.isEmpty() && !edge.IsOther() {
				st.edges.Add(-1)
			}
			return s.isEmpty()
		})
		if len(r.series) == 0 && now-r.last > hour {
			delete(st.reporters, pod)
		}
		r.mu.Unlock()
	}
	return used
}

// cover notes that the sidecar has counted for so long until now.
func (r *reporter) cover(now int64, milliseconds uint64) {
	for step := max(r.last+1, now-hour+1); step <= now; step++ {
		r.covered[step%hour] = 0
	}
	r.last = max(r.last, now)
	at := &r.covered[now%hour]
	*at += uint32(min(milliseconds, uint64(Kept/time.Millisecond)))
}

// seconds is for how long the sidecar has counted from a step on.
func (r *reporter) seconds(from, now int64) float64 {
	total := uint64(0)
	for step := max(from, now-hour+1, 0); step <= min(now, r.last); step++ {
		total += uint64(r.covered[step%hour])
	}
	return float64(total) / 1000
}

// Query says what is asked for.
type Query struct {
	// Window is the time until To, at most an hour.
	Window time.Duration
	// To is when the window ends: now where it is zero.
	To time.Time
	// Each is how long the parts of a series are at least; 0 means as short as there are.
	Each time.Duration
	// Wanted chooses edges by the reporter and the edge; nil means all.
	Wanted func(pod model.Key, edge *traffic.Edge) bool
}

// span gives the steps of a window, and how long each is for which there is a number: a step, or a minute's.
func (st *Store) span(q *Query, now int64) (from, to, each int64) {
	to, each = now, 1
	if !q.To.IsZero() {
		to = min(stepOf(q.To), now)
	}
	steps := min(max(int64((q.Window+Step-1)/Step), 1), hour)
	from = to - steps + 1
	fine := st.fineFrom.Load()
	if from >= fine {
		return from, to, each
	}
	from = from / stepsPerMinute * stepsPerMinute
	if to < fine {
		to = max(to/stepsPerMinute*stepsPerMinute, from+stepsPerMinute) - 1
	}
	return from, to, stepsPerMinute
}

// Sum adds up what was reported in a window. Pods are the caller's to add.
func (st *Store) Sum(q Query) traffic.Answer {
	now := st.now()
	step := stepOf(now)
	from, to, _ := st.span(&q, step)
	p := st.page()
	defer st.pages.Put(p)
	out := traffic.Answer{At: now, Since: st.since, WindowSeconds: q.Window.Seconds(), Flows: []traffic.Flow{}}
	if begin := now.Add(-Kept); out.Since.Before(begin) {
		out.Since = begin
	}
	for pod, r := range st.all() {
		r.mu.Lock()
		seconds := r.seconds(from, to)
		out.Cut += r.cut
		for _, s := range r.series {
			edge := s.key.edge()
			if q.Wanted != nil && !q.Wanted(pod, &edge) {
				continue
			}
			sum := s.sum(from, to, step-liveSteps, p)
			if sum.IsZero() {
				continue
			}
			f := traffic.Flow{Namespace: pod.Namespace, Pod: pod.Name, Direction: edge.Direction.String(), Edge: edge, Seconds: seconds}
			f.Total, f.Latency = traffic.TotalOf(&sum)
			out.Flows = append(out.Flows, f)
		}
		r.mu.Unlock()
	}
	return out
}

// Series tells a window in parts of equal length, the oldest first: of a step each where all of it is kept as it is and the query
// wants no longer ones, and else of a minute or what it wants. A part in which nothing was reported is left out.
func (st *Store) Series(q Query) traffic.Series {
	step := stepOf(st.now())
	from, to, each := st.span(&q, step)
	each = max(each, int64(q.Each/Step))
	p := st.page()
	defer st.pages.Put(p)
	parts := map[int64]*traffic.Sample{}
	for pod, r := range st.all() {
		r.mu.Lock()
		for _, s := range r.series {
			edge := s.key.edge()
			if q.Wanted != nil && !q.Wanted(pod, &edge) {
				continue
			}
			s.visit(from, to, p, func(at int64, one *traffic.Sample) {
				part := at / each
				if parts[part] == nil {
					parts[part] = new(traffic.Sample)
				}
				parts[part].Add(one)
			})
		}
		r.mu.Unlock()
	}
	out := traffic.Series{Seconds: float64(each) * Step.Seconds(), Points: []traffic.Point{}}
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		p := traffic.Point{At: part * each * int64(Step/time.Second)}
		p.Total, p.Latency = traffic.TotalOf(parts[part])
		out.Points = append(out.Points, p)
	}
	return out
}

// all gives the reporters of the moment.
func (st *Store) all() map[model.Key]*reporter {
	st.mu.Lock()
	defer st.mu.Unlock()
	all := make(map[model.Key]*reporter, len(st.reporters))
	maps.Copy(all, st.reporters)
	return all
}
