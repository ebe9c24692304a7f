package lb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Limits hold a group to the connectionPool settings of its DestinationRule. What is in flight is counted also where
// there are none, so that those that come count what was begun before. A call that need not wait takes no lock.
//
// The mesh transport carries many requests on one connection, so that "maxConnections" taken by the letter would
// limit nothing. What users mean by it is how much an endpoint has to do at once, which is what it means without the
// mesh: an HTTP/1.1 request in flight counts as one connection, as does an opaque connection. HTTP/2 requests share
// connections and are held to maxRequests alone.
type Limits struct {
	connections, requests atomic.Int64
	set                   atomic.Pointer[LimitSettings] // nil where there are none
	queued                atomic.Bool                   // waiting is not empty
	overflows             [limitNames]atomic.Uint64

	mu      sync.Mutex
	waiting []chan struct{} // guarded by mu; in order of arrival; closed when the slot of a connection is handed over
}

// LimitSettings are the settings; 0 = unlimited.
type LimitSettings struct{ MaxConnections, MaxPending, MaxRequests uint32 }

// Use is what something in flight counts as.
type Use uint8

const (
	// Connection is an opaque connection. It does not wait.
	Connection Use = iota + 1
	// Request is one of HTTP/1.1, which has a connection to itself and waits for it.
	Request
	// Stream is a request of HTTP/2, which shares connections.
	Stream
)

// limitName is a setting, as an index.
type limitName uint8

const (
	maxConnections limitName = iota
	maxPending
	maxRequests
	limitNames
)

// String gives the path of the setting below connectionPool.
func (n limitName) String() string {
	switch n {
	case maxConnections:
		return "tcp.maxConnections"
	case maxPending:
		return "http.http1MaxPendingRequests"
	case maxRequests:
		return "http.http2MaxRequests"
	case limitNames:
	}
	return "unknown"
}

// of gives the value of the setting, 0 for no limit.
func (s *LimitSettings) of(n limitName) uint32 {
	if s == nil {
		return 0
	}
	return [limitNames]uint32{s.MaxConnections, s.MaxPending, s.MaxRequests}[n]
}

// OverflowError says which limit is reached.
type OverflowError struct{ Setting string }

func (e *OverflowError) Error() string {
	return "connectionPool." + e.Setting + " of its DestinationRule is reached"
}

// ErrWaited means that the turn of a request did not come in time.
var ErrWaited = errors.New("the turn of the request did not come in time")

// String is for logs and tests.
func (l *Limits) String() string {
	set := l.set.Load()
	return fmt.Sprintf("connections %d/%d, waiting %d/%d, requests %d/%d", l.inUse(maxConnections), set.of(maxConnections),
		l.inUse(maxPending), set.of(maxPending), l.inUse(maxRequests), set.of(maxRequests))
}

// LimitUse is how much of a limit is used.
type LimitUse struct {
	// Setting is its path below connectionPool.
	Setting string
	Limit   uint32
	InUse   int64
	// Overflows counts what was turned away.
	Overflows uint64
}

// Uses lists the limits that are set.
func (l *Limits) Uses() []LimitUse {
	set := l.set.Load()
	var out []LimitUse
	for n := range limitNames {
		if limit := set.of(n); limit > 0 {
			out = append(out, LimitUse{Setting: n.String(), Limit: limit, InUse: l.inUse(n), Overflows: l.overflows[n].Load()})
		}
	}
	return out
}

// Requests is how many requests are under way, those that wait for their turn among them.
func (l *Limits) Requests() int64 { return l.requests.Load() }

// Connections is how many connections are in use, as maxConnections counts them: those that are opaque, and requests of HTTP/1.1.
func (l *Limits) Connections() int64 { return l.connections.Load() }

func (l *Limits) inUse(n limitName) int64 {
	switch n {
	case maxConnections:
		return l.connections.Load()
	case maxRequests:
		return l.requests.Load()
	case maxPending, limitNames:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.waiting))
}

// Set puts other limits in force. Those who wait are let in as far as the limits allow.
func (l *Limits) Set(s LimitSettings) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s == (LimitSettings{}) {
		l.set.Store(nil)
	} else {
		l.set.Store(&s)
	}
	l.admit()
}

// Enter counts something in, or does not and says why: an *OverflowError, ErrWaited, or ctx's. A request waits for its
// turn at most for wait (0 = as long as it takes). Leave counts it out.
func (l *Limits) Enter(ctx context.Context, u Use, wait time.Duration) error {
	set := l.set.Load()
	switch u {
	case Connection:
		if l.queued.Load() || !take(&l.connections, set.of(maxConnections)) {
			return l.overflow(maxConnections)
		}
	case Request, Stream:
		if !take(&l.requests, set.of(maxRequests)) {
			return l.overflow(maxRequests)
		}
		if u == Request && (l.queued.Load() || !take(&l.connections, set.of(maxConnections))) {
			return l.queue(ctx, wait)
		}
	}
	return nil
}

// take counts one in unless the limit is reached.
func take(n *atomic.Int64, limit uint32) bool {
	if limit == 0 {
		n.Add(1)
		return true
	}
	for {
		now := n.Load()
		if now >= int64(limit) {
			return false
		}
		if n.CompareAndSwap(now, now+1) {
			return true
		}
	}
}

func (l *Limits) overflow(n limitName) error {
	l.overflows[n].Add(1)
	return &OverflowError{n.String()}
}

// Leave counts out what was counted in.
func (l *Limits) Leave(u Use) {
	switch u {
	case Stream:
		l.requests.Add(-1)
		return
	case Request:
		l.requests.Add(-1)
	case Connection:
	}
	l.connections.Add(-1)
	if l.queued.Load() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.admit()
	}
}

// queue has a request that is counted in wait for its connection, where there is room to wait.
func (l *Limits) queue(ctx context.Context, wait time.Duration) error {
	turn, err := l.join()
	if turn == nil || err != nil {
		return err
	}
	return l.await(ctx, turn, wait)
}

// join gives the channel to wait on, nil where the request is let in.
func (l *Limits) join() (turn chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	set := l.set.Load()
	if len(l.waiting) == 0 && take(&l.connections, set.of(maxConnections)) {
		return nil, nil
	}
	if limit := set.of(maxPending); limit > 0 && len(l.waiting) >= int(limit) {
		l.requests.Add(-1)
		return nil, l.overflow(maxPending)
	}
	turn = make(chan struct{})
	l.waiting = append(l.waiting, turn)
	l.queued.Store(true)
	l.admit() // what left before queued was set has not looked
	return turn, nil
}

// admit lets in as many as the limits allow, those who wait longest first; mu is held.
func (l *Limits) admit() {
	limit := l.set.Load().of(maxConnections)
	for len(l.waiting) > 0 && take(&l.connections, limit) {
		close(l.waiting[0])
		l.waiting = slices.Delete(l.waiting, 0, 1)
	}
	l.queued.Store(len(l.waiting) > 0)
}

func (l *Limits) await(ctx context.Context, turn chan struct{}, wait time.Duration) error {
	var late <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		late = t.C
	}
	var err error
	select {
	case <-turn:
		return nil
	case <-late:
		err = ErrWaited
	case <-ctx.Done():
		err = ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.waiting, turn); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
		l.queued.Store(len(l.waiting) > 0)
		l.requests.Add(-1)
		return err
	}
	return nil // the turn came at the last moment
}
