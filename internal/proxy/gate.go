package proxy

import (
	"context"
	"slices"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
)

// gate holds a backend to the connectionPool settings of its DestinationRule. Backends without any have none.
//
// The mesh transport carries many requests on one connection, so that "maxConnections" taken by the letter would
// limit nothing. What users mean by it is how much an endpoint has to do at once, which is what it means without the
// mesh: an HTTP/1.1 request in flight counts as one connection, as does an opaque connection. HTTP/2 requests share
// connections and are held to maxRequests alone.
type gate struct {
	object string
	users  int // backends of this name, guarded by the table's mu

	mu          sync.Mutex
	limits      gateLimits // guarded by mu, as everything below
	connections uint32
	requests    uint32
	waiting     []chan struct{} // in order of arrival; closed when the slot of a connection is handed over
}

// gateLimits are the settings; 0 = unlimited.
type gateLimits struct{ maxConnections, maxPending, maxRequests uint32 }

// gateOf gives the gate of a backend, nil where there are no limits. Backends of one name share it, before and after a
// change of the limits: what is in flight counts.
func (t *table) gateOf(b *plan.Backend) *gate {
	limits := gateLimits{b.MaxConnections, b.MaxPendingRequests, b.MaxRequests}
	limited := b.MaxConnections > 0 || b.MaxRequests > 0
	g := t.gates[b.Name]
	switch {
	case g != nil:
		g.set(limits)
	case limited:
		g = &gate{object: b.Name, limits: limits}
		t.gates[b.Name] = g
	}
	if !limited {
		return nil
	}
	g.users++
	return g
}

// leaveGate lets go of a backend's gate.
func (t *table) leaveGate(b *backend) {
	if b.gate == nil {
		return
	}
	b.gate.users--
	if b.gate.users == 0 {
		delete(t.gates, b.plan.Name)
	}
}

// set puts other limits in force. Who waits is let in as far as they allow.
func (g *gate) set(limits gateLimits) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limits = limits
	for len(g.waiting) > 0 && g.hasRoom() {
		g.connections++
		g.next()
	}
}

// hasRoom reports whether another connection is allowed; mu is held.
func (g *gate) hasRoom() bool {
	return g.limits.maxConnections == 0 || g.connections < g.limits.maxConnections
}

// next lets in whoever waits longest; mu is held.
func (g *gate) next() {
	close(g.waiting[0])
	g.waiting = slices.Delete(g.waiting, 0, 1)
}

func (g *gate) overflow(setting string) error {
	return &httpx.Error{Kind: httpx.Overflow, Object: g.object, Detail: "connectionPool." + setting + " of its DestinationRule is reached"}
}

// connection admits an opaque connection, or not; leave counts it out.
func (g *gate) connection() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.hasRoom() {
		return g.overflow("tcp.maxConnections")
	}
	g.connections++
	return nil
}

// request admits a request, waiting for its turn at most for wait (0 = as long as it takes). done counts it out.
func (g *gate) request(ctx context.Context, v httpx.Version, wait time.Duration) error {
	g.mu.Lock()
	if limit := g.limits.maxRequests; limit > 0 && g.requests >= limit {
		g.mu.Unlock()
		return g.overflow("http.http2MaxRequests")
	}
	g.requests++
	if v == httpx.HTTP2 {
		g.mu.Unlock()
		return nil
	}
	if g.hasRoom() {
		g.connections++
		g.mu.Unlock()
		return nil
	}
	if limit := g.limits.maxPending; limit > 0 && uint32(len(g.waiting)) >= limit {
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

// release hands a connection's slot to whoever waits longest, if the limits of now allow as many; mu is held.
func (g *gate) release() {
	g.connections--
	if len(g.waiting) > 0 && g.hasRoom() {
		g.connections++
		g.next()
	}
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
