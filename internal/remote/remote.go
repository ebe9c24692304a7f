package remote

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

// Source is what one cluster says.
type Source interface {
	// Run calls sink with everything there is as soon as that is known, and then with each change, until ctx is done. An error
	// says why it cannot.
	Run(ctx context.Context, sink Sink) error
	// Trouble says since when and why the cluster says nothing new, or part of what it should; an empty cause for no trouble.
	Trouble() (since time.Time, cause string)
	// Skew says by how much the cluster's clock is ahead of this one's, less than 0 where it is behind, and 0 where that is not known.
	Skew() time.Duration
}

// Sink takes what a source says.
type Sink interface {
	// Whole gives all objects; those that are not among them are gone.
	Whole(objects []source.Object)
	// Changed gives what changed since.
	Changed(c source.Change)
}

// Spec says how a cluster is followed.
type Spec struct {
	// Print is another one where the cluster is to be followed in another way.
	Print string
	// Open makes the source; an error says why the cluster cannot be followed.
	Open func() (Source, error)
	// Apart is set for a cluster of which only mirrors are called. Where another declarer has the same cluster without it, that
	// one counts, and this one is content.
	Apart bool
}

// Known is how it stands with a cluster, for who computes with what it says.
type Known struct {
	Name string
	// Apart is as in Spec. Heard is set once the cluster has said what it has, Gone when it is followed no longer.
	Apart, Heard, Gone bool
}

// MaxClusters is how many other clusters there may be.
const MaxClusters = 100

// syncTimeout is how long the first word of a cluster may take before its status calls that late.
const syncTimeout = 30 * time.Second

// lookForTrouble is how often sources are asked for trouble while somebody waits for them.
const lookForTrouble = 50 * time.Millisecond

// Options configure a Set.
type Options struct {
	// Own is the name of the control plane's own cluster, which no other one may have.
	Own string
	// Wanted reports whether an object of another cluster means anything here; nil for all.
	Wanted func(o source.Object) bool
	// CallsItself gives what an object says that its cluster is called; says is false for one that says nothing of it. It is asked of
	// all objects, not only of those that are wanted; nil for a mesh whose clusters do not say it.
	CallsItself func(o source.Object) (name string, says bool)
	// Sink takes what changes.
	Sink func(source.Change)
	// Known, where not nil, is told how it stands with a cluster: that it is followed, before the first of its objects, whether it
	// has said what it has, after these, and that it is followed no longer, after the last delete.
	Known  func(Known)
	Logger *slog.Logger
}

// Set is the other clusters.
type Set struct {
	o       Options
	working sync.WaitGroup

	mu       sync.Mutex                 // guards everything below
	ctx      context.Context            //nolint:containedctx // of Run: clusters come and go while it lasts
	declared map[string]map[string]Spec // by who declares them, then by the name of the cluster
	refused  map[refusal]string         // what is declared in vain, and why
	clusters map[string]*cluster
	listed   map[string]bool // who is known to have declared all it has
	settled  chan struct{}   // replaced and closed whenever a cluster has been heard or has failed
}

// refusal is a declaration without effect.
type refusal struct{ by, name string }

// New gives a Set without clusters. It does no I/O.
func New(o Options) *Set {
	return &Set{
		o: o, declared: make(map[string]map[string]Spec), refused: make(map[refusal]string), clusters: make(map[string]*cluster),
		listed: make(map[string]bool), settled: make(chan struct{}),
	}
}

// Run follows the clusters that are declared until ctx ends, and returns when everything it started has ended.
func (s *Set) Run(ctx context.Context) {
	s.mu.Lock()
	s.ctx = ctx
	for _, c := range s.clusters {
		s.start(c)
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.working.Wait()
}

// Declare says which clusters somebody knows of, by their names, in place of those that it knew of before.
func (s *Set) Declare(by string, clusters map[string]Spec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(clusters) == 0 {
		delete(s.declared, by)
	} else {
		s.declared[by] = clusters
	}
	s.arrange()
}

// Listed notes that a declarer, such as "secrets", has declared all it has: who waits for clusters knows which.
func (s *Set) Listed(by string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listed[by] = true
	s.wake()
}

// wake tells who waits to look again.
func (s *Set) wake() {
	close(s.settled)
	s.settled = make(chan struct{})
}

// Settle waits until each cluster that a declarer knows of was heard or has failed once, or for the given time: so that who
// starts does not take endpoints away that are known a moment later.
func (s *Set) Settle(ctx context.Context, by string, most time.Duration) {
	timer, look := time.NewTimer(most), time.NewTicker(lookForTrouble)
	defer timer.Stop()
	defer look.Stop()
	for {
		waiting, changed := s.unsettled(by)
		if !waiting {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-changed:
		case <-look.C:
		}
	}
}

// unsettled reports whether something is still to be waited for, and gives what is closed when that may have changed.
func (s *Set) unsettled(by string) (bool, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := !s.listed[by]
	for _, c := range s.clusters {
		waiting = waiting || !c.heard && c.failed == "" && !c.troubled()
	}
	return waiting, s.settled
}

// emit hands a change on whose objects have the name of their cluster.
func (s *Set) emit(c source.Change) {
	if len(c.Upserts)+len(c.Deletes) > 0 {
		s.o.Sink(c)
	}
}

// tell says how it stands with a cluster, where that is news.
func (s *Set) tell(c *cluster, k Known) {
	if k.Name = c.name; s.o.Known != nil && c.told != k {
		s.o.Known(k)
	}
	c.told = k
}

// mine gives the object as one of a cluster.
func mine(cluster string, ref model.Ref) model.Ref {
	ref.Cluster = cluster
	return ref
}
