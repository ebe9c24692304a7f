package proxy

import (
	"context"
	"slices"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/httpx"
)

// gate holds a backend to the connectionPool settings of its DestinationRule. Backends without any have none.
//
// The mesh transport carries many requests on one connection, so that "maxConnections" taken by the letter would
// limit nothing. What users mean by it is how much an endpoint has to do at once, which is what it means without the
// mesh: an HTTP/1.1 request in flight counts as one connection, as does an opaque connection. HTTP/2 requests share
// connections and are held to maxRequests alone.
type gate struct {
	maxConnections, maxPending, maxRequests uint32 // 0 = unlimited
	object                                  string

	mu          sync.Mutex
	connections uint32
	requests    uint32
	waiting     []chan struct{} // in order of arrival; closed when the slot of a connection is handed over
}

func newGate(b *plan.Backend) *gate {
	if b.MaxConnections == 0 && b.MaxRequests == 0 {
		return nil
	}
	return &gate{maxConnections: b.MaxConnections, maxPending: b.MaxPendingRequests, maxRequests: b.MaxRequests, object: b.Name}
}

func (g *gate) overflow(setting string) error {
	return &httpx.Error{Kind: httpx.Overflow, Object: g.object, Detail: "connectionPool." + setting + " of its DestinationRule is reached"}
}

// connection admits an opaque connection, or not; leave counts it out.
func (g *gate) connection() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.maxConnections > 0 && g.connections >= g.maxConnections {
		return g.overflow("tcp.maxConnections")
	}
	g.connections++
	return nil
}

// request admits a request, waiting for its turn at most for wait (0 = as long as it takes). done counts it out.
func (g *gate) request(ctx context.Context, v httpx.Version, wait time.Duration) error {
	g.mu.Lock()
	if g.maxRequests > 0 && g.requests >= g.maxRequests {
		g.mu.Unlock()
		return g.overflow("http.http2MaxRequests")
	}
	g.requests++
	if v == httpx.HTTP2 {
		g.mu.Unlock()
		return nil
	}
	if g.maxConnections == 0 || g.connections < g.maxConnections {
		g.connections++
		g.mu.Unlock()
		return nil
	}
	if g.maxPending > 0 && uint32(len(g.waiting)) >= g.maxPending {
		g.requests--
		g.mu.Unlock()
		return g.overflow("http.http1MaxPendingRequests")
	}
	turn := make(chan struct{})
	g.waiting = append(g.waiting, turn)
	g.mu.Unlock()
	return g.await(ctx, turn, wait)
}

func (g *gate) await(ctx context.Context, turn chan struct{}, wait time.Duration) error {
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
		err = errTimeout
	case <-ctx.Done():
		err = ctx.Err()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.waiting, turn); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
		g.requests--
		return err
	}
	return nil // the turn came at the last moment
}

// done counts a request out.
func (g *gate) done(v httpx.Version) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.requests--
	if v != httpx.HTTP2 {
		g.release()
	}
}

// leave counts an opaque connection out.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.release()
}

// release hands a connection's slot to whoever waits longest; mu is held.
func (g *gate) release() {
	if len(g.waiting) == 0 {
		g.connections--
		return
	}
	close(g.waiting[0])
	g.waiting = slices.Delete(g.waiting, 0, 1)
}

// admitted tries the request within the limits of its backend.
func (r *requester) admitted(ctx context.Context, down httpx.ServerExchange) error {
	g := r.backend.gate
	if g == nil {
		return r.try(ctx, down)
	}
	version := down.Request().Version
	var wait time.Duration
	if t := r.route.Plan.Timeout; t > 0 {
		wait = max(t-time.Since(r.start), time.Nanosecond)
	}
	if err := g.request(ctx, version, wait); err != nil {
		return err
	}
	defer g.done(version)
	return r.try(ctx, down)
}
