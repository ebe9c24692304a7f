package call

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/filter"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/route"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
)

// Outgoing is what all calls of the workload's app share.
type Outgoing struct {
	Common

	Self      *directory.Self
	Hostname  string
	Directory *directory.Directory
	Relay     *Relay
	Log       *slog.Logger
	hedged    sync.Once // the log says that nothing is
}

// Outbound is one connection that the workload opened to a destination.
type Outbound struct {
	Of            *Outgoing
	Dest          *directory.Cell
	Local, Remote netip.AddrPort // where the app meant to go, and where it came from

	// Of an opaque connection: what it was given to.
	backend  *directory.Backend
	endpoint *directory.Endpoint
	idle     time.Duration
	longest  time.Duration // 0 for no limit
	SNI      string        // the TLS server name, where the routes ask for it
	limits   *lb.Limits    // those it is counted in, nil for none
	named    atomic.Pointer[namedBackend]

	Originals originals
}

// What Outbound says as the side of a call: the workload's app calls a destination.

// prepare implements side.
func (c *Outbound) prepare(call *Call) {
	req := call.down.Request()
	cleanRequest(&req.Fields)
	call.identify(req)
	call.trace = c.Of.Traces.Begin(&req.Fields)
	call.view.Client = c.Remote.Addr()
	call.view.Facts = route.Facts{Request: req, Start: call.start, Client: c.Remote, Dialled: c.Local, Hostname: c.Of.Hostname}
	call.state = c.Dest.Load()
	if len(req.Authority) == 0 && req.Version == httpx.HTTP10 && call.state != nil {
		// It is sent on as HTTP/1.1, which must name a host (RFC 9112 §3.2): what was dialled.
		req.Authority = []byte(net.JoinHostPort(string(call.state.Plan.Host), strconv.Itoa(int(c.Local.Port()))))
	}
}

// decide implements side: what the configuration says.
func (c *Outbound) decide(ctx context.Context, call *Call) (answered bool, err error) {
	if call.state == nil {
		return false, &httpx.Error{Reason: httpx.NoRoute, Object: c.Dest.Addr, Detail: "the service was deleted"}
	}
	if err := c.match(ctx, call); errors.Is(err, filter.ErrAnswered) {
		return true, call.answer(call.down, nil)
	} else if err != nil {
		return false, err
	}
	if call.route.Local(call.down.Request(), &call.resp, c.Local.Port(), &call.view.Facts) {
		call.view.Details = "direct_response"
		return true, call.local(call.down)
	}
	if err := c.choose(call); err != nil {
		return false, err
	}
	if err := c.Of.Filters.Request(ctx, filter.Chosen, &call.view); err != nil {
		return false, err
	}
	c.obey(call)
	call.view.Group.Retries().Request(call.start)
	if err := call.begin(call.down); err != nil {
		return false, err
	}
	call.view.Body, call.view.Whole = call.buf[:call.held], call.heldAll
	if call.heldAll && call.down.Request().ContentLength < 0 {
		call.view.Trailers = cleanRequestTrailers(call.down.Trailers())
	}
	err = c.Of.Filters.Request(ctx, filter.Held, &call.view)
	call.mirrored = call.view.Mirrored
	return false, err
}

// match finds the route.
func (c *Outbound) match(ctx context.Context, call *Call) error {
	call.route = call.state.Routes.Match(call.down.Request(), c.Of.Self.Caller(), c.Local.Port())
	if call.route == nil {
		return &httpx.Error{Reason: httpx.NoRoute, Object: string(call.state.Plan.Host), Detail: "no route matches the request"}
	}
	if why := call.route.Fault(); why != "" {
		return &httpx.Error{Reason: httpx.Unsendable, Object: call.route.Plan.Origin, Detail: why}
	}
	call.view.Facts.Route = cmp.Or(call.route.Plan.Name, "default")
	call.view.Route, call.view.Seal = call.route, call.state.Seal.Keys()
	return c.Of.Filters.Request(ctx, filter.Routed, &call.view)
}

// choose finds the backend.
func (c *Outbound) choose(call *Call) error {
	if call.chosen = call.pinned(); call.chosen == nil {
		call.chosen = call.route.Pick(rand.Uint64()) //nolint:gosec // spreading load needs no secrecy
	}
	if call.chosen == nil {
		return &httpx.Error{Reason: httpx.NoCluster, Object: call.route.Plan.Origin, Detail: "every backend has weight 0"}
	}
	if why := call.chosen.Fault(); why != "" {
		return &httpx.Error{Reason: httpx.Unsendable, Object: call.route.Plan.Origin, Detail: why}
	}
	b := call.state.Backends[call.chosen.Index]
	call.backend, call.from = b, b
	if why := b.Plan.Missing; why != "" {
		return &httpx.Error{Reason: httpx.NoCluster, Status: b.Plan.MissingStatus, Detail: why}
	}
	call.view.Facts.Cluster = b.Plan.Name
	call.view.Backend, call.view.Plan, call.view.Group = call.chosen, b.Plan, b.Group
	b, err := c.byName(b, call.down.Request().Authority)
	if err != nil {
		return err
	}
	call.backend, call.from = b, b
	return nil
}

// obey finds the policy of retries, of the route and of the request, whose head is what rules have made of it.
func (c *Outbound) obey(call *Call) {
	f := &call.down.Request().Fields
	call.policy, call.retriable = &call.route.Plan.Retry, nil
	if mayWish(f) {
		c.takeWishes(call, f)
	}
	call.deep = c.Of.Chains.isBelow(f, call.start)
	c.bound(call, call.down.Request())
	cleanWishes(f)
	if idle := call.route.Plan.IdleTimeout; idle > 0 {
		call.Guard.mayRest(idle)
	}
}

// takeWishes has what the request's head says of retries obeyed.
func (c *Outbound) takeWishes(call *Call, f *httpx.Fields) {
	call.policy, call.retriable = wished(&call.route.Plan.Retry, f)
	if f.Get(hedgeField) != nil {
		c.Of.hedged.Do(func() {
			c.Of.Log.Warn("requests are not hedged: the field of the app has no effect", slog.String("field", hedgeField))
		})
	}
}

// pinned gives the backend whose endpoint the call belongs to, whatever that one weighs; nil where it belongs to none that
// is there.
func (c *Call) pinned() *route.Backend {
	if !c.view.Pin.Addr.IsValid() {
		return nil
	}
	all := c.route.Backends()
	for i := range all {
		b := c.state.Backends[all[i].Index]
		if filter.BackendHash(b.Plan) == c.view.Session.Backend && b.Picker().Has(c.view.Pin) {
			return &all[i]
		}
	}
	c.view.Pin = lb.Pin{}
	return nil
}

// next implements side: an endpoint that was not tried, as long as there is one.
func (c *Outbound) next(ctx context.Context, call *Call) (destined, error) {
	call.info.Hash, call.info.Pin = call.view.Hash, call.view.Pin
	if call.info.At = call.start; call.tries > 0 {
		call.info.At = time.Now()
	}
	call.info.Tried = call.tried[:min(call.tries, len(call.tried))]
	if call.policy.SameHosts {
		call.info.Tried = nil
	}
	call.info.Left = nil
	if call.policy.RemoteLocalities {
		call.info.Left = call.tried[:min(call.tries/triesPerLocality*triesPerLocality, len(call.tried))]
	}
	chosen, err := c.pick(ctx, call.from, &call.info)
	if err != nil {
		return destined{}, err
	}
	e := chosen.Endpoint
	call.tried[call.tries%len(call.tried)] = e.Plan.Addr // the latest ones are avoided; a policy may allow more tries than are kept
	call.tries++
	if call.pause || chosen.Why == lb.Repeated {
		if err := call.backOff(ctx); err != nil {
			return destined{}, err
		}
	}
	call.endpoint = e
	call.trace.Try(&call.down.Request().Fields, call.info.At)
	connect := call.backend.ConnectTimeout()
	if call.tries <= call.policy.Attempts {
		call.info.Tried = call.tried[:min(call.tries, len(call.tried))]
		connect = connectWithin(call.from, &call.info)
	}
	to := toEndpoint(call.backend, e, connect)
	to.begin(headerTo(call.backend, c))
	return to, nil
}

// triesPerLocality is how many tries go to a locality before the next ones leave it: Istio's update_frequency of Envoy's
// previous_priorities.
const triesPerLocality = 2

// connectWithin bounds the time until there is a connection, where another endpoint can be tried after it: not for long
// where there is one, unless the user has said how long.
func connectWithin(b *directory.Backend, info *lb.Info) time.Duration {
	limit := b.ConnectTimeout()
	if b.Plan.ConnectTimeout == 0 && b.Picker().Spare(info) {
		limit = min(limit, lb.SparePatience)
	}
	return limit
}

// again implements side: the route's policy, as far as the budget lasts.
func (c *Outbound) again(call *Call, failed *tryError) error {
	if !call.granted {
		call.endRetry()
	}
	// The configuration may have been replaced since the request came: only the one in force knows who is there.
	if b := c.Dest.Backend(call.backend.Plan.Name); b != nil {
		call.from = b
	}
	if call.left < maxLeft && errors.Is(failed.err, upstream.ErrLeft) {
		call.left++
		call.tries-- // it was not there to be tried
		return nil
	}
	if call.granted { // by the head of an answer
		call.granted = false
		return nil
	}
	switch call.retry(call.down.Request(), failed) {
	case tryAgain:
		call.granted = false
		return nil
	case spent:
		return flagged(failed.err, "URX")
	case overBudget:
		return flagged(failed.err, "UO")
	case unasked, unsafe, unable, below:
	}
	return failed.err
}

// maxLeft bounds how often a request may pick an endpoint that is just leaving.
const maxLeft = 10

// flagged says in the answer why there is no other try.
func flagged(err error, flag string) error {
	if e, ok := errors.AsType[*httpx.Error](err); ok {
		again := *e
		again.Flag = flag
		return &again
	}
	return err
}

// backOff waits before a retry, at most until the request's time is up.
func (c *Call) backOff(ctx context.Context) error {
	d := backoff(c.policy, c.tries-1)
	if due := c.limits.total(c.Guard.progress()); !due.IsZero() {
		d = min(d, max(time.Until(due), 0))
	}
	switch {
	case !Pause(ctx, d):
		return ctx.Err()
	case c.limits.overdue(c.Guard):
		return errTimeout
	}
	return nil
}

// backoff is Envoy's: before the first retry a random share of 25 ms, or of what the policy says; twice as much before each
// further one, at most ten times.
func backoff(p *model.Retry, retry int) time.Duration {
	base := min(cmp.Or(max(p.Backoff, 0), 25*time.Millisecond), time.Hour)
	limit := min(base<<min(max(retry, 1)-1, 4), 10*base)
	return time.Duration(rand.Int64N(int64(limit) + 1)) //nolint:gosec // jitter needs no secrecy
}

// parties implements side.
func (c *Outbound) parties(call *Call, _ moment) parties {
	p := parties{reporter: telemetry.Source, client: c.Remote, dialled: c.Local, tries: call.tries, self: c.Of.Self}
	state := call.state
	if state == nil {
		state = c.Dest.Load() // it was no request, or the destination has just come
	}
	if state != nil {
		p.http, p.grpc = state.HTTP, state.GRPC
		p.host, p.port = string(state.Plan.Host), state.Plan.Port
	}
	if e := call.endpoint; e != nil {
		p.endpoint, p.http, p.grpc, p.hop = e.Plan.Addr, e.Attachment.HTTP, e.Attachment.GRPC, hopTo(e)
	}
	if call.backend != nil {
		p.cluster = call.backend.Plan.Name
	}
	if call.route != nil {
		p.route = cmp.Or(call.route.Plan.Name, "default")
	}
	if call.route != nil && call.route.StatPrefix != "" && state != nil {
		p.stat = telemetry.RouteName{Host: state.Plan.Host, Port: state.Plan.Port, Prefix: call.route.StatPrefix}
	}
	return p
}

// explain implements side: the app has no sidecar of its own to be told anything.
func (*Outbound) explain(error) (mark, cause string) { return "", "" }

// Pause waits for d and reports false where ctx ended first.
func Pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// Leave lets go of the destination and of what is held for it alone.
func (c *Outbound) Leave() {
	c.Originals.Close()
	c.Dest.Leave()
}
