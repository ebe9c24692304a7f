package consul

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

const (
	// maxHeld and maxQuick are how many questions are held open, and how many others there are, at a time: an agent serves 200
	// connections of an address.
	maxHeld, maxQuick = 100, 32
	// maxTaken bounds how many reports make one change.
	maxTaken = 100
	// maxDatacenters bounds the datacenters that are followed.
	maxDatacenters = 32
	// AllDatacenters follows every datacenter that the agent's knows.
	AllDatacenters = "*"
)

// Options configure a Source.
type Options struct {
	// Address is HOST:PORT or a URL of an agent or a server. Required.
	Address string
	// Datacenters are further ones beside the agent's own; [AllDatacenters] alone is all that it knows.
	Datacenters []string
	// Domain is what Consul's names end in, "consul" unless said otherwise.
	Domain string
	// Namespace is that of the ServiceEntries, "consul" unless said otherwise.
	Namespace string
	// TokenFile has the ACL token; it is read anew for each question. Empty means none.
	TokenFile string
	// CAFile, CertFile and KeyFile are PEM files for https, read anew for each connection; ServerName is the name that the
	// server's certificate is for where it is not that of Address.
	CAFile, CertFile, KeyFile, ServerName string
	// Cluster is the name of the own cluster. What is registered for it is no instance, so that no Service is called by a way round
	// Consul; empty means that there is no such thing.
	Cluster string
	// Sync has Services of the mesh be in the catalog, by a [Registrar].
	Sync bool
	// Problems is told all that is wrong at present whenever that changes, from Run's goroutine. Required.
	Problems func([]model.Problem)
	// Logger receives what changes. Nil discards.
	Logger *slog.Logger
}

// Status is how a datacenter stands.
type Status struct {
	Datacenter string // as Consul calls it, empty for the agent's own while that is not known
	// Cause says why its catalog cannot be read at present; empty where it can.
	Cause string
	// Answered is when its catalog was last read, zero for never.
	Answered time.Time
	Services int
	Failures uint64 // questions that were not answered, so far
}

// Source follows the services of a Consul.
type Source struct {
	o       Options
	log     *slog.Logger
	client  *client
	held    slots
	quick   slots
	reports chan report
	settled chan struct{}

	questions atomic.Int64 // that are asked again and again

	mu       sync.Mutex
	statuses []Status // guarded by mu
}

// New checks the options. It does no I/O.
func New(o Options) (*Source, error) {
	o.Domain, o.Namespace = cmp.Or(o.Domain, "consul"), cmp.Or(o.Namespace, "consul")
	switch {
	case o.Problems == nil:
		return nil, errors.New("consul: Problems is required")
	case !isHost(o.Domain):
		return nil, fmt.Errorf("consul: domain %q is not a DNS name", o.Domain)
	case !dnsLabel.MatchString(o.Namespace):
		return nil, fmt.Errorf("consul: namespace %q cannot be the name of one", o.Namespace)
	case len(o.Datacenters) > maxDatacenters:
		return nil, fmt.Errorf("consul: %d datacenters, at most %d are followed", len(o.Datacenters), maxDatacenters)
	}
	for _, dc := range o.Datacenters {
		if !dnsLabel.MatchString(dc) && (dc != AllDatacenters || len(o.Datacenters) > 1) {
			return nil, fmt.Errorf("consul: datacenter %q: write names in small letters, or %q alone for all of them", dc, AllDatacenters)
		}
	}
	s := &Source{
		o: o, log: o.Logger, held: make(slots, maxHeld), quick: make(slots, maxQuick), reports: make(chan report), settled: make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	s.client, err = newClient(&s.o)
	return s, err
}

// Settled is closed once each datacenter that is known has answered for all of its services, or has failed to.
func (s *Source) Settled() <-chan struct{} { return s.settled }

// Statuses tells how each datacenter stands.
func (s *Source) Statuses() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.statuses)
}

// Run calls sink with what changes, from its own goroutine, until ctx ends. Problems of a change are none: Options.Problems is
// told them. A Source runs once.
func (s *Source) Run(ctx context.Context, sink func(source.Change)) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	b := newBook(&s.o, func(w watch) (stop func()) {
		ctx, cancel := context.WithCancel(ctx)
		running.Go(func() { s.follow(ctx, w) })
		return cancel
	})
	running.Go(func() { s.findDatacenters(ctx) })
	defer s.client.http.CloseIdleConnections()
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-s.reports:
			b.take(r, time.Now())
			s.takeMore(b)
			s.publish(b, sink)
		}
	}
}

// takeMore takes what has been reported meanwhile: one change of many is cheaper than many.
func (s *Source) takeMore(b *book) {
	for range maxTaken {
		select {
		case r := <-s.reports:
			b.take(r, time.Now())
		default:
			return
		}
	}
}

// publish says what is not as last time.
func (s *Source) publish(b *book, sink func(source.Change)) {
	s.mu.Lock()
	s.statuses = b.statuses()
	s.mu.Unlock()
	if change := b.change(); len(change.Upserts)+len(change.Deletes) > 0 {
		s.log.Debug("consul: services changed", slog.Int("changed", len(change.Upserts)), slog.Int("gone", len(change.Deletes)))
		sink(change)
	}
	if problems, news := b.newProblems(); news {
		s.o.Problems(problems)
	}
	select {
	case <-s.settled:
	default:
		if b.settled() {
			close(s.settled)
		}
	}
}

// watch is one blocking query: the catalog of a datacenter, or a service of it. An empty datacenter is the agent's own.
type watch struct{ datacenter, service string }

// report is what a watch has to say, or of which datacenters there are.
type report struct {
	watch

	datacenters []string // those beside the agent's own, where there is a first answer to that; nil otherwise
	own         string   // what the agent's own is called, "" where that is not known
	catalog     catalog
	entries     []entry
	info        answerInfo
	err         error
}

func (s *Source) report(ctx context.Context, r report) {
	select {
	case s.reports <- r:
	case <-ctx.Done():
	}
}

// follow asks one question again and again, until ctx ends.
func (s *Source) follow(ctx context.Context, w watch) {
	var at cursor
	var pace bucket
	var failures backoff
	s.questions.Add(1)
	defer s.questions.Add(-1)
	for pause(ctx, pace.take(time.Now())) {
		r, ok := s.turn(ctx, w, at)
		if !ok {
			return
		}
		s.report(ctx, r)
		if r.err != nil {
			at.failed()
			if !pause(ctx, failures.failed()) {
				return
			}
			continue
		}
		failures.answered()
		at.answered(r.info.index)
	}
}

// turn asks once, when there is a slot for it: one of few for questions that are answered at once, or one of those for
// questions that are held open, which others may have for as long as that takes. Catalogs wait for neither. It reports false where
// ctx ends first.
func (s *Source) turn(ctx context.Context, w watch, at cursor) (r report, ok bool) {
	slots := s.held
	if at.index == 0 {
		slots = s.quick
	}
	if w.service != "" {
		if !slots.acquire(ctx) {
			return r, false
		}
		defer slots.release()
	}
	r = report{watch: w}
	q := question{path: "/v1/catalog/services", datacenter: w.datacenter, index: at.index, wait: waitOf(int(s.questions.Load()), maxHeld)}
	into := any(&r.catalog)
	if w.service != "" {
		q.path, into = "/v1/health/service/"+w.service, &r.entries
	}
	if r.info, r.err = s.client.ask(ctx, q, into); r.err == nil {
		r.err = r.doubt()
	}
	return r, ctx.Err() == nil
}

var (
	errAllFiltered = errors.New("the token may read none of it")
	errNoServices  = errors.New("its catalog is empty")
)

// doubt gives why an answer that is one is not to be believed. A datacenter has at least the service of its servers.
func (r *report) doubt() error {
	switch {
	case len(r.catalog)+len(r.entries) > 0:
	case r.info.filtered:
		return errAllFiltered
	case r.service == "":
		return errNoServices
	}
	return nil
}

// findDatacenters asks what the agent's own datacenter is called and, where all are followed, which others there are: again now
// and then, for that is no question that blocks.
func (s *Source) findDatacenters(ctx context.Context) {
	r := report{datacenters: []string{}}
	if !slices.Contains(s.o.Datacenters, AllDatacenters) {
		r.datacenters = append(r.datacenters, s.o.Datacenters...)
	}
	var failures backoff
	for {
		wait := time.Minute
		if err := s.datacenters(ctx, &r); err != nil {
			s.log.DebugContext(ctx, "consul: datacenters not known", slog.String("cause", cause(err)))
			wait = failures.failed()
		} else {
			failures.answered()
		}
		s.report(ctx, r)
		if !pause(ctx, wait) {
			return
		}
	}
}

// datacenters fills a report in. The list, which every token may read, begins with the agent's own; where the token may read
// the agent, that is certain.
func (s *Source) datacenters(ctx context.Context, r *report) error {
	var list []string
	if _, err := s.client.ask(ctx, question{path: "/v1/catalog/datacenters"}, &list); err != nil {
		return err
	}
	if len(list) == 0 {
		return errors.New("it knows no datacenter, not even its own")
	}
	own := list[0]
	var self agentSelf
	if _, err := s.client.ask(ctx, question{path: "/v1/agent/self"}, &self); err == nil && self.Config.Datacenter != "" {
		own = self.Config.Datacenter
	}
	r.own = own
	if slices.Contains(s.o.Datacenters, AllDatacenters) {
		r.datacenters = list[:min(len(list), maxDatacenters)]
	}
	return nil
}

// pause waits; it reports false where ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
