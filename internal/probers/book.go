package probers

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

const (
	// patience is how long after its newest check, or after it was told to check, a prober counts at least; it is three
	// intervals where those are longer. Sidecars confirm what they found every 30 s.
	patience = 90 * time.Second
	// settling is how long a sidecar may go on to report what it is not told to check any more, and after it has connected
	// what it is not told to check yet.
	settling = time.Minute
	// forgetAfter is how long an endpoint stays down of which nobody knows anything any more.
	forgetAfter = 30 * time.Second
	// Look is how often Assign is to be called at least while there are endpoints: what gets old is found then.
	Look = 15 * time.Second
)

// Book has the endpoints, their probers, and what those say.
type Book struct {
	endpoints map[model.ProbeTarget]*endpoint
	order     []*endpoint // by target
	unchecked int         // endpoints beyond the bounds
	sidecars  map[model.ClusterKey]*sidecar
	told      map[model.ClusterKey][]model.Probe // what each was told last
	cleared   []model.EndpointHealth             // endpoints that were down and are not checked any more, not told yet
}

// endpoint is one of which something is known.
type endpoint struct {
	model.ProbedEndpoint

	probers []*sidecar // heaviest first
	found   model.EndpointHealth
	lost    time.Time // since when it is down and nobody knows anything of it
}

// sidecar is one that is connected.
type sidecar struct {
	Sidecar

	hash   uint64 // of the pod's UID
	stream uint64
	since  time.Time // of the stream
	heard  time.Time // of the newest report
	// probes are those that it is to make, since when; withdrawn those that it was to make, until when.
	probes, withdrawn map[model.ProbeTarget]time.Time
	results           map[model.ProbeTarget]result
	silent            bool // it does not say anything: it is told nothing until it does
}

// result is what a sidecar says of an endpoint. checked is when the newest check ended.
type result struct {
	model.ProbeResult

	checked time.Time
}

// New gives an empty Book.
func New() *Book {
	return &Book{
		endpoints: make(map[model.ProbeTarget]*endpoint), sidecars: make(map[model.ClusterKey]*sidecar),
		told: make(map[model.ClusterKey][]model.Probe),
	}
}

// SetEndpoints says which endpoints are to be checked from now on; of those beyond PerPolicy and Total the last are left out. It
// takes effect with the next Assign.
func (b *Book) SetEndpoints(all []model.ProbedEndpoint) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(x, y model.ProbedEndpoint) int { return x.Target.Compare(y.Target) })
	ofPolicy := make(map[model.Key]int)
	before := b.endpoints
	b.endpoints, b.order, b.unchecked = make(map[model.ProbeTarget]*endpoint, len(all)), nil, 0
	for _, e := range all {
		if ofPolicy[e.Target.Policy] >= PerPolicy || len(b.order) >= Total {
			b.unchecked++
			continue
		}
		ofPolicy[e.Target.Policy]++
		next := before[e.Target]
		if next == nil || !reflect.DeepEqual(next.How, e.How) {
			next = &endpoint{found: model.EndpointHealth{Target: e.Target}}
		} else {
			delete(before, e.Target)
		}
		next.ProbedEndpoint = e
		b.endpoints[e.Target] = next
		b.order = append(b.order, next)
	}
	for target, e := range before {
		if e.found.Failing {
			b.cleared = append(b.cleared, model.EndpointHealth{Target: target})
		}
	}
}

// Report takes what a sidecar says of all endpoints that it checks. Its first report makes it one that may be told to check.
// The endpoints whose health that turns are given, and how many results are of endpoints that it was not told to check: those
// count for nothing.
func (b *Book) Report(from Sidecar, stream uint64, results []model.ProbeResult, now time.Time) (turned []model.EndpointHealth, refused int) {
	s := b.sidecars[from.Pod]
	if s != nil && s.stream > stream {
		return nil, 0
	}
	if s == nil || s.UID != from.UID {
		s = &sidecar{hash: hash(from.UID), probes: make(map[model.ProbeTarget]time.Time), withdrawn: make(map[model.ProbeTarget]time.Time)}
		b.sidecars[from.Pod] = s
	}
	if s.stream != stream {
		s.stream, s.since = stream, now
	}
	s.Sidecar, s.heard, s.silent = from, now, false
	s.results = make(map[model.ProbeTarget]result, len(results))
	for _, r := range results {
		_, mine := s.probes[r.Target]
		if until, was := s.withdrawn[r.Target]; !mine && now.Sub(s.since) > settling && (!was || now.After(until)) {
			refused++
			continue
		}
		s.results[r.Target] = result{r, now.Add(-max(0, r.Age))}
	}
	for target := range s.probes {
		if e := b.endpoints[target]; e != nil && b.judge(e, now) {
			turned = append(turned, e.found)
		}
	}
	slices.SortFunc(turned, func(x, y model.EndpointHealth) int { return x.Target.Compare(y.Target) })
	return turned, refused
}

// Leave forgets a sidecar whose stream has ended, or that checks nothing more. Others take over with the next Assign.
func (b *Book) Leave(pod model.ClusterKey, stream uint64) {
	if s := b.sidecars[pod]; s != nil && s.stream <= stream {
		delete(b.sidecars, pod)
	}
}

// Has reports whether a sidecar may be told to check.
func (b *Book) Has(pod model.ClusterKey) bool { return b.sidecars[pod] != nil }

// Assign chooses the probers of all endpoints. Holders lists the pods whose sidecars hold a destination. It gives what is new:
// what sidecars are to check, nothing for those that are to check nothing any more, and the health of endpoints.
func (b *Book) Assign(holders func(destination string) []model.ClusterKey, now time.Time) (tell []model.PodProbes, turned []model.EndpointHealth) {
	former := b.unassign(now)
	turned, b.cleared = b.cleared, nil
	pools := make(map[string][]*sidecar)
	for _, e := range b.order {
		group := strings.Join(e.Destinations, " ")
		candidates, known := pools[group]
		if !known {
			candidates = pool(group, b.holding(e.Destinations, holders))
			pools[group] = candidates
		}
		e.probers = nil
		if len(candidates) > 0 {
			e.probers = choose(e.Target.String(), candidates, manyAccounts(candidates))
		}
		for _, s := range e.probers {
			since, stays := former[s][e.Target]
			if !stays {
				since = now
			}
			s.probes[e.Target] = since
			delete(s.withdrawn, e.Target)
		}
		if b.judge(e, now) {
			turned = append(turned, e.found)
		}
	}
	return b.news(), turned
}

// unassign takes every probe back, and gives what there was.
func (b *Book) unassign(now time.Time) map[*sidecar]map[model.ProbeTarget]time.Time {
	former := make(map[*sidecar]map[model.ProbeTarget]time.Time)
	for _, s := range b.sidecars {
		if len(s.probes)+len(s.withdrawn) == 0 {
			continue
		}
		former[s] = s.probes
		maps.DeleteFunc(s.withdrawn, func(_ model.ProbeTarget, until time.Time) bool { return now.After(until) })
		for target := range s.probes {
			s.withdrawn[target] = now.Add(settling)
		}
		s.probes = make(map[model.ProbeTarget]time.Time)
	}
	for s, probes := range former {
		s.mute(probes, now)
	}
	return former
}

// mute has a sidecar passed over that was told to check something and does not say anything, until it does.
func (s *sidecar) mute(probes map[model.ProbeTarget]time.Time, now time.Time) {
	for _, since := range probes {
		if now.Sub(since) > patience && now.Sub(s.heard) > patience {
			s.silent = true
			return
		}
	}
}

// holding lists the sidecars that hold one of several destinations and can be told to check.
func (b *Book) holding(destinations []string, holders func(string) []model.ClusterKey) []*sidecar {
	var out []*sidecar
	seen := make(map[model.ClusterKey]bool)
	for _, d := range destinations {
		for _, pod := range holders(d) {
			if s := b.sidecars[pod]; s != nil && !s.silent && !seen[pod] {
				seen[pod] = true
				out = append(out, s)
			}
		}
	}
	return out
}

// news compares what sidecars are to check with what they were told.
func (b *Book) news() (tell []model.PodProbes) {
	next := make(map[model.ClusterKey][]model.Probe)
	for _, e := range b.order {
		for _, s := range e.probers {
			next[s.Pod] = append(next[s.Pod], e.Probe)
		}
	}
	for pod, probes := range next {
		if !reflect.DeepEqual(b.told[pod], probes) {
			tell = append(tell, model.PodProbes{Pod: pod, Probes: probes})
		}
	}
	for pod := range b.told {
		if next[pod] == nil {
			tell = append(tell, model.PodProbes{Pod: pod})
		}
	}
	b.told = next
	slices.SortFunc(tell, func(x, y model.PodProbes) int { return x.Pod.Compare(y.Pod) })
	return tell
}

// Empty reports whether there is nothing to check.
func (b *Book) Empty() bool { return len(b.order) == 0 }

// Counts says how many endpoints are checked, how many are not because there are too many, and how many are down.
func (b *Book) Counts() (checked, unchecked, down int) {
	for _, e := range b.order {
		if len(e.probers) > 0 {
			checked++
		}
		if e.found.Failing {
			down++
		}
	}
	return checked, b.unchecked, down
}

// Standing is what is known of one endpoint, for people to look at.
type Standing struct {
	model.EndpointHealth

	Destinations []string
	Probers      []Opinion
}

// Opinion is what one prober says: "passes", "fails", "unknown" where it has found nothing yet, "old" where it has not said
// anything for too long.
type Opinion struct {
	Pod      model.ClusterKey
	Says     string
	Why      string
	Since    time.Time
	Assigned time.Time
}

// Standings lists the endpoints by target.
func (b *Book) Standings(now time.Time) []Standing {
	out := make([]Standing, 0, len(b.order))
	for _, e := range b.order {
		s := Standing{EndpointHealth: e.found, Destinations: e.Destinations}
		for _, p := range e.probers {
			o := Opinion{Pod: p.Pod, Says: "unknown", Assigned: p.probes[e.Target]}
			r, known := p.results[e.Target]
			switch {
			case !p.counts(e, now):
				o.Says = "old"
			case known && r.Failing:
				o.Says, o.Why, o.Since = "fails", r.Why, r.Since
			case known:
				o.Says, o.Since = "passes", r.Since
			}
			s.Probers = append(s.Probers, o)
		}
		out = append(out, s)
	}
	return out
}

// later gives the later of two times.
func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
