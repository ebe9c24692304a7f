package telemetry

import (
	"cmp"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// maxRoutes bounds the pairs of a backend and a route that are told apart. They are configuration, and those that were not used for
// as long as an idle series are forgotten.
const maxRoutes = 500

// Routes is the sink that counts what the workload calls by the route that was taken and the backend that it led to. Counting takes no
// lock and allocates nothing once a pair is known.
type Routes struct {
	all atomic.Pointer[map[routeKey]*routeCounts]
	now func() time.Time

	mu    sync.Mutex // serialises changes of all
	swept time.Time
}

// routeKey is a pair by its names: those that proxy-config routes and proxy-config clusters print.
type routeKey struct{ cluster, route string }

type routeCounts struct {
	key             routeKey
	classes         [6]atomic.Uint64 // by the first digit of the status; 0 where there was no answer
	tries, timeouts atomic.Uint64
	duration        histogram
	used            atomic.Int64 // when it was last counted in, Unix ns
}

// NewRoutes gives a sink that has counted nothing.
func NewRoutes() *Routes { return &Routes{now: time.Now} }

// Record implements Sink.
func (s *Routes) Record(r *Record) {
	if r.Reporter != Source || r.HTTP == nil {
		return
	}
	c := s.of(routeKey{cluster: r.Cluster, route: r.Route})
	class := 0
	if r.Code >= 100 && r.Code < 600 {
		class = r.Code / 100
	}
	c.classes[class].Add(1)
	c.tries.Add(uint64(max(r.Tries, 0)))
	if hasFlag(r.Flags, "UT") {
		c.timeouts.Add(1)
	}
	c.duration.observe(float64(r.Duration) / float64(time.Millisecond))
	c.used.Store(s.now().UnixNano())
}

func (s *Routes) known() map[routeKey]*routeCounts {
	if all := s.all.Load(); all != nil {
		return *all
	}
	return nil
}

// of gives what counts for a pair, for all others together where there are too many.
func (s *Routes) of(k routeKey) *routeCounts {
	if c := s.known()[k]; c != nil {
		return c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.now(); now.Sub(s.swept) >= sweepEvery {
		s.sweep(now)
	}
	known := s.known()
	if len(known) >= maxRoutes {
		k = routeKey{cluster: otherTag, route: otherTag}
	}
	if c := known[k]; c != nil {
		return c
	}
	c := &routeCounts{key: k}
	c.used.Store(s.now().UnixNano())
	grown := make(map[routeKey]*routeCounts, len(known)+1)
	maps.Copy(grown, known)
	grown[k] = c
	s.all.Store(&grown)
	return c
}

// sweep forgets what was not used for long. A call that is about to count there after that time is not seen. mu is held.
func (s *Routes) sweep(now time.Time) {
	s.swept = now
	horizon := now.Add(-idle).UnixNano()
	kept := maps.Clone(s.known())
	maps.DeleteFunc(kept, func(_ routeKey, c *routeCounts) bool { return c.used.Load() < horizon })
	s.all.Store(&kept)
}

// WriteMetrics writes what was counted, in the Prometheus text format 0.0.4; nothing where no call was made.
func (s *Routes) WriteMetrics(w io.Writer) error {
	s.mu.Lock()
	s.sweep(s.now())
	all := slices.Collect(maps.Values(s.known()))
	s.mu.Unlock()
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, func(a, b *routeCounts) int {
		return cmp.Or(cmp.Compare(a.key.cluster, b.key.cluster), cmp.Compare(a.key.route, b.key.route))
	})
	p := &page{w: w}
	p.kind("fairlead_route_requests_total", "counter")
	for _, c := range all {
		for class := range c.classes {
			if n := c.classes[class].Load(); n > 0 {
				p.line("fairlead_route_requests_total", string(label(c.labels(), "response_class", classOf(class))), n)
			}
		}
	}
	p.kind("fairlead_route_tries_total", "counter")
	for _, c := range all {
		p.line("fairlead_route_tries_total", string(c.labels()), c.tries.Load())
	}
	p.kind("fairlead_route_timeouts_total", "counter")
	for _, c := range all {
		p.line("fairlead_route_timeouts_total", string(c.labels()), c.timeouts.Load())
	}
	p.kind("fairlead_route_duration_milliseconds", "histogram")
	for _, c := range all {
		p.histogram("fairlead_route_duration_milliseconds", string(c.labels()), &c.duration)
	}
	p.flush()
	return p.err
}

// classOf is how a class is written: "2xx", and "none" where there was no answer.
func classOf(class int) string {
	if class == 0 {
		return "none"
	}
	return strconv.Itoa(class) + "xx"
}

func (c *routeCounts) labels() []byte {
	return label(label(nil, "cluster", c.key.cluster), "route", c.key.route)
}
