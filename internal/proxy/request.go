package proxy

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/filter"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/route"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// Fields that the two sidecars of a call exchange. Apps never see them.
const (
	// targetField names what is called, the workload's address and port, and the protocol that its app expects:
	// "10.1.0.7:8080/h1". Who carries the stream on needs to know no more, and it is not only the port because the peer
	// that is dialled need not be the only one behind its address.
	targetField = "x-fairlead-target"
	// errorField marks a response that the peer's sidecar made because it could not get one from the app, and says how
	// far the request got: see markOf.
	errorField = "x-fairlead-error"
)

// requester carries the requests of one client connection (HTTP/1.1) or stream worker (HTTP/2), one at a time.
type requester struct {
	forwarder

	c     *outboundCall
	tried [maxTries + 1]netip.AddrPort
	tries int
	info  lb.Info

	// Of the request at hand.
	state    *directory.Destination // nil where the destination is none any more
	route    *route.Route
	chosen   *route.Backend
	backend  *directory.Backend
	endpoint *directory.Endpoint
	outcome  lb.Outcome     // of the try at hand
	conn     *upstream.Conn // the pooled connection in use, nil on the mesh
	call     filter.Call    // what filters see of it
	targets  []byte         // scratch for targetField
	id       [36]byte
}

// handle carries one request to its end.
func (r *requester) handle(ctx context.Context, down httpx.ServerExchange) {
	r.reset(time.Now())
	r.tries, r.route, r.chosen, r.backend, r.endpoint = 0, nil, nil, nil, nil
	r.guard.enter(down, r.c.o.limits.streamIdle())
	req := down.Request()
	r.call = filter.Call{Start: r.start, Request: req, Response: &r.resp, Client: r.c.remote.Addr(), Copier: r}
	cleanRequest(&req.Fields)
	r.identify(req)
	r.state = r.c.dest.Load()
	if len(req.Authority) == 0 && req.Version == httpx.HTTP10 && r.state != nil {
		// It is sent on as HTTP/1.1, which must name a host (RFC 9112 §3.2): what was dialled.
		req.Authority = []byte(net.JoinHostPort(string(r.state.Plan.Host), portString(r.c.local.Port())))
	}
	err := r.c.o.overload.request()
	if err == nil {
		err = r.normalize(req, r.c.o.self.PathMode())
	}
	if err == nil {
		err = r.carry(ctx, down)
	}
	r.c.o.filters.End(&r.call)
	out := r.conclude(down, err)
	out.Flag = filter.JoinFlags(out.Flag, r.call.Flags)
	p := r.parties()
	r.record(r.c.o.sinks, req, out, &p)
	r.finish(down)
	r.guard.leave()
}

// carry does what the configuration says. An error with r.wrote unset has not been answered yet.
func (r *requester) carry(ctx context.Context, down httpx.ServerExchange) error {
	state := r.state
	if state == nil {
		return &httpx.Error{Kind: httpx.NoRoute, Object: r.c.dest.Addr, Detail: "the service was deleted"}
	}
	req := down.Request()
	r.route = state.Routes.Match(req, r.c.o.self.Caller(), r.c.local.Port())
	if r.route == nil {
		return &httpx.Error{Kind: httpx.NoRoute, Object: string(state.Plan.Host), Detail: "no route matches the request"}
	}
	if why := r.route.Fault(); why != "" {
		return &httpx.Error{Kind: httpx.Unsendable, Object: r.route.Plan.Origin, Detail: why}
	}
	r.call.Route = r.route
	if err := r.c.o.filters.Request(ctx, filter.Routed, &r.call); err != nil {
		return err
	}
	if r.route.Local(req, &r.resp, r.c.local.Port()) {
		return r.local(down)
	}
	if r.chosen = r.route.Pick(rand.Uint64()); r.chosen == nil { //nolint:gosec // spreading load needs no secrecy
		return &httpx.Error{Kind: httpx.NoCluster, Object: r.route.Plan.Origin, Detail: "every backend has weight 0"}
	}
	if why := r.chosen.Fault(); why != "" {
		return &httpx.Error{Kind: httpx.Unsendable, Object: r.route.Plan.Origin, Detail: why}
	}
	r.backend = state.Backends[r.chosen.Index]
	if why := r.backend.Plan.Missing; why != "" {
		return &httpx.Error{Kind: httpx.NoCluster, Status: r.backend.Plan.MissingStatus, Detail: why}
	}
	r.call.Backend, r.call.Plan, r.call.Group = r.chosen, r.backend.Plan, r.backend.Group
	if err := r.c.o.filters.Request(ctx, filter.Chosen, &r.call); err != nil {
		return err
	}
	r.c.dest.Budget.Request()
	if err := r.begin(down); err != nil {
		return err
	}
	r.call.Body, r.call.Whole = r.buf[:r.held], r.heldAll
	if err := r.c.o.filters.Request(ctx, filter.Held, &r.call); err != nil {
		return err
	}
	return r.try(ctx, down)
}

// try sends the request to one endpoint after another, as far as the policy allows.
func (r *requester) try(ctx context.Context, down httpx.ServerExchange) error {
	policy := &r.route.Plan.Retry
	from, left := r.backend, 0
	r.info.Hash = r.call.Hash
	for {
		r.info.Tried = r.tried[:min(r.tries, len(r.tried))]
		chosen := r.c.pick(ctx, from, &r.info)
		e := chosen.Endpoint
		if e == nil {
			return noHealthy(from)
		}
		r.tried[r.tries%len(r.tried)] = e.Plan.Addr // the latest ones are avoided; a policy may allow more tries than are kept
		r.tries++
		if chosen.Why == lb.Repeated && !pause(ctx, backoff(policy, r.tries)) {
			return ctx.Err()
		}
		r.endpoint = e
		err := r.attempt(ctx, down, e)
		if err == nil {
			return nil
		}
		failed := asTry(err)
		if failed == nil {
			return err
		}
		// The configuration may have been replaced since the request came: only the one in force knows who is there.
		if b := r.c.dest.Backend(r.backend.Plan.Name); b != nil {
			from = b
		}
		if left < maxLeft && errors.Is(failed.err, upstream.ErrLeft) {
			left++
			r.tries-- // it was not there to be tried
			continue
		}
		switch {
		case r.tries > policy.Attempts, r.wrote, !r.replayable():
			return r.exhausted(failed.err)
		case !retryable(policy, down.Request(), failed), !failed.failure.isFree() && !r.c.dest.Budget.Take():
			return r.exhausted(failed.err)
		}
	}
}

// maxLeft bounds how often a request may pick an endpoint that is just leaving.
const maxLeft = 10

// exhausted says in the answer that retries were made.
func (r *requester) exhausted(err error) error {
	var e *httpx.Error
	if r.tries > 1 && errors.As(err, &e) {
		again := *e
		again.Exhausted = true
		return &again
	}
	return err
}

// backoff is Envoy's: a random share of 25 ms that doubles with every try, at most ten times the base.
func backoff(p *model.Retry, tries int) time.Duration {
	base := p.Backoff
	if base <= 0 {
		base = 25 * time.Millisecond
	}
	limit := min(base<<min(tries, 10), 10*base)
	return time.Duration(rand.Int64N(int64(limit) + 1)) //nolint:gosec // jitter needs no secrecy
}

// attempt makes one try. Errors that may be retried are tryErrors.
func (r *requester) attempt(ctx context.Context, down httpx.ServerExchange, e *directory.Endpoint) error {
	begun := time.Now()
	r.outcome = lb.Outcome{}
	e.Begin() // one that does not answer to connections is as busy as one that does not answer to requests
	defer func() { e.End(r.outcome) }()
	up, err := r.open(ctx, down.Request(), e)
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, upstream.ErrLeft) {
			r.outcome = lb.Outcome{Kind: lb.Refused, Latency: time.Since(begun)}
		}
		return &tryError{failure: notConnected, err: connectError(r.backend, e, err)}
	}
	e.Accepted()
	r.respells = r.conn == nil && down.Request().Version != httpx.HTTP2
	r.guard.watch(down, up, r.start)
	r.guard.arm(r.timeLeft())
	err = r.send(down, up)
	if err == nil || r.asked && !isFinal(err) {
		// An upstream may have answered although the request could not be written to its end.
		if rerr := r.receive(down, up); rerr != nil {
			err = errors.Join(err, rerr)
		} else {
			err = nil
		}
	}
	if err == nil {
		r.headAt = time.Now()
		r.outcome = lb.Outcome{Kind: lb.Answered, Status: r.resp.Status, Latency: r.headAt.Sub(begun)}
		err = r.judge(down.Request())
	} else {
		err = r.cut(err)
		r.outcome = lb.Outcome{Kind: failureOutcome(err), Latency: time.Since(begun)}
	}
	if err == nil {
		r.c.o.filters.Response(&r.call)
		err = r.reply(down, up)
		r.outcome.Bytes = r.sent
		if err != nil && isCut(err) {
			r.outcome.Kind = lb.Cut
		}
	}
	r.settle(inUse{exchange: up, conn: r.conn, pool: e.Attachment.Pool}, err)
	r.conn = nil
	return err
}

// cut describes an exchange that broke before its response head.
func (r *requester) cut(err error) error {
	if large := responseTooLarge(err); large != nil {
		return large
	}
	if still := r.stoodStill(err); still != nil {
		return still
	}
	f := classify(err)
	if f == final {
		return err
	}
	if f == tryTimeout && r.overdue() {
		return errTimeout
	}
	if f == tryTimeout {
		return &tryError{failure: f, err: errTryTimeout}
	}
	return &tryError{failure: f, err: resetError(r.backend, r.endpoint, err)}
}

// judge looks at a response head before it goes downstream: a peer's sidecar may say that it is none of the app's,
// and the policy may name its status.
func (r *requester) judge(req *httpx.Request) error {
	if why := r.resp.Fields.Get(errorField); why != nil && r.endpoint.Attachment.Peer != nil {
		return r.peerFailed(string(why), string(r.resp.Fields.Get(causeField)))
	}
	policy := &r.route.Plan.Retry
	if len(policy.On) == 0 && len(policy.Codes) == 0 {
		return nil
	}
	what := badStatus
	if r.resp.Status < 400 {
		if !wantsGRPC(policy, r.resp.Fields.Get("grpc-status")) {
			return nil
		}
		what = badGRPC
	}
	failed := &tryError{failure: what, status: r.resp.Status}
	if r.mayRetry(req, failed) {
		failed.err = resetError(r.backend, r.endpoint, errors.New("status "+strconv.Itoa(r.resp.Status)))
		return failed
	}
	return nil
}

// mayRetry reports whether another try would be made, so that a response is thrown away only then. It takes nothing
// from the budget.
func (r *requester) mayRetry(req *httpx.Request, failed *tryError) bool {
	policy := &r.route.Plan.Retry
	return r.tries <= policy.Attempts && r.replayable() && retryable(policy, req, failed)
}

// timeLeft is the time the try at hand may take, 0 for any.
func (r *requester) timeLeft() time.Duration {
	p := r.route.Plan
	limit := p.BackendTimeout
	if t := p.Retry.PerTryTimeout; t > 0 && (limit == 0 || t < limit) {
		limit = t
	}
	if p.Timeout > 0 {
		left := max(p.Timeout-time.Since(r.start), time.Nanosecond)
		if limit == 0 || left < limit {
			limit = left
		}
	}
	return limit
}

// overdue reports whether the whole request's time is up, not just a try's.
func (r *requester) overdue() bool {
	t := r.route.Plan.Timeout
	return t > 0 && time.Since(r.start) >= t
}

// open gets a stream or a connection to the endpoint and prepares the request for it. In steady state there is one.
func (r *requester) open(ctx context.Context, req *httpx.Request, e *directory.Endpoint) (httpx.ClientExchange, error) {
	up := e.Attachment
	if e.OnTrial(time.Now) {
		trial, cancel := context.WithTimeout(ctx, lb.TrialTimeout)
		defer cancel()
		ctx = trial
	}
	if up.Peer != nil {
		s, err := up.Peer.OpenRequest(ctx, r.backend.ConnectTimeout())
		if err != nil {
			return nil, err
		}
		r.aim(req, e.Plan.Addr)
		return s, nil
	}
	cleanRequest(&req.Fields) // what an earlier try wrote for a sidecar
	if req.Version == httpx.HTTP2 {
		return up.Pool.OpenHTTP2(ctx, r.backend.ConnectTimeout())
	}
	from := upstream.Pooled
	if r.tries > 1 {
		from = upstream.Fresh // a dead connection from the pool is not replaced by the next one from there
	}
	conn, err := up.Pool.Get(ctx, from)
	if err != nil {
		return nil, err
	}
	r.conn = conn
	return conn.Exchange()
}

// aim tells the peer's sidecar which workload and port are meant, and which protocol to restore.
func (r *requester) aim(req *httpx.Request, addr netip.AddrPort) {
	r.targets = addr.AppendTo(r.targets[:0])
	if req.Version == httpx.HTTP2 {
		r.targets = append(r.targets, "/h2"...)
	} else {
		r.targets = append(r.targets, "/h1"...)
		if req.Absolute != nil {
			r.targets = append(append(r.targets, ':'), bytes.ToLower(req.Absolute)...)
		}
		req.Fields.Del(spellingField)
		r.markSpelling(&req.Fields)
	}
	req.Fields.Del(targetField)
	req.Fields.AddName(targetField, r.targets)
}
