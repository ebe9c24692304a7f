package kube

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/internal/apiserver"
	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

// Options configure a Source.
type Options struct {
	// Config says where the API server is and who we are.
	Config *rest.Config
	// OfClusters has only those kinds followed that are read of other clusters than the control plane's own.
	OfClusters bool
	// Logger receives the loss of the API server and its return, and what holds up the first change. Nil discards.
	Logger *slog.Logger
}

// Source follows the objects of an API server.
type Source struct {
	config *rest.Config
	other  bool // the cluster is not the control plane's own
	log    *slog.Logger
	kinds  []config.Kind
	timing timing
	out    *outbox
	health *health
	clock  clock
}

// New makes a Source. It does no I/O.
func New(o Options) (*Source, error) {
	if o.Config == nil {
		return nil, errors.New("no Kubernetes API server: give a rest.Config")
	}
	s := &Source{config: o.Config, other: o.OfClusters, log: o.Logger, kinds: followed(), timing: defaultTiming()}
	if o.OfClusters {
		s.kinds = slices.DeleteFunc(s.kinds, func(k config.Kind) bool { return !k.OfClusters })
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.out = newOutbox(s.kinds)
	s.health = newHealth(s.log, o.Config.Host, s.out.renew)
	if o.OfClusters {
		var h heard
		s.config, s.health.heard = h.over(o.Config), h.last
	}
	return s, nil
}

// newClient gives a client whose answers are listened to.
func (s *Source) newClient() (*apiserver.Client, error) {
	client, err := newClient(s.config)
	if err != nil {
		return nil, err
	}
	return client.Dated(s.clock.answered), nil
}

// Problems lists what is wrong at present with objects and kinds that cannot be read, and with the connection. It is
// where to look while there is no first change.
func (s *Source) Problems() []model.Problem {
	return append(s.configProblems(), s.health.away()...)
}

// Trouble says since when and why not everything can be read, the connection included; an empty cause where all can.
func (s *Source) Trouble() (since time.Time, cause string) { return s.health.trouble() }

// configProblems are those that a change carries: the connection comes and goes by itself.
func (s *Source) configProblems() []model.Problem {
	all := append(s.health.problems(), s.out.refused()...)
	slices.SortFunc(all, byObject)
	return all
}

// Run calls sink with everything there is as soon as that is known, then with each change, until ctx is done; that is
// no error. sink is called from Run's own goroutine; while it works, newer states of an object replace older ones. It
// fails only where the configuration of the client is unusable. A Source runs once.
func (s *Source) Run(ctx context.Context, sink func(source.Change)) error {
	start := time.Now()
	client, err := s.newClient()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	s.follow(ctx, client, &running)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.out.wake:
		}
		change, first, ok := s.out.take()
		if !ok {
			continue
		}
		change.Problems = s.configProblems()
		if first {
			s.log.LogAttrs(ctx, slog.LevelInfo, "read everything from the API server", slog.String("server", s.config.Host),
				slog.Int("objects", len(change.Upserts)), slog.Duration("took", time.Since(start)))
			s.health.start()
		} else {
			s.log.LogAttrs(ctx, slog.LevelDebug, "objects changed", slog.Int("upserts", len(change.Upserts)),
				slog.Int("deletes", len(change.Deletes)), slog.Int("problems", len(change.Problems)))
		}
		sink(change)
	}
}

// follow starts a follower per kind, and discovery for the custom ones.
func (s *Source) follow(ctx context.Context, client *apiserver.Client, running *sync.WaitGroup) {
	n := newNamed(s.out)
	n.begin = s.followNamed(ctx, &follower{client: client, out: s.out, health: s.health, log: s.log, timing: s.timing}, running)
	d := &discovery{client: client, out: s.out, health: s.health, timing: s.timing, poke: make(chan struct{}, 1)}
	for i := range s.kinds {
		k := &s.kinds[i]
		f := &follower{
			kind: k, spare: s.other && k.Form == config.MetadataOnly, client: client, out: s.out, health: s.health, log: s.log, timing: s.timing, missing: d.look,
			named: n, known: make(map[model.Key]seen),
		}
		if k.Form != config.Custom {
			running.Go(func() { f.follow(ctx, k.Versions[0]) })
			continue
		}
		o := &offer{kind: k, version: make(chan string, 1)}
		d.kinds = append(d.kinds, o)
		running.Go(func() { f.followServed(ctx, o.version) })
	}
	if groups := groupsOf(s.kinds); len(groups) > 0 {
		running.Go(func() { d.run(ctx, groups) })
	}
}

// followServed follows the version that is served, if any.
func (f *follower) followServed(ctx context.Context, versions <-chan string) {
	var current string
	select {
	case <-ctx.Done():
		return
	case current = <-versions:
	}
	for ctx.Err() == nil {
		current = f.during(ctx, current, versions)
	}
}

// during follows one version until another one is served, and gives that.
func (f *follower) during(ctx context.Context, version string, versions <-chan string) (next string) {
	sub, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	if version == "" {
		f.clear(ctx)
	} else {
		running.Go(func() { f.follow(sub, version) })
	}
	select {
	case <-ctx.Done():
	case next = <-versions:
	}
	return next
}
