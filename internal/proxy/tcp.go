package proxy

import (
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
	"fairlead.dev/fairlead/internal/telemetry"
)

// maxTries bounds the endpoints tried for one connection or request: the first and two more, Istio's default.
const maxTries = 3

// opaque carries a connection byte for byte. server is the tunnel that detection dialled, or nil.
func (c *outboundCall) opaque(ctx context.Context, client *netio.PeekConn, state *directory.Destination, server tunnel) {
	down := newRawTunnel(client)
	if server == nil {
		var err error
		if server, err = c.connect(ctx, state); err != nil {
			c.o.log.DebugContext(ctx, "connection failed", "destination", c.dest.Addr, "error", err)
			state.TCP.Opened()
			state.TCP.Closed()
			down.Abort(err)
			return
		}
	}
	scope := state.TCP
	if c.endpoint != nil {
		scope = c.endpoint.Attachment.TCP
	}
	scope.Opened()
	start := time.Now()
	r := c.o.relay.join(ctx, down, server, c.idle)
	if c.endpoint != nil {
		c.endpoint.End(lb.Outcome{Kind: lb.Carried, Latency: time.Since(start), Bytes: r.sent})
	}
	c.leaveLimits()
	c.recordTCP(start, r, scope)
}

// connect dials the endpoint of a TCP route, another one where that fails.
func (c *outboundCall) connect(ctx context.Context, state *directory.Destination) (tunnel, error) {
	b, err := c.tcpBackend(state)
	if err != nil {
		return nil, err
	}
	c.backend, c.idle = b, b.Plan.TCPIdleTimeout
	if err := b.Group.Limits().Enter(ctx, lb.Connection, 0); err != nil {
		return nil, filter.LimitError(b.Plan.Name, err)
	}
	c.limits = b.Group.Limits()
	t, err := c.reachAny(ctx, b)
	if err != nil {
		c.leaveLimits()
	}
	return t, err
}

// leaveLimits counts the connection out of the limits of its backend.
func (c *outboundCall) leaveLimits() {
	if c.limits != nil {
		c.limits.Leave(lb.Connection)
		c.limits = nil
	}
}

// reachAny dials one endpoint after another.
func (c *outboundCall) reachAny(ctx context.Context, b *directory.Backend) (tunnel, error) {
	var errs []error
	var info lb.Info
	if b.Plan.Hash.By == model.HashBySource { // all that opaque connections have in common
		info.Hash = filter.HashOfSource(c.remote.Addr())
	}
	for range maxTries {
		chosen := c.pick(ctx, b, &info)
		e := chosen.Endpoint
		if e == nil || chosen.Why == lb.Repeated {
			break
		}
		info.Tried = append(info.Tried, e.Plan.Addr)
		begun := time.Now()
		e.Begin()
		t, err := dialEndpoint(ctx, b, e)
		if err == nil {
			e.Carrying()
			c.endpoint = e
			return t, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", e.Plan.Addr, err))
		if ctx.Err() != nil {
			e.End(lb.Outcome{})
			break
		}
		e.End(lb.Outcome{Kind: lb.Refused, Latency: time.Since(begun)})
	}
	if len(errs) == 0 {
		return nil, noHealthy(b)
	}
	return nil, errors.Join(errs...)
}

// pick chooses an endpoint of the backend.
func (c *outboundCall) pick(ctx context.Context, b *directory.Backend, info *lb.Info) directory.Choice {
	chosen := b.Picker().Pick(info)
	switch {
	case chosen.Endpoint != nil:
	case b.IsOriginal():
		e := c.original(b)
		chosen = directory.Choice{Endpoint: e, Why: lb.Usable}
		if e.Among(info.Tried) {
			chosen.Why = lb.Repeated
		}
	case b.AwaitNames(ctx):
		return b.Picker().Pick(info)
	}
	return chosen
}

func dialEndpoint(ctx context.Context, b *directory.Backend, e *directory.Endpoint) (tunnel, error) {
	limit := b.ConnectTimeout()
	if e.OnTrial(time.Now) {
		limit = min(limit, lb.TrialTimeout)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	up := e.Attachment
	if up.Peer != nil {
		return openMeshTunnel(ctx, up.Peer, e.Plan.Addr)
	}
	conn, err := up.Pool.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return newRawTunnel(conn), nil
}

// tcpBackend chooses the backend for a connection.
func (c *outboundCall) tcpBackend(state *directory.Destination) (*directory.Backend, error) {
	r := state.TCPRoutes.Match(route.Connection{To: c.local, ServerName: c.sni}, c.o.self.Caller())
	if r == nil {
		return nil, &httpx.Error{Kind: httpx.NoRoute, Object: string(state.Plan.Host), Detail: "no tcp route matches"}
	}
	at, ok := r.Pick(rand.Uint64()) //nolint:gosec // spreading load needs no secrecy
	if !ok {
		return nil, &httpx.Error{Kind: httpx.NoCluster, Object: r.Plan.Origin, Detail: "every backend has weight 0"}
	}
	b := state.Backends[at]
	if b.Plan.Missing != "" {
		return nil, &httpx.Error{Kind: httpx.NoCluster, Detail: b.Plan.Missing}
	}
	return b, nil
}

// neverIdle is how long opaque connections may stand still where no DestinationRule says otherwise. A pool of database
// connections rests for hours, and the app that finds one closed cannot tell why; a peer that is gone is found by
// keep-alive probes, whatever the protocol.
const neverIdle time.Duration = 0

// forget counts out the endpoint that was dialled in case the server speaks first.
func (c *outboundCall) forget() {
	if c.endpoint != nil {
		c.endpoint.End(lb.Outcome{})
	}
	c.leaveLimits()
	c.backend, c.endpoint = nil, nil
}

// recordTCP tells the sinks what became of an opaque connection.
func (c *outboundCall) recordTCP(start time.Time, r relayed, scope *telemetry.TCPScope) {
	rec := &telemetry.Record{
		Reporter: telemetry.Source, Start: start, Duration: time.Since(start), HeadAfter: -1, Received: r.received, Sent: r.sent,
		Dialled: c.local, Client: c.remote, TCP: scope,
	}
	if c.backend != nil {
		rec.Cluster = c.backend.Plan.Name
	}
	if c.endpoint != nil {
		rec.Endpoint = c.endpoint.Plan.Addr
	}
	c.o.sinks.Record(rec)
}
