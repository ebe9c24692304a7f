package telemetry

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

const (
	// idle is how long a series stays in the scrape after it was last touched (Linkerd's figure; Prometheus' own
	// staleness is five minutes, so nothing that still changes is lost).
	idle = 10 * time.Minute
	// sweepEvery is how often idle series are looked for, scraped or not.
	sweepEvery = time.Minute
	// maxScopes bounds the sets of labels that are printed, of HTTP and of TCP each. What comes beyond is counted in
	// series labelled overflow: better than no figures, and than a scrape that no Prometheus takes.
	maxScopes = 1000
	// overflow is the value of the labels that say who calls whom, there.
	overflow = "overflow"
)

// Registry holds every series of one proxy.
//
// A scope is the same one for equal labels for as long as anything refers to it, whether it is printed or not:
// whatever holds one may count at any time, and it goes on from where it was. What is idle is not printed, and is only
// remembered for those who hold it.
type Registry struct {
	build    string // value of istio_build's tag label
	now      func() time.Time
	folded   atomic.Uint64 // observations that were not counted under their own labels
	refused  refusals
	silences silences
	rules    sideRules
	setting  sync.Mutex   // serialises changes of rules
	native   bool         // guarded by setting: histograms have native buckets, too
	tagged   atomic.Int64 // cells that are told apart by what calls say, about

	http family[HTTPScope, *HTTPScope]
	tcp  family[TCPScope, *TCPScope]
}

// NewRegistry returns an empty registry; version labels istio_build.
func NewRegistry(version string) *Registry {
	r := &Registry{build: version, now: time.Now}
	r.http.init(r)
	r.tcp.init(r)
	r.http.recount = func(tagged int) { r.tagged.Store(int64(tagged)) }
	return r
}

// HTTP gives the scope of the labels, the same one for equal labels. It is the slow path: keep the result.
func (r *Registry) HTTP(l Labels) *HTTPScope {
	return r.httpScope(identify(l))
}

func (r *Registry) httpScope(id identity) *HTTPScope {
	return r.http.scope(id, func(id identity) *HTTPScope {
		return &HTTPScope{series: series{registry: r, identity: id}, cells: cells{registry: r}}
	})
}

// TCP gives the scope for connections with the labels.
func (r *Registry) TCP(l Labels) *TCPScope {
	l.Protocol = "tcp"
	return r.tcpScope(identify(l))
}

func (r *Registry) tcpScope(id identity) *TCPScope {
	return r.tcp.scope(id, func(id identity) *TCPScope {
		return &TCPScope{series: series{registry: r, identity: id}}
	})
}

// overflowHTTP counts an observation as folded, and gives the scope that takes it.
func (r *Registry) overflowHTTP(s *HTTPScope) *HTTPScope {
	r.folded.Add(1)
	o := r.HTTP(s.beyond())
	if s.group != nil {
		o = r.httpScope(o.projected(s.group, nil))
	}
	r.http.restore(o)
	return o
}

func (r *Registry) overflowTCP(s *TCPScope) *TCPScope {
	o := r.TCP(s.beyond())
	if s.group != nil {
		o = r.tcpScope(o.projected(s.group, s.group.others(nil)))
	}
	r.tcp.restore(o)
	return o
}

// seriesKey tells series apart: what is printed of them, and the metrics that are.
type seriesKey struct {
	labels string
	group  *tagGroup // nil for all metrics
}

// identity is what a series is of.
type identity struct {
	seriesKey
	reporter Reporter
	protocol string
	mtls     bool
}

func identify(l Labels) identity {
	return identity{seriesKey: seriesKey{labels: string(appendLabels(nil, l))}, reporter: l.Reporter, protocol: l.Protocol, mtls: l.MutualTLS}
}

// beyond is the labels of the series that counts for this one where there are too many.
func (id *identity) beyond() Labels {
	other := plan.WorkloadInfo{
		Namespace: overflow, Name: overflow, App: overflow, Version: overflow, CanonicalName: overflow, CanonicalRevision: overflow,
	}
	return Labels{
		Reporter: id.reporter, Source: other, Destination: other, SourcePrincipal: overflow, DestinationPrincipal: overflow,
		Host: overflow, Service: model.Key{Namespace: overflow, Name: overflow}, Protocol: id.protocol, MutualTLS: id.mtls,
	}
}

// series is what scopes of both kinds have.
type series struct {
	identity
	registry *Registry
	used     atomic.Int64 // when it was last touched, Unix ns
	active   atomic.Bool  // it is printed
}

// inForce reports whether the rules that the series counts by are those of now.
func (s *series) inForce() bool {
	rules := s.registry.rules.of(s.reporter).Load()
	return s.group == nil && rules == nil || s.group != nil && s.group.rules == rules
}

func (s *series) touch()          { s.used.Store(s.registry.now().UnixNano()) }
func (s *series) shared() *series { return s }

// scope is a pointer to one of the two kinds.
type scope[S any] interface {
	*S
	shared() *series
	// held reports whether something is open that will be counted when it ends.
	held() bool
	// tagged is how many cells there are for values that calls say.
	tagged() int
}

func (*HTTPScope) held() bool  { return false }
func (s *TCPScope) held() bool { return s.opened.Load() != s.closed.Load() }

func (s *HTTPScope) tagged() int { return int(s.cells.tagged.Load()) }
func (*TCPScope) tagged() int    { return 0 }

// family is the scopes of one kind.
type family[S any, P scope[S]] struct {
	registry *Registry
	recount  func(tagged int) // hears how many cells there are for values that calls say; nil where there are none

	mu      sync.Mutex
	known   map[seriesKey]weak.Pointer[S] // by labels: the scopes that endpoints and connections may hold
	printed map[seriesKey]P
	swept   time.Time
}

func (f *family[S, P]) init(r *Registry) {
	f.registry, f.known, f.printed = r, map[seriesKey]weak.Pointer[S]{}, map[seriesKey]P{}
}

// scope gives the scope of an identity, made where there is none.
func (f *family[S, P]) scope(id identity, create func(identity) P) P {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known := P(f.known[id.seriesKey].Value()); known != nil {
		return known
	}
	f.sweepSometimes()
	p := create(id)
	f.known[id.seriesKey] = weak.Make((*S)(p))
	return p
}

// activate has a scope printed from now on, or reports that there is no room for it.
func (f *family[S, P]) activate(p P) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := p.shared()
	if s.active.Load() {
		return true
	}
	f.sweepSometimes()
	if len(f.printed) >= maxScopes {
		return false
	}
	f.print(p)
	return true
}

// restore has a scope printed although there may be no room: it left the scrape while it was counted in, or it is the overflow.
func (f *family[S, P]) restore(p P) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.print(p)
}

func (f *family[S, P]) print(p P) {
	s := p.shared()
	s.touch()
	s.active.Store(true)
	f.printed[s.seriesKey] = p
}

func (f *family[S, P]) sweepSometimes() {
	if now := f.registry.now(); now.Sub(f.swept) >= sweepEvery {
		f.sweep(now)
	}
}

// sweep lets go of what is idle, and forgets what nothing refers to. mu is held.
func (f *family[S, P]) sweep(now time.Time) {
	f.swept = now
	horizon := now.Add(-idle).UnixNano()
	for key, p := range f.printed {
		s := p.shared()
		if s.used.Load() >= horizon || p.held() {
			continue
		}
		s.active.Store(false)
		if s.used.Load() >= horizon { // it was touched by one who has seen that it is active
			s.active.Store(true)
			continue
		}
		delete(f.printed, key)
	}
	tagged := 0
	for key, w := range f.known {
		if p := P(w.Value()); p == nil {
			delete(f.known, key)
		} else {
			tagged += p.tagged()
		}
	}
	if f.recount != nil {
		f.recount(tagged)
	}
}

// dismiss takes everything off the scrape that counts by rules that are not in force any more.
func (f *family[S, P]) dismiss() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, p := range f.printed {
		if !p.shared().inForce() {
			p.shared().active.Store(false)
			delete(f.printed, key)
		}
	}
}

// live gives the scopes to print, in a stable order.
func (f *family[S, P]) live() []P {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sweep(f.registry.now())
	all := make([]P, 0, len(f.printed))
	for _, p := range f.printed {
		if p.shared().inForce() {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b P) int { return cmp.Compare(a.shared().labels, b.shared().labels) })
	return all
}
