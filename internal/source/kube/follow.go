package kube

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
)

const (
	// A watch is renewed after watchTime to twice that, as Kubernetes' own clients do: it frees servers of watches
	// that nobody reads, and spreads them over several servers. watchGrace later it is given up by this side.
	watchTime  = 5 * time.Minute
	watchGrace = 30 * time.Second
)

var (
	// errBrief is the error of a watch that the server accepts and closes again.
	errBrief = errors.New("the watch broke off as soon as it began")
	// errNoVersion is the error of an answer that is no list: every list has a version. An empty one of which that
	// is not sure would delete everything.
	errNoVersion = errors.New("the answer is no list: it has no resourceVersion")
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
	kind   *config.Kind
	api    *api
	out    *outbox
	health *health
	log    *slog.Logger
	timing timing
	// missing is called when a kind that should be there is not found.
	missing func()

	known  map[model.Key]seen
	round  uint64 // counts lists
	resume string // the resourceVersion to watch from; "" asks for a list
}

// seen is what is kept of an object.
type seen struct {
	version string // resourceVersion
	round   uint64 // list in which it last was
}

// follow lists and watches the kind in one API version until ctx ends.
func (f *follower) follow(ctx context.Context, version string) {
	f.resume = ""
	pause := pause{timing: f.timing}
	for ctx.Err() == nil {
		start, resumed := time.Now(), f.resume != ""
		verb, err := f.turn(ctx, version)
		if err == nil {
			pause.reset()
			continue
		}
		if ctx.Err() != nil {
			return
		}
		// It worked until now, or the server is back and remembers nothing from before.
		if time.Since(start) > f.timing.most || resumed && expired(err) {
			pause.reset()
		}
		f.failed(ctx, verb, err)
		if f.kind.Form == config.Custom && apierrors.IsForbidden(err) && pause.since() >= f.timing.denied {
			f.out.listed(f.kind.Name)
		}
		pause.wait(ctx)
	}
}

// turn lists if need be, watches until the watch ends, and says which of the two failed.
func (f *follower) turn(ctx context.Context, version string) (verb string, err error) {
	if f.resume == "" {
		if err := f.list(ctx, version); err != nil {
			return "list", err
		}
	}
	return "watch", f.watch(ctx, version)
}

// failed draws the conclusions from an error.
func (f *follower) failed(ctx context.Context, verb string, err error) {
	switch {
	case verb == "watch" && expired(err):
		f.resume = ""
		f.log.LogAttrs(ctx, slog.LevelDebug, "listing anew", slog.String("kind", f.kind.Name), slog.Any("error", err))
	case f.kind.Form == config.Custom && apierrors.IsNotFound(err):
		f.missing()
	default:
		f.health.fail(ctx, f.kind, verb, err)
	}
}

// list reads all objects page by page, and removes those known that are not among them.
func (f *follower) list(ctx context.Context, version string) error {
	start, token := time.Now(), ""
	f.round++
	for {
		page, err := f.api.list(ctx, f.kind, version, token)
		if err != nil {
			return err
		}
		about, err := meta.ListAccessor(page)
		if err != nil {
			return err
		}
		if about.GetResourceVersion() == "" {
			return errNoVersion
		}
		// With copies, because one object that somebody keeps would keep its whole page.
		if err := meta.EachListItemWithAlloc(page, f.take); err != nil {
			return err
		}
		if token = about.GetContinue(); token == "" {
			f.resume = about.GetResourceVersion()
			break
		}
	}
	for key, s := range f.known {
		if s.round != f.round {
			f.remove(key)
		}
	}
	f.health.ok(ctx, f.kind)
	f.out.listed(f.kind.Name)
	f.log.LogAttrs(ctx, slog.LevelDebug, "listed", slog.String("kind", f.kind.Name), slog.String("version", version),
		slog.Int("objects", len(f.known)), slog.Duration("took", time.Since(start)))
	return nil
}

// watch follows changes until the watch ends. Nil means that another one can be begun where it ended.
func (f *follower) watch(ctx context.Context, version string) error {
	most := watchTime + rand.N(watchTime) //nolint:gosec // nobody gains from guessing it
	ctx, cancel := context.WithTimeout(ctx, most+watchGrace)
	defer cancel()
	start := time.Now()
	w, err := f.api.watch(ctx, f.kind, version, f.resume, most)
	if err != nil {
		return err
	}
	defer discard(w)
	select {
	case event, open := <-w.ResultChan():
		if !open { // also what client-go makes of a connection that broke before there was an answer
			return errBrief
		}
		if err := f.event(event); err != nil {
			return err
		}
		start = time.Time{}
	default:
	}
	f.health.ok(ctx, f.kind)
	for event := range w.ResultChan() {
		if err := f.event(event); err != nil {
			return err
		}
		start = time.Time{}
	}
	if time.Since(start) < f.timing.brief {
		return errBrief
	}
	return nil
}

// event takes one event of a watch.
func (f *follower) event(e watch.Event) error {
	if e.Type == watch.Error {
		return apierrors.FromObject(e.Object)
	}
	about, err := meta.Accessor(e.Object)
	if err != nil {
		return err
	}
	switch e.Type {
	case watch.Added, watch.Modified:
		if err := f.take(e.Object); err != nil {
			return err
		}
	case watch.Deleted:
		f.remove(keyOf(about))
	case watch.Bookmark, watch.Error:
	}
	f.resume = about.GetResourceVersion()
	return nil
}

// take hands on an object, unless this version of it was handed on before.
func (f *follower) take(o runtime.Object) error {
	about, err := meta.Accessor(o)
	if err != nil {
		return err
	}
	key := keyOf(about)
	s := seen{version: about.GetResourceVersion(), round: f.round}
	before, known := f.known[key]
	f.known[key] = s
	if known && before.version == s.version {
		return nil
	}
	ref := model.Ref{Kind: f.kind.Name, Key: key}
	value, err := read(f.kind, o)
	if err != nil {
		f.out.refuse(ref, problemsOf(ref, err))
		return nil
	}
	f.out.put(ref, value)
	return nil
}

func (f *follower) remove(key model.Key) {
	if _, known := f.known[key]; !known {
		return
	}
	delete(f.known, key)
	f.out.remove(model.Ref{Kind: f.kind.Name, Key: key})
}

// clear removes everything: the kind does not exist.
func (f *follower) clear(ctx context.Context) {
	for key := range f.known {
		f.remove(key)
	}
	f.health.ok(ctx, f.kind)
	f.out.listed(f.kind.Name)
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
	timer := time.NewTimer(p.next/2 + rand.N(p.next/2+1)) //nolint:gosec // nobody gains from guessing it
	defer timer.Stop()
	p.next = min(2*p.next, p.timing.most)
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
