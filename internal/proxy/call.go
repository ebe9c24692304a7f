package proxy

import (
	"context"
	"sync"

	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/net/netio"
)

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
