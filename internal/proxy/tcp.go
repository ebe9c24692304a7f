package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/proxy/filter"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/route"
)

// maxTries bounds the endpoints tried for one connection or request: the first and two more, Istio's default.
const maxTries = 3

// opaque carries a connection byte for byte. server is the tunnel that detection dialled, or nil.
func (c *outboundCall) opaque(ctx context.Context, client *netio.PeekConn, state *compiled, server tunnel) {
	down := newRawTunnel(client)
	if server == nil {
		var err error
		if server, err = c.connect(ctx, state); err != nil {
			c.o.log.DebugContext(ctx, "connection failed", "destination", c.dest.addr, "error", err)
			state.tcp.Opened()
			state.tcp.Closed()
			down.Abort(err)
			return
		}
	}
	scope := state.tcp
	if c.endpoint != nil {
		scope = reach(c.endpoint).tcp
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
func (c *outboundCall) connect(ctx context.Context, state *compiled) (tunnel, error) {
	b, err := c.tcpBackend(state)
	if err != nil {
		return nil, err
	}
	c.backend, c.idle = b, b.plan.TCPIdleTimeout
	if err := b.group.Limits().Enter(ctx, lb.Connection, 0); err != nil {
		return nil, filter.LimitError(b.plan.Name, err)
	}
	c.limits = b.group.Limits()
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
func (c *outboundCall) reachAny(ctx context.Context, b *backend) (tunnel, error) {
	var errs []error
	var info lb.Info
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
			e.Accepted()
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
func (c *outboundCall) pick(ctx context.Context, b *backend, info *lb.Info) choice {
	chosen := b.picker.Load().Pick(info)
	switch {
	case chosen.Endpoint != nil:
	case b.isOriginal():
		e := c.original(b)
		chosen = choice{Endpoint: e, Why: lb.Usable}
		if e.Among(info.Tried) {
			chosen.Why = lb.Repeated
		}
	case b.names != nil && b.awaitNames(ctx):
		return b.picker.Load().Pick(info)
	}
	return chosen
}

func dialEndpoint(ctx context.Context, b *backend, e *endpoint) (tunnel, error) {
	limit := b.connectTimeout()
	if e.OnTrial(time.Now) {
		limit = min(limit, lb.TrialTimeout)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	up := reach(e)
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
func (c *outboundCall) tcpBackend(state *compiled) (*backend, error) {
	r := state.tcpRoutes.Match(route.Connection{To: c.local, ServerName: c.sni}, c.o.self.caller())
	if r == nil {
		return nil, &httpx.Error{Kind: httpx.NoRoute, Object: string(state.plan.Host), Detail: "no tcp route matches"}
	}
	at, ok := r.Pick(rand.Uint64()) //nolint:gosec // spreading load needs no secrecy
	if !ok {
		return nil, &httpx.Error{Kind: httpx.NoCluster, Object: r.Plan.Origin, Detail: "every backend has weight 0"}
	}
	b := state.backends[at]
	if b.plan.Missing != "" {
		return nil, &httpx.Error{Kind: httpx.NoCluster, Detail: b.plan.Missing}
	}
	return b, nil
}
