package proxy

import (
	"context"
	"sync"

	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/proxy/call"
)

// serveHTTP1 has the requests of a connection handled, one after the other, each by a Call that begins on the side of c, until it
// ends or waits.
func (o *outbound) serveHTTP1(ctx context.Context, client *netio.PeekConn, c *call.Outbound, handle func(*call.Call, httpx.ServerExchange)) *http1Conn {
	h := &http1Service{
		buffers: o.buffers, limits: o.limits, draining: o.draining, clients: o.clients, lot: o.lot,
		lend:   func(g *call.Guard) *call.Call { return o.Lend(c, &o.share, g) },
		back:   o.Back,
		handle: handle,
	}
	return h.serve(ctx, client)
}

// serveHTTP2 has the requests of a connection handled, each by a Call of its own that begins on the side of c.
func (o *outbound) serveHTTP2(ctx context.Context, client *netio.PeekConn, c *call.Outbound, handle func(*call.Call, httpx.ServerExchange)) {
	var idle sync.Pool
	opts := h2.Options{Pool: o.h2pool, Workers: o.workers, IdleTimeout: o.limits.idle(), MaxHeaderList: o.limits.head()}
	serveHTTP2(ctx, client, opts, ending{draining: o.draining}, func(s httpx.ServerExchange) {
		r, _ := idle.Get().(*call.Call)
		if r == nil {
			r = o.New(c, &o.share)
		}
		handle(r, s)
		idle.Put(r)
	})
	for r, _ := idle.Get().(*call.Call); r != nil; r, _ = idle.Get().(*call.Call) {
		r.Guard.Rest()
	}
}
