package call

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/filter"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/route"
	"fairlead.dev/fairlead/internal/proxy/trace"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
)

// Fields that the two sidecars of a call exchange. Apps never see them.
const (
	// TargetField names what is called, the workload's address and port, and the protocol that its app expects:
	// "10.1.0.7:8080/h1". Who carries the stream on needs to know no more, and it is not only the port because the peer
	// that is dialled need not be the only one behind its address.
	TargetField = "x-fairlead-target"
	// ErrorField marks a response that the peer's sidecar made because it could not get one from the app, and says how
	// far the request got: see markOf.
	ErrorField = "x-fairlead-error"
)

// Call carries requests, one at a time: those of a stream worker (HTTP/2), or one that it was lent for (HTTP/1.1). Which way a
// request takes is the same on both sides of the mesh; what differs, the side says. Memory is kept between requests,
// everything else is in request, which is zeroed for each.
type Call struct {
	forwarder
	request

	Side    side
	Common  *Common
	Share   Share
	tried   [maxTries + 1]netip.AddrPort
	info    lb.Info
	targets []byte // scratch for targetField
	id      [36]byte
}

// Common is what all calls of a side share.
type Common struct {
	Filters    *filter.Chain
	Sinks      telemetry.Sinks
	Beginner   telemetry.Beginner
	Bodies     *Buffers
	StreamIdle func() time.Duration
	Paths      func() plan.PathNormalization
	// Chains are those of both sides, Idle the Calls that no request needs.
	Chains *Chains
	Idle   *sync.Pool
	// Traces says what is done about traces; Tracer makes spans.
	Traces *trace.Side
	Tracer *trace.Tracer
}

// New makes a Call for the requests of a stream worker.
func (c *Common) New(s side, share Share) *Call {
	r := &Call{Common: c, Side: s, Share: share}
	r.Guard = new(Guard)
	return r
}

// Lend gives a Call for one request of a connection, which keeps no memory for requests while it waits for one. Back takes it
// back.
func (c *Common) Lend(s side, share Share, guard *Guard) *Call {
	r, _ := c.Idle.Get().(*Call)
	if r == nil {
		r = new(Call)
	}
	r.Common, r.Side, r.Share, r.Guard = c, s, share, guard
	return r
}

// Back takes a Call back that was lent.
func (c *Common) Back(r *Call) {
	r.Side, r.Share, r.Guard = nil, nil, nil
	c.Idle.Put(r)
}

// Share is a client's part of the requests that the sidecar carries at a time.
type Share interface {
	// Enter says why a request is not to begin, nil where it begins: then Leave ends it.
	Enter() error
	Leave()
}

// request is what is known of the request at hand.
type request struct {
	down httpx.ServerExchange
	view filter.Call // what filters see of it

	state   *directory.Destination // nil where the destination is none any more, and for the own app
	route   *route.Route           // nil for the own app, as chosen and backend
	chosen  *route.Backend
	backend *directory.Backend
	from    *directory.Backend // the same of the configuration in force

	limits    timeouts
	policy    *model.Retry // in force for it, nil where none is: for the own app
	retriable []string     // fields of a response that ask for a retry, by the request's own word
	tries     int
	left      int                 // tries of endpoints that were just leaving
	granted   bool                // the budget was asked, and allows another try
	retrying  bool                // the try at hand counts as a retry
	pause     bool                // before the next try: the upstream has had work with the latest
	redone    bool                // a try before this one may have been carried out
	deep      bool                // another hop of its chain retries
	once      bool                // the caller's route says that it is never retried
	endpoint  *directory.Endpoint // of the latest try, nil for the own app
	outcome   lb.Outcome          // of the latest try
	conn      *upstream.Conn      // the pooled connection in use, nil for a stream
	aimed     bool                // the head says what a peer's sidecar must know
	onward    httpx.Version       // in which the latest try went, 0 where it had no way to go
	trace     trace.Call
	number    uint64 // of its record
}

// side is what a call differs in by the side of the mesh that this sidecar is on for it.
type side interface {
	// prepare readies the head of a request: what its client may not say leaves it.
	prepare(c *Call)
	// decide finds out what becomes of the request, and reads its body as far as that is at hand. answered says that the
	// answer has been given.
	decide(ctx context.Context, c *Call) (answered bool, err error)
	// next says where the next try goes.
	next(ctx context.Context, c *Call) (destined, error)
	// again gives nil where a failed try is to be followed by another one, or else what the call ends with.
	again(c *Call, failed *tryError) error
	// parties are who and what the call is between, as far as it is known: atEnd it waits for the name of the client.
	parties(c *Call, when moment) parties
	// explain gives what a failed call's answer tells the caller's sidecar, "" for nothing.
	explain(err error) (mark, cause string)
}

// destined is where a try goes.
type destined struct {
	way *upstream.Way
	// endpoint is what was picked, nil for the own app.
	endpoint *directory.Endpoint
	addr     netip.AddrPort
	// backend is what errors call it, "" for the own app, which is called by its address.
	backend string
	// connect bounds the time until there is a connection.
	connect time.Duration
	// upgrade has requests of HTTP/1.1 go on as HTTP/2.
	upgrade bool
	// alone is set where the way is this try's own.
	alone bool
}

// toEndpoint is the way to an endpoint of a backend.
func toEndpoint(b *directory.Backend, e *directory.Endpoint, connect time.Duration) destined {
	way := e.Attachment.Way
	return destined{
		way: way, endpoint: e, addr: e.Plan.Addr, backend: b.Plan.Name, connect: connect,
		upgrade: b.Plan.Upgrade && (way.Peer == nil || b.Plan.UpgradeApps),
	}
}

// asHTTP2 reports whether the app is to get a request as HTTP/2: as it came, or because the backend's policy says so. A
// request that asks to switch protocols does so in HTTP/1.1's way.
func (t *destined) asHTTP2(req *httpx.Request) bool {
	return req.Version == httpx.HTTP2 || t.upgrade && req.Upgrade == nil && !IsConnect(req)
}

// version is how the app gets a request.
func (t *destined) version(req *httpx.Request) httpx.Version {
	if t.asHTTP2(req) {
		return httpx.HTTP2
	}
	return httpx.HTTP11
}

// failed says that the target could not be reached, or broke off before it answered.
func (t *destined) failed(reason httpx.Reason, err error) error {
	at := string(model.AppendAddr(nil, t.addr))
	if t.backend == "" {
		return &httpx.Error{Reason: reason, Object: at, Err: err}
	}
	return &httpx.Error{Reason: reason, Object: t.backend, Detail: at, Err: err}
}

// enter forgets the request before.
func (c *Call) enter(start time.Time, down httpx.ServerExchange) {
	c.reset(start)
	c.bodies = c.Common.Bodies
	c.request = request{down: down}
}

// Handle carries one request to its end.
func (c *Call) Handle(ctx context.Context, down httpx.ServerExchange) {
	c.enter(time.Now(), down)
	c.Guard.enter(down, c.start, c.Common.StreamIdle())
	req := down.Request()
	c.view = filter.Call{Start: c.start, Request: req, Response: &c.resp, Copier: c}
	c.Side.prepare(c)
	err := c.Share.Enter()
	admitted := err == nil
	if admitted {
		err = c.normalize(req, c.Common.Paths())
	} else {
		err = &tryError{failure: turnedAway, err: err} // a caller's sidecar may try another endpoint
	}
	if err == nil {
		err = c.carry(ctx)
	}
	c.endRetry()
	c.Common.Filters.End(&c.view)
	out := c.conclude(err)
	out.Flag = filter.JoinFlags(out.Flag, c.view.Flags)
	p := c.Side.parties(c, atEnd)
	p.trace, p.number, p.onward = c.trace.Record(), c.number, c.onward
	c.record(c.Common.Sinks, req, out, &p)
	c.trace.Served(&c.Common.Tracer.Serving)
	c.finish(down)
	if admitted {
		c.Share.Leave()
	}
	c.Guard.leave()
	c.request = request{}
}

// Refused records what came on the connection and was no request.
func (c *Call) Refused(start time.Time, out httpx.Outcome) {
	c.enter(start, nil)
	c.sent = int64(len(out.Body) + 1)
	p := c.Side.parties(c, atEnd)
	c.record(c.Common.Sinks, &httpx.Request{}, out, &p)
}

// carry decides, and sends the request to one target after another, as far as the side allows. An error with c.wrote
// unset has not been answered yet.
func (c *Call) carry(ctx context.Context) error {
	if answered, err := c.Side.decide(ctx, c); answered || err != nil {
		return err
	}
	for {
		t, err := c.Side.next(ctx, c)
		if err != nil {
			return err
		}
		if err = c.attempt(ctx, &t); err == nil {
			return nil
		}
		failed := asTry(err)
		if failed == nil {
			return err
		}
		left := c.left
		if err := c.Side.again(c, failed); err != nil {
			return err
		}
		if c.left == left && c.trace.Reports() {
			c.recordTry(failed)
		}
	}
}

// blameAfter is how long a connection must have been waited for before the endpoint is held not to answer to one, where the
// request's own time ended the wait.
const blameAfter = 250 * time.Millisecond

// attempt makes one try. Errors that may be retried are tryErrors.
func (c *Call) attempt(ctx context.Context, t *destined) error {
	begun := time.Now()
	c.outcome = lb.Outcome{}
	c.begun()
	if e := t.endpoint; e != nil {
		e.Begin() // one that does not answer to connections is as busy as one that does not answer to requests
		defer func() { e.End(c.outcome) }()
	}
	req := c.down.Request()
	if c.policy != nil {
		countAttempt(&req.Fields, c.tries)
	}
	t.connect = c.limits.patience(c.Guard, t.connect)
	c.onward = 0
	up, err := c.open(ctx, req, t)
	if err != nil {
		t.leave()
		took := time.Since(begun)
		hurried := errors.Is(err, context.DeadlineExceeded) && took < blameAfter // by a timeout of the request
		if ctx.Err() == nil && !errors.Is(err, upstream.ErrLeft) && !hurried {
			c.outcome = lb.Outcome{Kind: lb.Refused, Latency: took}
		}
		if c.limits.overdue(c.Guard) {
			return errTimeout
		}
		return &tryError{failure: notConnected, err: t.failed(httpx.UpstreamConnectFailure, err)}
	}
	if t.endpoint != nil {
		t.endpoint.Accepted()
	}
	c.onward = t.version(req)
	c.respells = t.way.Peer != nil && c.onward != httpx.HTTP2
	c.Guard.watch(c.down, up)
	c.Guard.arm(c.limits)
	c.announce(req)
	err = c.send(c.down, up)
	if err == nil || c.asked && !isFinal(err) {
		// An upstream may have answered although the request could not be written to its end.
		if rerr := c.receive(c.down, up); rerr != nil {
			err = errors.Join(err, rerr)
		} else {
			err = nil
		}
	}
	if err == nil {
		c.headAt = time.Now()
		c.outcome = lb.Outcome{Kind: lb.Answered, Status: c.answeredStatus(req), Latency: c.headAt.Sub(begun)}
		c.load.begin(t.endpoint, c.backend)
		c.load.note(&c.resp.Fields)
		c.endRetry() // as Envoy's budget counts: until the head of the answer
		err = c.judge(req, t)
	} else {
		err = c.cut(err, t)
		c.outcome = lb.Outcome{Kind: failureOutcome(err), Latency: time.Since(begun)}
	}
	if err == nil {
		c.Guard.answered()
		c.heard(req, t)
		if t.endpoint != nil {
			c.view.Endpoint = &t.endpoint.Plan
		}
		c.Common.Filters.Response(&c.view)
		err = c.reply(c.down, up)
		c.outcome.Bytes = c.sent
		c.outcome.Status = c.answeredStatus(req)
		if err != nil && isCut(err) {
			c.outcome.Kind = lb.Cut
		}
	}
	c.settle(inUse{exchange: up, conn: c.conn, pool: t.way.Pool}, err)
	t.leave()
	c.conn = nil
	return err
}

// heard has an answer counted whose head says all about it. How a gRPC call ended is mostly said behind its body.
func (c *Call) heard(req *httpx.Request, t *destined) {
	if grpc, status := c.grpcOutcome(req); t.endpoint != nil && (!grpc || status != "") {
		t.endpoint.Answering(&c.outcome)
	}
}

// open gets a stream or a connection to the target and prepares the request for it. In steady state there is one.
func (c *Call) open(ctx context.Context, req *httpx.Request, t *destined) (httpx.ClientExchange, error) {
	if t.endpoint != nil && t.endpoint.OnTrial(time.Now) {
		trial, cancel := context.WithTimeout(ctx, lb.TrialTimeout)
		defer cancel()
		ctx = trial
	}
	if t.way.Peer != nil {
		s, err := t.way.Peer.OpenRequest(ctx, t.connect)
		if err != nil {
			return nil, ofCluster(err, t.endpoint)
		}
		c.aim(req, t)
		return s, nil
	}
	if c.aimed {
		cleanRequest(&req.Fields) // what an earlier try wrote for a sidecar
		c.aimed = false
	}
	if t.asHTTP2(req) {
		x, err := t.way.Pool.OpenHTTP2(ctx, t.connect)
		return x, ofCluster(err, t.endpoint)
	}
	from := upstream.Pooled
	if c.tries > 1 {
		from = upstream.Fresh // a dead connection from the pool is not replaced by the next one from there
	}
	conn, err := t.way.Pool.Get(ctx, from, t.connect)
	if err != nil {
		return nil, ofCluster(err, t.endpoint)
	}
	x, err := conn.Exchange()
	if err != nil {
		t.way.Pool.Put(conn)
		return nil, err
	}
	conn.Spare(c.canGoElsewhere(req))
	c.conn = conn
	return x, nil
}

// ofCluster says of which cluster a peer is whose certificate is not accepted for its root or its time.
func ofCluster(err error, e *directory.Endpoint) error {
	if err == nil {
		return nil
	}
	_, untrusted := errors.AsType[*identity.UntrustedRootError](err)
	_, untimely := errors.AsType[*identity.ValidityError](err)
	if !untrusted && !untimely || e == nil || e.Plan.Workload.Cluster == "" {
		return err
	}
	return fmt.Errorf("%w (the peer is of cluster %s)", err, e.Plan.Workload.Cluster)
}

// aim tells the peer's sidecar which workload and port are meant, and which protocol to restore.
func (c *Call) aim(req *httpx.Request, t *destined) {
	c.targets = t.addr.AppendTo(c.targets[:0])
	if t.asHTTP2(req) {
		c.targets = append(c.targets, "/h2"...)
	} else {
		c.targets = append(c.targets, "/h1"...)
		if req.Absolute != nil {
			c.targets = append(append(c.targets, ':'), bytes.ToLower(req.Absolute)...)
		}
		req.Fields.Del(spellingField)
		c.markSpelling(&req.Fields)
	}
	req.Fields.Del(TargetField)
	req.Fields.AddName(TargetField, c.targets)
	if c.policy != nil {
		if how := retryMark(c.policy, c.deep || c.redone); how != "" {
			req.Fields.Set(retryField, how)
		}
	}
	c.aimed = true
}

// conclude answers a request that was not answered, or breaks the exchange where an answer has begun.
func (c *Call) conclude(err error) httpx.Outcome {
	if err == nil {
		return httpx.Outcome{Status: c.resp.Status, Details: c.view.Details}
	}
	out := httpx.Describe(err)
	mark, cause := c.Side.explain(err)
	if c.wrote || isDownstream(err) {
		c.breakOff(c.down, err)
		if c.wrote {
			out.Status = c.resp.Status // the client has it
		}
		return out
	}
	if aerr := c.localReply(c.down, out, mark, cause); aerr != nil {
		c.down.Abort(aerr)
	}
	out.Status = c.resp.Status
	return out
}
