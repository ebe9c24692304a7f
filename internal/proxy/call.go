package proxy

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/telemetry"
)

// outboundCall is one connection that the workload opened to a destination.
type outboundCall struct {
	o             *outbound
	dest          *directory.Cell
	local, remote netip.AddrPort // where the app meant to go, and where it came from

	// Of an opaque connection: what it was given to.
	backend  *directory.Backend
	endpoint *directory.Endpoint
	idle     time.Duration
	sni      string     // the TLS server name, where the routes ask for it
	limits   *lb.Limits // those it is counted in, nil for none

	originals originals
}

func (c *outboundCall) serveHTTP1(ctx context.Context, client *netio.PeekConn) {
	r := &Call{side: c, common: &c.o.common}
	c.o.serveHTTP1(ctx, client, r, func(ex httpx.ServerExchange) { r.handle(ctx, ex) })
}

func (c *outboundCall) serveHTTP2(ctx context.Context, client *netio.PeekConn) {
	c.o.serveHTTP2(ctx, client, c, func(r *Call, s httpx.ServerExchange) { r.handle(ctx, s) })
}

// serveHTTP1 has the requests of a connection handled, one after the other. What is none is counted by r.
func (o *outbound) serveHTTP1(ctx context.Context, client *netio.PeekConn, r *Call, handle func(httpx.ServerExchange)) {
	h := &http1Service{
		buffers: o.buffers, limits: o.limits, draining: o.draining, refused: r.refused, clients: o.clients, guard: &r.guard, handle: handle,
	}
	h.serve(ctx, client)
}

// serveHTTP2 has the requests of a connection handled, each by a Call of its own that begins on the side of c.
func (o *outbound) serveHTTP2(ctx context.Context, client *netio.PeekConn, c *outboundCall, handle func(*Call, httpx.ServerExchange)) {
	var idle sync.Pool
	opts := h2.Options{Pool: o.h2pool, Workers: o.workers, IdleTimeout: o.limits.idle(), MaxHeaderList: o.limits.head()}
	serveHTTP2(ctx, client, opts, ending{draining: o.draining}, func(s httpx.ServerExchange) {
		r, _ := idle.Get().(*Call)
		if r == nil {
			r = &Call{side: c, common: &o.common}
		}
		handle(r, s)
		idle.Put(r)
	})
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
