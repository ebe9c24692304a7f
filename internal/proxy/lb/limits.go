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
// there are none, so that those that come count what was begun before.
//
// The mesh transport carries many requests on one connection, so that "maxConnections" taken by the letter would
// limit nothing. What users mean by it is how much an endpoint has to do at once, which is what it means without the
// mesh: an HTTP/1.1 request in flight counts as one connection, as does an opaque connection. HTTP/2 requests share
// connections and are held to maxRequests alone.
type Limits struct {
	connections, requests atomic.Int64
	limited               atomic.Bool
	queued                atomic.Bool // waiting is not empty

	mu      sync.Mutex
	set     LimitSettings   // guarded by mu, as is waiting
	waiting []chan struct{} // in order of arrival; closed when the slot of a connection is handed over
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

// OverflowError says which limit is reached.
type OverflowError struct{ Setting string }

func (e *OverflowError) Error() string {
	return "connectionPool." + e.Setting + " of its DestinationRule is reached"
}

// ErrWaited means that the turn of a request did not come in time.
var ErrWaited = errors.New("the turn of the request did not come in time")

// String is for logs and tests.
func (l *Limits) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("connections %d/%d, waiting %d/%d, requests %d/%d",
		l.connections.Load(), l.set.MaxConnections, len(l.waiting), l.set.MaxPending, l.requests.Load(), l.set.MaxRequests)
}

// Set puts other limits in force. Those who wait are let in as far as the limits allow.
func (l *Limits) Set(s LimitSettings) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set = s
	l.limited.Store(s != LimitSettings{})
	l.admit()
}

// Enter counts something in, or does not and says why: an *OverflowError, ErrWaited, or ctx's. A request waits for its
// turn at most for wait (0 = as long as it takes). Leave counts it out.
func (l *Limits) Enter(ctx context.Context, u Use, wait time.Duration) error {
	if !l.limited.Load() {
		l.count(u, 1)
		return nil
	}
	turn, err := l.enter(u)
	if turn == nil || err != nil {
		return err
	}
	return l.await(ctx, turn, wait)
}

// Leave counts out what was counted in.
func (l *Limits) Leave(u Use) {
	l.count(u, -1)
	if u != Stream && l.queued.Load() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.admit()
	}
}

func (l *Limits) count(u Use, n int64) {
	if u != Connection {
		l.requests.Add(n)
	}
	if u != Stream {
		l.connections.Add(n)
	}
}

// enter counts u in, or gives the channel to wait on.
func (l *Limits) enter(u Use) (turn chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if u != Connection && reached(l.requests.Load(), l.set.MaxRequests) {
		return nil, &OverflowError{"http.http2MaxRequests"}
	}
	switch {
	case u == Stream || len(l.waiting) == 0 && !reached(l.connections.Load(), l.set.MaxConnections):
		l.count(u, 1)
		return nil, nil
	case u == Connection:
		return nil, &OverflowError{"tcp.maxConnections"}
	case reached(int64(len(l.waiting)), l.set.MaxPending):
		return nil, &OverflowError{"http.http1MaxPendingRequests"}
	}
	turn = make(chan struct{})
	l.waiting = append(l.waiting, turn)
	l.requests.Add(1)
	l.queued.Store(true)
	l.admit() // what left before queued was set has not looked
	return turn, nil
}

func reached(n int64, limit uint32) bool { return limit > 0 && n >= int64(limit) }

// admit lets in as many as the limits allow, those who wait longest first; mu is held.
func (l *Limits) admit() {
	for len(l.waiting) > 0 && !reached(l.connections.Load(), l.set.MaxConnections) {
		l.connections.Add(1)
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
