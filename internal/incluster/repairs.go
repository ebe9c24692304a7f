package incluster

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// maxRepairs is how many repairs are under way at once.
	maxRepairs = 8
	// firstRepair is the pause before the second repair of one object; it doubles up to lastRepair with each further
	// one, until nothing had to be done for calm. Two parties that disagree about an object thus meet once a minute.
	firstRepair = time.Second
	lastRepair  = time.Minute
	calm        = 10 * time.Minute
)

// repairs brings objects into the state that they should be in: the first time at once, again and again with longer
// and longer pauses. There is one entry per object, whatever happens to it meanwhile.
type repairs struct {
	log *slog.Logger
	// fix repairs one object. It is called from many goroutines, but for one object never twice at once.
	fix func(ctx context.Context, key string) error

	// wake holds one token when something has become due.
	wake chan struct{}

	mu      sync.Mutex
	objects map[string]*repair // guarded by mu
	// cause is the last cause that was logged, empty after a success. Guarded by mu.
	cause string
}

// repair is the state of one object that needed a repair once.
type repair struct {
	wanted bool
	last   time.Time
	pause  time.Duration
	// reason is the last error that was logged.
	reason string
}

func newRepairs(log *slog.Logger, fix func(ctx context.Context, key string) error) *repairs {
	return &repairs{log: log, fix: fix, wake: make(chan struct{}, 1), objects: make(map[string]*repair)}
}

// want asks for a repair.
func (r *repairs) want(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.objects[key]
	if o == nil {
		o = &repair{}
		r.objects[key] = o
	}
	if o.wanted {
		return
	}
	o.wanted = true
	if time.Since(o.last) > calm {
		o.pause = 0
	}
	r.rouse()
}

// wantAnew asks for one at once: what is wanted of the object has changed, so that former repairs say nothing.
func (r *repairs) wantAnew(key string) {
	r.mu.Lock()
	if o := r.objects[key]; o != nil {
		o.pause = 0
	}
	r.mu.Unlock()
	r.want(key)
	r.rouse()
}

// hurry forgets the pauses: what is wanted has changed, so that former repairs say nothing.
func (r *repairs) hurry() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.objects {
		o.pause = 0
	}
	r.rouse()
}

// fine says that nothing has to be done about an object any more.
func (r *repairs) fine(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := r.objects[key]; o != nil {
		o.wanted, o.reason = false, ""
	}
}

// forget removes an object that is gone for good.
func (r *repairs) forget(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.objects, key)
}

func (r *repairs) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run repairs until ctx ends.
func (r *repairs) run(ctx context.Context) {
	for ctx.Err() == nil {
		keys, next := r.due(time.Now())
		if len(keys) > 0 {
			r.batch(ctx, keys)
			continue
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-r.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// due takes objects whose turn it is, at most maxRepairs. Without any it says how long there will be none.
func (r *repairs) due(now time.Time) (keys []string, next time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next = lastRepair
	for key, o := range r.objects {
		if !o.wanted {
			continue
		}
		if wait := o.last.Add(o.pause).Sub(now); wait > 0 {
			next = min(next, wait)
			continue
		}
		o.wanted, o.last = false, now
		o.pause = min(max(2*o.pause, firstRepair), lastRepair)
		if keys = append(keys, key); len(keys) == maxRepairs {
			break
		}
	}
	return keys, next
}

func (r *repairs) batch(ctx context.Context, keys []string) {
	var wg sync.WaitGroup
	for _, key := range keys {
		wg.Go(func() { r.done(ctx, key, r.fix(ctx, key)) })
	}
	wg.Wait()
}

// done has an object tried again after an error. A reason is logged once per object, and a cause that keeps many
// objects from being repaired, such as a missing permission, once for all of them.
func (r *repairs) done(ctx context.Context, key string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.cause = ""
		return
	}
	o := r.objects[key]
	if o == nil || ctx.Err() != nil { // gone meanwhile, or this run is over
		return
	}
	o.wanted = true
	reason, cause := timeless(err.Error()), timeless(causeOf(err))
	if reason == o.reason || cause == r.cause {
		return
	}
	o.reason, r.cause = reason, cause
	r.log.LogAttrs(ctx, slog.LevelError, "cannot write to the API server, trying again", slog.Any("error", err))
}
