package spiffebundle

import (
	"context"
	"net/http"
	"sync"
	"time"
)

const (
	// MinRefresh is the least time between two questions, whatever an endpoint wishes.
	MinRefresh = time.Minute
	// DefaultRefresh is for endpoints that wish for nothing, and the longest time until one is asked again that did not answer.
	DefaultRefresh = 5 * time.Minute
	// MaxRefresh is the longest time between two questions.
	MaxRefresh = 24 * time.Hour

	// firstRetry is the time until an endpoint is asked again that has never answered; it doubles.
	firstRetry = 5 * time.Second

	// tellPause is the least time between two faults that are told of, without a good answer between.
	tellPause = time.Hour
)

// FollowerOptions configure a Follower. All are required.
type FollowerOptions struct {
	// URL is where the bundle is.
	URL string
	// Client gives the client of NewClient, for each question anew: whose certificates it believes may change.
	Client func() (*http.Client, error)
	// Use takes a bundle that was read; what it refuses counts as a fault of the endpoint.
	Use func(Bundle) error
	// Tell is told when a fault begins, of another one that follows it at most once an hour, for some name a port or the time, and, by
	// nil, when there is none any more.
	Tell func(fault error)
}

// Follower keeps one bundle fresh.
type Follower struct {
	o       FollowerOptions
	settled chan struct{}
	// What Tell was told last, and when of a fault; Run's.
	said string
	told time.Time

	mu     sync.Mutex // guards what follows
	status Status
}

// Status is how it stands with a bundle.
type Status struct {
	Fetched  time.Time // when it was last read; zero for never
	Roots    int       // those of it that are in use
	Failures uint64    // questions without a usable answer
	Fault    string    // of the last one; empty where it had a usable answer, or there was none yet
}

// NewFollower gives a follower that asks nothing yet.
func NewFollower(o FollowerOptions) *Follower {
	return &Follower{o: o, settled: make(chan struct{})}
}

// Settled is closed when the first question is over, however it went.
func (f *Follower) Settled() <-chan struct{} { return f.settled }

// Status says how it stands.
func (f *Follower) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// Run asks until ctx ends. It is called once. An endpoint that is away, stalls or says what is no bundle changes nothing of what Use took
// before, however long that lasts: to end it is to take the bundle out of the configuration.
func (f *Follower) Run(ctx context.Context) {
	retry := firstRetry
	for first := true; ; first = false {
		pause, err := f.ask(ctx)
		if ctx.Err() != nil {
			return // no fault of the endpoint
		}
		f.note(err)
		if first {
			close(f.settled)
		}
		if err != nil {
			if pause, retry = retry, min(2*retry, DefaultRefresh); !f.Status().Fetched.IsZero() {
				pause = max(MinRefresh, pause)
			}
		} else {
			retry = firstRetry
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// ask asks once, and says how long what it was told is good for.
func (f *Follower) ask(ctx context.Context) (time.Duration, error) {
	client, err := f.o.Client()
	if err != nil {
		return 0, err
	}
	text, err := Fetch(ctx, f.o.URL, client)
	if err != nil {
		return 0, err
	}
	b, err := Parse(text)
	if err != nil {
		return 0, err
	}
	if err := f.o.Use(b); err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Fetched, f.status.Roots = time.Now(), len(b.Roots)
	if b.RefreshHint == 0 {
		return DefaultRefresh, nil
	}
	return min(max(b.RefreshHint, MinRefresh), MaxRefresh), nil
}

// note keeps how a question went.
func (f *Follower) note(err error) {
	f.mu.Lock()
	f.status.Fault = ""
	if err != nil {
		f.status.Failures++
		f.status.Fault = err.Error()
	}
	now := f.status.Fault
	f.mu.Unlock()
	switch {
	case now == f.said, now != "" && f.said != "" && time.Since(f.told) < tellPause:
		return
	case now != "":
		f.told = time.Now()
	}
	f.said = now
	f.o.Tell(err)
}
