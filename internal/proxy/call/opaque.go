package call

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/filter"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/route"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
)

// maxTries bounds the endpoints tried for one connection or request: the first and two more, Istio's default.
const maxTries = 3

// Opaque carries a connection byte for byte. server is the tunnel that detection dialled, or nil.
func (c *Outbound) Opaque(ctx context.Context, client *netio.PeekConn, state *directory.Destination, server Tunnel) {
	begun := time.Now()
	if server == nil {
		var err error
		if server, err = c.Connect(ctx, state); err != nil {
			c.Refuse(ctx, client, state, begun, err)
			return
		}
	}
	down := NewRawTunnel(client)
	scope := state.TCP
	if c.endpoint != nil {
		scope = c.endpoint.Attachment.TCP
	}
	start := time.Now()
	rec := c.recordTCP(start, scope)
	rec.CountOpened()
	moved := new(netio.Traffic)
	rec.Moved = func() (received, sent int64) { return moved.AToB.Load(), moved.BToA.Load() }
	c.Of.Sinks.Opened(rec)
	if c.longest > 0 {
		limited, cancel := context.WithTimeoutCause(ctx, c.longest, errTooOld)
		defer cancel()
		ctx = limited
	}
	r := c.Of.Relay.Join(ctx, down, server, c.idle, moved)
	if c.endpoint != nil {
		c.endpoint.End(lb.Outcome{Kind: lb.Carried, Latency: time.Since(start), Bytes: r.Sent})
	}
	c.leaveLimits()
	rec.Duration, rec.Received, rec.Sent = time.Since(start), r.Received, r.Sent
	c.Of.Sinks.Record(rec)
}

// Refuse ends a connection that came at a time and reaches no endpoint. To those who count it was opened and closed.
func (c *Outbound) Refuse(ctx context.Context, client *netio.PeekConn, state *directory.Destination, begun time.Time, err error) {
	c.Of.Log.DebugContext(ctx, "connection failed", "destination", c.Dest.Addr, "error", err)
	rec := c.recordTCP(begun, state.TCP)
	rec.CountOpened()
	if _, known := errors.AsType[*httpx.Error](err); !known {
		err = &httpx.Error{Reason: httpx.UpstreamConnectFailure, Err: err}
	}
	out := httpx.Describe(err)
	rec.Duration, rec.Flags, rec.Details, rec.Cause = time.Since(begun), out.Flag, out.Details, out.Body
	rec.Own, rec.Proven = "", "" // what could not be reached has proved nothing
	c.Of.Sinks.Record(rec)
	NewRawTunnel(client).Abort(err)
}

// errTooOld is why a connection is ended that is older than maxConnectionDuration allows.
var errTooOld = errors.New("the connection has lasted for as long as maxConnectionDuration of its DestinationRule allows")

// Connect dials the endpoint of a TCP route, another one where that fails.
func (c *Outbound) Connect(ctx context.Context, state *directory.Destination) (Tunnel, error) {
	b, err := c.tcpBackend(state)
	if err != nil {
		return nil, err
	}
	c.backend, c.idle, c.longest = b, b.Plan.TCPIdleTimeout, b.Plan.MaxConnectionDuration
	if err := b.Group.Limits().Enter(ctx, lb.Connection, 0); err != nil {
		return nil, filter.LimitError(b.Plan.Name, err)
	}
	c.limits = b.Group.Limits()
	var t Tunnel
	if b, err = c.byName(b, []byte(c.SNI)); err == nil {
		c.backend = b
		t, err = c.reachAny(ctx, b)
	}
	if err != nil {
		c.leaveLimits()
	}
	return t, err
}

// leaveLimits counts the connection out of the limits of its backend.
func (c *Outbound) leaveLimits() {
	if c.limits != nil {
		c.limits.Leave(lb.Connection)
		c.limits = nil
	}
}

// reachAny dials one endpoint after another.
func (c *Outbound) reachAny(ctx context.Context, b *directory.Backend) (Tunnel, error) {
	var errs []error
	var info lb.Info
	if b.Plan.Hash.By == model.HashBySource { // all that opaque connections have in common
		info.Hash = filter.HashOfSource(c.Remote.Addr())
	}
	for try := range maxTries {
		chosen, err := c.pick(ctx, b, &info)
		if err != nil && len(errs) == 0 {
			return nil, err
		}
		e := chosen.Endpoint
		if e == nil || chosen.Why == lb.Repeated {
			break
		}
		info.Tried = append(info.Tried, e.Plan.Addr)
		begun := time.Now()
		e.Begin()
		limit := b.ConnectTimeout()
		if try < maxTries-1 {
			limit = connectWithin(b, &info)
		}
		if e.OnTrial(time.Now) {
			limit = min(limit, lb.TrialTimeout)
		}
		limited, cancel := context.WithTimeout(ctx, limit)
		t, err := dialEndpoint(limited, b, e, headerTo(b, c))
		cancel()
		if err == nil {
			e.Carrying()
			c.endpoint = e
			return t, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", model.AppendAddr(nil, e.Plan.Addr), err))
		if ctx.Err() != nil || errors.Is(err, ErrRequestsOnly) {
			e.End(lb.Outcome{})
			break
		}
		if errors.Is(err, upstream.ErrLeft) { // it was not there to be tried
			e.End(lb.Outcome{})
			b = cmp.Or(c.Dest.Backend(b.Plan.Name), b) // only the one in force knows who is there
			continue
		}
		e.End(outcomeOf(err, time.Since(begun)))
	}
	return nil, errors.Join(errs...)
}

// pick chooses an endpoint of the backend. Where there is none, the error says why of those among which it looked: a moment
// later there may be others.
func (c *Outbound) pick(ctx context.Context, b *directory.Backend, info *lb.Info) (directory.Choice, error) {
	picker := b.Picker()
	chosen := picker.Pick(info)
	switch {
	case chosen.Endpoint != nil:
	case b.IsOriginal():
		e := c.original(b)
		chosen = directory.Choice{Endpoint: e, Why: lb.Usable}
		if e.Among(info.Tried) {
			chosen.Why = lb.Repeated
		}
	case b.AwaitNames(ctx):
		picker = b.Picker()
		chosen = picker.Pick(info)
	}
	if chosen.Endpoint == nil {
		return chosen, noHealthy(b, picker)
	}
	return chosen, nil
}

// dialEndpoint opens a connection, through a forward proxy where the backend says so, that begins with a header where there is one.
func dialEndpoint(ctx context.Context, b *directory.Backend, e *directory.Endpoint, header string) (Tunnel, error) {
	up := e.Attachment
	switch {
	case b.Plan.Tunnel != nil:
		return requestTunnel(ctx, b, e)
	case up.Peer != nil:
		t, err := openMeshTunnel(ctx, up.Peer, e.Plan.Addr)
		if err == nil && header != "" {
			if _, err = t.Write([]byte(header)); err != nil {
				t.Abort(err)
				t.Close()
			}
		}
		return t, err
	}
	pool := up.Pool
	if header != "" {
		pool = up.WithPreface(header).Pool
	}
	conn, err := pool.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return NewRawTunnel(conn), nil
}

// Routed reports whether a rule for connections is for this one.
func (c *Outbound) Routed() bool {
	state := c.Dest.Load()
	return state != nil && c.tcpRoute(state) != nil
}

func (c *Outbound) tcpRoute(state *directory.Destination) *route.TCPRoute {
	return state.TCPRoutes.Match(route.Connection{To: c.Local, From: c.Remote.Addr(), ServerName: c.SNI}, c.Of.Self.Caller())
}

// tcpBackend chooses the backend for a connection.
func (c *Outbound) tcpBackend(state *directory.Destination) (*directory.Backend, error) {
	r := c.tcpRoute(state)
	if r == nil {
		return nil, &httpx.Error{Reason: httpx.NoRoute, Object: string(state.Plan.Host), Detail: "no tcp route matches"}
	}
	at, ok := r.Pick(rand.Uint64()) //nolint:gosec // spreading load needs no secrecy
	if !ok {
		return nil, &httpx.Error{Reason: httpx.NoCluster, Object: r.Plan.Origin, Detail: "every backend has weight 0"}
	}
	b := state.Backends[at]
	if b.Plan.Missing != "" {
		return nil, &httpx.Error{Reason: httpx.NoCluster, Detail: b.Plan.Missing}
	}
	return b, nil
}

// NeverIdle is how long opaque connections may stand still where no DestinationRule says otherwise. A pool of database
// connections rests for hours, and the app that finds one closed cannot tell why; a peer that is gone is found by
// keep-alive probes, whatever the protocol.
const NeverIdle time.Duration = 0

// Forget counts out the endpoint that was dialled in case the server speaks first.
func (c *Outbound) Forget() {
	if c.endpoint != nil {
		c.endpoint.End(lb.Outcome{})
	}
	c.leaveLimits()
	c.backend, c.endpoint = nil, nil
}

// recordTCP is the record of an opaque connection that began at start.
func (c *Outbound) recordTCP(start time.Time, scope *telemetry.TCPScope) *telemetry.Record {
	rec := &telemetry.Record{
		Reporter: telemetry.Source, Start: start, HeadAfter: -1, Dialled: c.Local, Client: c.Remote, TCP: scope,
	}
	if c.backend != nil {
		rec.Cluster = c.backend.Plan.Name
	}
	if c.endpoint != nil {
		h := hopTo(c.endpoint)
		rec.Endpoint, rec.Peer, rec.MutualTLS, rec.NoTLS, rec.Proven = c.endpoint.Plan.Addr, h.peer, h.mutual, h.noTLS, h.proven
		if h.mutual {
			rec.Own = c.Of.Self.Identity()
		}
	}
	return rec
}
