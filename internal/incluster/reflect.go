package incluster

import (
	"context"
	"log/slog"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/apiserver"
)

// The pause after a list or watch that failed doubles from one to the other.
const (
	minPause = time.Second
	maxPause = 30 * time.Second
)

// brief is the time in which a watch that ends without an event is too short to be one.
const brief = time.Second

// observer follows a collection and keeps nothing of it. Its functions are called from one goroutine.
type observer[T metav1.Object] struct {
	// empty makes an object to decode into.
	empty func() T
	// replace gets all objects: first of all, and whenever changes may have been missed.
	replace func([]T)
	// set gets a new or changed object, gone one that was deleted.
	set, gone func(T)
}

// follow lists and watches a collection, or with a name the one object in it, until ctx ends. What keeps it from doing so is
// logged, each reason once in a row.
func (o observer[T]) follow(ctx context.Context, log *slog.Logger, c *Client, t target) {
	_, onlyMetadata := any(o.empty()).(*metav1.PartialObjectMetadata)
	loop := apiserver.Follower{
		Client: c.client(t), Sink: &observed[T]{observer: o}, Brief: brief,
		Collection: apiserver.Collection{Path: t.collection().path(), Selector: t.selector(), Labels: t.labels, MetadataOnly: onlyMetadata},
	}
	again := retry{say: func(ctx context.Context, err error) {
		log.LogAttrs(ctx, slog.LevelError, "cannot follow objects of the API server, trying again", slog.Any("error", err))
	}}
	for ctx.Err() == nil {
		verb, err := loop.Turn(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil { // a watch ends in order every few minutes
			again.reset()
			continue
		}
		if !apiserver.Expired(err) {
			again.report(ctx, explain(err, verb, t))
		}
		if !again.pause(ctx) {
			return
		}
	}
}

// observed is an observer in the form that a loop of list and watch writes to.
type observed[T metav1.Object] struct {
	observer[T]

	listing bool
	list    []T
}

// Decode implements apiserver.Sink.
func (s *observed[T]) Decode(raw apiserver.Raw) (metav1.Object, error) { //nolint:ireturn // as the interface demands
	o := s.empty()
	return o, raw.Into(o)
}

// Begin implements apiserver.Sink.
func (s *observed[T]) Begin() { s.listing, s.list = true, nil }

// Set implements apiserver.Sink.
func (s *observed[T]) Set(o metav1.Object) {
	t, ok := o.(T)
	switch {
	case !ok: // Decode makes no other
	case s.listing:
		s.list = append(s.list, t)
	default:
		s.set(t)
	}
}

// Gone implements apiserver.Sink.
func (s *observed[T]) Gone(o metav1.Object) {
	if t, ok := o.(T); ok {
		s.gone(t)
	}
}

// Listed implements apiserver.Sink.
func (s *observed[T]) Listed() {
	list := s.list
	s.listing, s.list = false, nil
	s.replace(list)
}

// Watching implements apiserver.Sink.
func (s *observed[T]) Watching() {}

// retry paces attempts and says why they fail: a reason once in a row, not once per attempt.
type retry struct {
	say func(ctx context.Context, err error)

	next time.Duration
	last string
}

func (r *retry) reset() { r.next, r.last = 0, "" }

func (r *retry) report(ctx context.Context, err error) {
	if reason := timeless(err.Error()); reason != r.last {
		r.last = reason
		r.say(ctx, err)
	}
}

// timeless removes what differs each time from an error: times, ports, counts.
func timeless(text string) string {
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, text)
}

// pause waits longer each time; false means that ctx ended.
func (r *retry) pause(ctx context.Context) bool {
	r.next = min(max(2*r.next, minPause), maxPause)
	return sleep(ctx, r.next)
}

// sleep waits; false means that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
