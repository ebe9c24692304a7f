package kube

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/apiserver"
	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
)

// timing is how long things take; tests have less time.
type timing struct {
	first, most time.Duration // between attempts, at first and at most
	brief       time.Duration // a watch too short to be one, if nothing came
	denied      time.Duration // how long to hope that a custom kind will be allowed, before it counts as empty
	discovery   time.Duration // between looks for custom kinds
}

func defaultTiming() timing {
	return timing{
		first: 500 * time.Millisecond, most: 10 * time.Second, brief: time.Second,
		denied: 3 * time.Second, discovery: 5 * time.Second,
	}
}

// follower keeps track of the objects of one kind. Only the goroutine of follow or clear touches its state.
type follower struct {
	kind *config.Kind
	// spare is set for what the rest goes on without where it is forbidden.
	spare  bool
	client *apiserver.Client
	out    *outbox
	health *health
	log    *slog.Logger
	timing timing
	// missing is called when a kind that should be there is not found.
	missing func()
	// only is the object that is followed of a ByName kind.
	only model.Key
	// named follows what the objects name.
	named *named

	known map[model.Key]seen
	round uint64    // counts lists
	began time.Time // when the last list did
}

// seen is what is kept of an object.
type seen struct {
	version string // resourceVersion
	round   uint64 // list in which it last was
}

// follow lists and watches the kind in one API version until ctx ends.
func (f *follower) follow(ctx context.Context, version string) {
	loop := apiserver.Follower{Client: f.client, Collection: collection(f.kind, version, f.only), Sink: sink{ctx, f}, Brief: f.timing.brief}
	pause := pause{timing: f.timing}
	for ctx.Err() == nil {
		start, resumed := time.Now(), loop.Resumes()
		verb, err := loop.Turn(ctx)
		if err == nil {
			pause.reset()
			continue
		}
		if ctx.Err() != nil {
			return
		}
		// It worked until now, or the server is back and remembers nothing from before.
		if time.Since(start) > f.timing.most || resumed && apiserver.Expired(err) {
			pause.reset()
		}
		f.failed(ctx, verb, err)
		if f.mayBeMissing(err) && pause.since() >= f.timing.denied {
			f.out.listed(f.subject())
		}
		pause.wait(ctx)
	}
}

// mayBeMissing reports whether the rest goes on without what cannot be read: a custom kind that is forbidden, what only says more
// of the pods of another cluster, whose account may be of a time when it was not read, and one object alone that the server
// answers about.
func (f *follower) mayBeMissing(err error) bool {
	if f.spare {
		return apierrors.IsForbidden(err)
	}
	switch f.kind.Form {
	case config.Custom:
		return apierrors.IsForbidden(err)
	case config.ByName:
		return !apiserver.Unavailable(err)
	case config.Whole, config.MetadataOnly, config.FilesOnly:
	}
	return false
}

// subject says what is followed.
func (f *follower) subject() subject { return subject{f.kind, f.only} }

// failed draws the conclusions from an error.
func (f *follower) failed(ctx context.Context, verb string, err error) {
	switch {
	case verb == "watch" && apiserver.Expired(err):
		f.log.LogAttrs(ctx, slog.LevelDebug, "listing anew", slog.String("kind", f.kind.Name), slog.Any("error", err))
	case f.kind.Form == config.Custom && apierrors.IsNotFound(err):
		f.missing()
	case strings.HasSuffix(f.only.Name, model.CASecretSuffix) && apierrors.IsForbidden(err):
		// It need not be there, and whoever allows the one Secret that is named has done enough.
	default:
		f.health.fail(ctx, f.subject(), verb, err)
	}
}

// sink hands what the loop of list and watch sees to the follower, as long as ctx lasts.
type sink struct {
	ctx context.Context //nolint:containedctx // of follow, for the log
	f   *follower
}

// Decode implements apiserver.Sink.
func (s sink) Decode(raw apiserver.Raw) (metav1.Object, error) { return decode(s.f.kind, raw) } //nolint:ireturn // as the interface demands

// Begin implements apiserver.Sink.
func (s sink) Begin() {
	s.f.round++
	s.f.began = time.Now()
}

// Set implements apiserver.Sink.
func (s sink) Set(o metav1.Object) { s.f.take(o) }

// Gone implements apiserver.Sink.
func (s sink) Gone(o metav1.Object) { s.f.remove(keyOf(o)) }

// Listed implements apiserver.Sink: it removes what is known and was not in the list.
func (s sink) Listed() {
	f := s.f
	for key, seen := range f.known {
		if seen.round != f.round {
			f.remove(key)
		}
	}
	f.health.ok(s.ctx, f.subject())
	f.out.listed(f.subject())
	f.log.LogAttrs(s.ctx, slog.LevelDebug, "listed", slog.String("kind", f.kind.Name),
		slog.Int("objects", len(f.known)), slog.Duration("took", time.Since(f.began)))
}

// Watching implements apiserver.Sink.
func (s sink) Watching() { s.f.health.ok(s.ctx, s.f.subject()) }

// take hands on an object, unless this version of it was handed on before.
func (f *follower) take(o metav1.Object) {
	key := keyOf(o)
	s := seen{version: o.GetResourceVersion(), round: f.round}
	before, known := f.known[key]
	f.known[key] = s
	if known && before.version == s.version {
		return
	}
	ref := model.Ref{Kind: f.kind.Name, Key: key}
	value, err := read(f.kind, o)
	if err != nil {
		f.out.refuse(ref, problemsOf(ref, err))
		return
	}
	f.out.put(ref, value, f.names(ref, value))
}

func (f *follower) remove(key model.Key) {
	if _, known := f.known[key]; !known {
		return
	}
	delete(f.known, key)
	ref := model.Ref{Kind: f.kind.Name, Key: key}
	if f.named != nil && f.kind.Needs != nil {
		f.named.need(ref, nil)
	}
	f.out.remove(ref)
}

// clear removes everything: the kind does not exist, or nothing names the object any more.
func (f *follower) clear(ctx context.Context) {
	for key := range f.known {
		f.remove(key)
	}
	f.health.ok(ctx, f.subject())
	f.out.listed(f.subject())
}

func keyOf(about metav1.Object) model.Key {
	return model.Key{Namespace: about.GetNamespace(), Name: about.GetName()}
}

// pause is the time between attempts. It doubles with each, and varies so that the followers of all controllers do
// not come at once.
type pause struct {
	timing timing
	next   time.Duration
	began  time.Time
}

func (p *pause) reset() { p.next, p.began = 0, time.Time{} }

// since gives how long attempts have been failing.
func (p *pause) since() time.Duration {
	if p.began.IsZero() {
		return 0
	}
	return time.Since(p.began)
}

// wait waits for the next attempt or the end of ctx.
func (p *pause) wait(ctx context.Context) {
	if p.began.IsZero() {
		p.began, p.next = time.Now(), p.timing.first
	}
	timer := time.NewTimer(p.next/2 + rand.N(p.next/2+1)) //nolint:gosec // nothing is gained by guessing it
	defer timer.Stop()
	p.next = min(2*p.next, p.timing.most)
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
