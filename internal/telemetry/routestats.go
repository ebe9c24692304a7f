package telemetry

import (
	"cmp"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// RouteName is what a VirtualService's statPrefix counts requests under. The zero value is no name.
type RouteName struct {
	Host   model.Hostname
	Port   uint16
	Prefix string
}

// maxRouteNames bounds the names that are counted under: they are configuration, but sidecars live longer than that.
const maxRouteNames = 1000

// RouteStats is the sink that counts requests by the statPrefix of their route, as Envoy's router does
// (config/http/http_filters/router_filter, "Statistics"). The zero value is ready.
type RouteStats struct {
	mu     sync.RWMutex
	all    map[RouteName]*routeStats // guarded by mu
	folded atomic.Uint64             // requests without a place
}

// routeStats is what is counted under one name. Codes are those of endpoints, and of the sidecar in their stead.
type routeStats struct {
	codes                             [maxCode]atomic.Uint64
	tries, retries, exceeded, timeout atomic.Uint64
	duration                          histogram
}

const maxCode = 600

// Record implements Sink.
func (s *RouteStats) Record(r *Record) {
	if r.Stat.Prefix == "" || r.Tries == 0 || r.Code <= 0 || r.Code >= maxCode {
		return
	}
	c := s.of(r.Stat)
	if c == nil {
		s.folded.Add(1)
		return
	}
	c.codes[r.Code].Add(1)
	c.tries.Add(uint64(r.Tries))
	c.retries.Add(uint64(r.Tries - 1))
	if hasFlag(r.Flags, "URX") {
		c.exceeded.Add(1)
	}
	if hasFlag(r.Flags, "UT") {
		c.timeout.Add(1)
	}
	c.duration.observe(float64(r.Duration) / float64(time.Millisecond))
}

func hasFlag(flags, flag string) bool {
	for one := range strings.SplitSeq(flags, ",") {
		if one == flag {
			return true
		}
	}
	return false
}

// of gives what counts under a name, nil where there is no place for it.
func (s *RouteStats) of(name RouteName) *routeStats {
	s.mu.RLock()
	c := s.all[name]
	s.mu.RUnlock()
	if c != nil {
		return c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.all[name]; c != nil || len(s.all) >= maxRouteNames {
		return c
	}
	if s.all == nil {
		s.all = map[RouteName]*routeStats{}
	}
	c = new(routeStats)
	s.all[name] = c
	return c
}

// counted is a name with what is counted under it.
type counted struct {
	labels string
	*routeStats
}

// list gives what there is, in order.
func (s *RouteStats) list() []counted {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]counted, 0, len(s.all))
	for name, c := range s.all {
		b := label(nil, "envoy_virtual_host", string(name.Host)+":"+strconv.Itoa(int(name.Port)))
		out = append(out, counted{string(label(b, "envoy_route", name.Prefix)), c})
	}
	slices.SortFunc(out, func(a, b counted) int { return cmp.Compare(a.labels, b.labels) })
	return out
}

// WriteMetrics writes what was counted, in the Prometheus text format 0.0.4, by the names that Envoy's have there; nothing
// where no route has a name.
func (s *RouteStats) WriteMetrics(w io.Writer) error {
	all := s.list()
	if len(all) == 0 {
		return nil
	}
	p := &page{w: w}
	const prefix = "envoy_vhost_route_upstream_rq"
	p.kind(prefix, "counter")
	for _, c := range all {
		for code := range c.codes {
			if n := c.codes[code].Load(); n > 0 {
				p.line(prefix, string(label([]byte(c.labels), "envoy_response_code", strconv.Itoa(code))), n)
			}
		}
	}
	p.kind(prefix+"_xx", "counter")
	for _, c := range all {
		for class := 1; class < maxCode/100; class++ {
			if n := c.codesOf(100*class, 100*class+100); n > 0 {
				p.line(prefix+"_xx", string(label([]byte(c.labels), "envoy_response_code_class", strconv.Itoa(class))), n)
			}
		}
	}
	for _, of := range []struct {
		name  string
		value func(c counted) uint64
	}{
		{"_completed", func(c counted) uint64 { return c.codesOf(0, maxCode) }},
		{"_total", func(c counted) uint64 { return c.tries.Load() }},
		{"_retry", func(c counted) uint64 { return c.retries.Load() }},
		{"_retry_limit_exceeded", func(c counted) uint64 { return c.exceeded.Load() }},
		{"_timeout", func(c counted) uint64 { return c.timeout.Load() }},
	} {
		p.kind(prefix+of.name, "counter")
		for _, c := range all {
			p.line(prefix+of.name, c.labels, of.value(c))
		}
	}
	p.kind(prefix+"_time", "histogram")
	for _, c := range all {
		p.histogram(prefix+"_time", c.labels, &c.duration)
	}
	p.kind("fairlead_route_stats_folded_total", "counter")
	p.line("fairlead_route_stats_folded_total", "", s.folded.Load())
	p.flush()
	return p.err
}

func (s *routeStats) codesOf(from, to int) (n uint64) {
	for code := from; code < to; code++ {
		n += s.codes[code].Load()
	}
	return n
}
