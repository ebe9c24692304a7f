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
	build   string // value of istio_build's tag label
	now     func() time.Time
	folded  atomic.Uint64 // observations that were not counted under their own labels
	refused refusals

	http family[HTTPScope, *HTTPScope]
	tcp  family[TCPScope, *TCPScope]
}

// NewRegistry returns an empty registry; version labels istio_build.
func NewRegistry(version string) *Registry {
	r := &Registry{build: version, now: time.Now}
	r.http.init(r)
	r.tcp.init(r)
	return r
}

// HTTP gives the scope of the labels, the same one for equal labels. It is the slow path: keep the result.
func (r *Registry) HTTP(l Labels) *HTTPScope {
	return r.http.scope(identify(l), func(id identity) *HTTPScope {
		return &HTTPScope{series: series{registry: r, identity: id}, cells: cells{folded: &r.folded}}
	})
}

// TCP gives the scope for connections with the labels.
func (r *Registry) TCP(l Labels) *TCPScope {
	l.Protocol = "tcp"
	return r.tcp.scope(identify(l), func(id identity) *TCPScope {
		return &TCPScope{series: series{registry: r, identity: id}}
	})
}

// overflowHTTP counts an observation as folded, and gives the scope that takes it.
func (r *Registry) overflowHTTP(s *HTTPScope) *HTTPScope {
	r.folded.Add(1)
	o := r.HTTP(s.beyond())
	r.http.restore(o)
	return o
}

func (r *Registry) overflowTCP(s *TCPScope) *TCPScope {
	o := r.TCP(s.beyond())
	r.tcp.restore(o)
	return o
}

// identity is what tells series apart.
type identity struct {
	labels   string
	reporter Reporter
	protocol string
	mtls     bool
}

func identify(l Labels) identity {
	return identity{labels: string(appendLabels(nil, l)), reporter: l.Reporter, protocol: l.Protocol, mtls: l.MutualTLS}
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

func (s *series) touch()          { s.used.Store(s.registry.now().UnixNano()) }
func (s *series) shared() *series { return s }

// scope is a pointer to one of the two kinds.
type scope[S any] interface {
	*S
	shared() *series
	// held reports whether something is open that will be counted when it ends.
	held() bool
}

func (*HTTPScope) held() bool  { return false }
func (s *TCPScope) held() bool { return s.opened.Load() != s.closed.Load() }

// family is the scopes of one kind.
type family[S any, P scope[S]] struct {
	registry *Registry

	mu      sync.Mutex
	known   map[string]weak.Pointer[S] // by labels: the scopes that endpoints and connections may hold
	printed map[string]P
	swept   time.Time
}

func (f *family[S, P]) init(r *Registry) {
	f.registry, f.known, f.printed = r, map[string]weak.Pointer[S]{}, map[string]P{}
}

// scope gives the scope of an identity, made where there is none.
func (f *family[S, P]) scope(id identity, create func(identity) P) P {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known := P(f.known[id.labels].Value()); known != nil {
		return known
	}
	f.sweepSometimes()
	p := create(id)
	f.known[id.labels] = weak.Make((*S)(p))
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
	f.printed[s.labels] = p
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
	for labels, p := range f.printed {
		s := p.shared()
		if s.used.Load() >= horizon || p.held() {
			continue
		}
		s.active.Store(false)
		if s.used.Load() >= horizon { // it was touched by one who has seen that it is active
			s.active.Store(true)
			continue
		}
		delete(f.printed, labels)
	}
	for labels, w := range f.known {
		if w.Value() == nil {
			delete(f.known, labels)
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
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b P) int { return cmp.Compare(a.shared().labels, b.shared().labels) })
	return all
}
