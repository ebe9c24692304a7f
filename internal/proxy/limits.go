package proxy

import (
	"context"
	"errors"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/lb"
)

// heldGroup is an lb.Group and how many backends have it.
type heldGroup struct {
	*lb.Group

	users int
}

// groupOf gives the group of a backend, and holds it until leaveGroup. Backends of one name share it, before and after a
// change of the configuration: what is in flight counts.
func (t *table) groupOf(b *plan.Backend) *lb.Group {
	g := t.groups[b.Name]
	if g == nil {
		g = &heldGroup{Group: lb.NewGroup(b.Name)}
		t.groups[b.Name] = g
	}
	g.Limits().Set(lb.LimitSettings{MaxConnections: b.MaxConnections, MaxPending: b.MaxPendingRequests, MaxRequests: b.MaxRequests})
	g.users++
	return g.Group
}

// leaveGroup lets go of a backend's group.
func (t *table) leaveGroup(b *backend) {
	g := t.groups[b.plan.Name]
	g.users--
	if g.users == 0 {
		delete(t.groups, b.plan.Name)
	}
}

// admitted tries the request within the limits of its backend.
func (r *requester) admitted(ctx context.Context, down httpx.ServerExchange) error {
	use := lb.Request
	if down.Request().Version == httpx.HTTP2 {
		use = lb.Stream
	}
	var wait time.Duration
	if t := r.route.Plan.Timeout; t > 0 {
		wait = max(t-time.Since(r.start), time.Nanosecond)
	}
	limits := r.backend.group.Limits()
	if err := limits.Enter(ctx, use, wait); err != nil {
		return limitError(r.backend, err)
	}
	defer limits.Leave(use)
	return r.try(ctx, down)
}

// limitError is what the client is told where the limits of a backend do not let its call in.
func limitError(b *backend, err error) error {
	var full *lb.OverflowError
	switch {
	case errors.As(err, &full):
		return &httpx.Error{Kind: httpx.Overflow, Object: b.plan.Name, Detail: full.Error()}
	case errors.Is(err, lb.ErrWaited):
		return errTimeout
	}
	return err
}

// failureOutcome is what a try that failed before its answer says of the endpoint. Connections that ended before anything was
// written, and requests that the peer gave back, are how a healthy server goes away.
func failureOutcome(err error) lb.OutcomeKind {
	if errors.Is(err, errTimeout) {
		return lb.TimedOut
	}
	failed := asTry(err)
	if failed == nil {
		return lb.Unknown
	}
	switch failed.failure {
	case notConnected:
		return lb.Refused
	case resetEarly:
		return lb.Reset
	case tryTimeout:
		return lb.TimedOut
	case unsent, disowned, badStatus, badGRPC, final:
	}
	return lb.Unknown
}

// isCut reports whether the endpoint broke off in the middle of its answer.
func isCut(err error) bool {
	var e *httpx.Error
	return errors.As(err, &e) && e.Kind == httpx.UpstreamCut
}
