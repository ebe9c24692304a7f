package kube

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
)

// The pause after a list or watch that failed doubles from one to the other.
const (
	minPause = time.Second
	maxPause = 30 * time.Second
)

// observer follows a collection and keeps nothing of it. Its functions are called from one goroutine.
type observer[T runtime.Object] struct {
	// replace gets all objects: first of all, and whenever changes may have been missed.
	replace func([]T)
	// set gets a new or changed object, gone one that was deleted.
	set, gone func(T)
}

// follow lists and watches until ctx ends. What keeps it from doing so is logged, each reason once in a row.
func (o observer[T]) follow(ctx context.Context, log *slog.Logger, lw *cache.ListWatch, example T) {
	reflector := cache.NewReflectorWithOptions(lw, example, observed[T]{o}, cache.ReflectorOptions{Name: "fairlead"})
	again := retry{say: func(ctx context.Context, err error) {
		log.LogAttrs(ctx, slog.LevelError, "cannot follow objects of the API server, trying again", slog.Any("error", err))
	}}
	for ctx.Err() == nil {
		begun := time.Now()
		err := reflector.ListAndWatchWithContext(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil && time.Since(begun) > maxPause { // a watch ends in order every few minutes
			again.reset()
			continue
		}
		if err != nil {
			again.report(ctx, err)
		}
		if !again.pause(ctx) {
			return
		}
	}
}

// observed is an observer in the form that a reflector writes to.
type observed[T runtime.Object] struct{ o observer[T] }

func (s observed[T]) Add(obj any) error { return s.Update(obj) }
func (s observed[T]) Resync() error     { return nil }

func (s observed[T]) Update(obj any) error {
	call(s.o.set, obj)
	return nil
}

func (s observed[T]) Delete(obj any) error {
	call(s.o.gone, obj)
	return nil
}

func (s observed[T]) Replace(objs []any, _ string) error {
	list := make([]T, 0, len(objs))
	for _, obj := range objs {
		if t, ok := obj.(T); ok {
			list = append(list, t)
		}
	}
	s.o.replace(list)
	return nil
}

// call passes an object of the expected kind on; the reflector has reported any other.
func call[T runtime.Object](f func(T), obj any) {
	if t, ok := obj.(T); ok {
		f(t)
	}
}

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
