package proxy

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/telemetry"
)

// outboundCall is one connection that the workload opened to a destination.
type outboundCall struct {
	o             *outbound
	dest          *destination
	local, remote netip.AddrPort // where the app meant to go, and where it came from

	// Of an opaque connection: what it was given to.
	backend  *backend
	endpoint *lb.Endpoint
	idle     time.Duration
	sni      string // the TLS server name, where the routes ask for it
	gate     *gate  // the limits it is counted in, nil for none

	originals originals
}

func (c *outboundCall) serveHTTP1(ctx context.Context, client *netio.PeekConn) {
	r := &requester{c: c}
	h := &http1Service{
		buffers: c.o.buffers, draining: c.o.draining, refused: r.refused, clients: &c.o.upstreams.clients, guard: &r.guard,
		handle: func(ex httpx.ServerExchange) { r.handle(ctx, ex) },
	}
	h.serve(ctx, client)
}

func (c *outboundCall) serveHTTP2(ctx context.Context, client *netio.PeekConn) {
	var idle sync.Pool
	o := h2.Options{Pool: c.o.h2pool, Workers: c.o.workers}
	serveHTTP2(ctx, client, o, ending{draining: c.o.draining}, func(s httpx.ServerExchange) {
		r, _ := idle.Get().(*requester)
		if r == nil {
			r = &requester{c: c}
		}
		r.handle(ctx, s)
		idle.Put(r)
	})
}

// logTCP writes the access log line of an opaque connection.
func (c *outboundCall) logTCP(start time.Time, r relayed) {
	if !c.o.access.Enabled() {
		return
	}
	e := telemetry.Entry{
		Start: start, Duration: time.Since(start), Received: r.received, Sent: r.sent, UpstreamTime: -1,
		DownstreamLocal: c.local, DownstreamRemote: c.remote,
	}
	if c.backend != nil {
		e.UpstreamCluster = c.backend.plan.Name
	}
	if c.endpoint != nil {
		e.UpstreamHost = c.endpoint.Plan.Addr
	}
	c.o.access.Log(&e)
}
