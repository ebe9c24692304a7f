package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/proxy/call"
)

// http1Service is what to do with the requests of an HTTP/1.1 connection.
type http1Service struct {
	buffers  *h1.Buffers
	limits   *meshLimits
	draining *netio.Signal
	notice   *netio.Signal // of the connection's tenure, nil where it has none: answers say that they are the last
	ended    *netio.Signal // of the same: it closes where it is idle
	// idles is how long a connection that waits for a request is left open once draining is given: the answer to the next
	// one says that it is the last, and a client that has just sent it does not find a closed connection.
	idles time.Duration
	// clients is told of the connection.
	clients *call.Vigil
	// lot is where it waits; nil where it waits in its goroutine.
	lot *netio.Lot
	// lend gives a Call for one request, which back takes back: while the connection waits it holds none.
	lend func(*call.Guard) *call.Call
	back func(*call.Call)
	// handle carries one request.
	handle func(*call.Call, httpx.ServerExchange)
}

// refuse answers, and records, a request that is no HTTP, or too large, where an answer is due.
func (c *http1Conn) refuse(err error) {
	var bad *h1.Error
	if errors.Is(err, io.EOF) || !errors.As(err, &bad) {
		return
	}
	start := time.Now()
	refusal := &httpx.Error{Reason: httpx.DownstreamProtocolError, Status: bad.Status, Detail: bad.Reason}
	if bad.Status == statusHeadTooLarge {
		refusal.Reason = httpx.HeaderTooLarge
	}
	out := httpx.Describe(refusal)
	var resp httpx.Response
	resp.Status = out.Status
	resp.Fields.AddString("content-type", "text/plain")
	resp.Fields.AddName("proxy-status", out.AppendProxyStatus(nil, call.ProxyName))
	r := c.lend(&c.guard)
	r.Refused(start, out)
	c.back(r)
	c.server.Refuse(&resp, []byte(out.Body+"\n")) //nolint:errcheck // the connection is over either way
}

// statusHeadTooLarge is RFC 6585 §5's.
const statusHeadTooLarge = 431

// ending says when a connection is to take no more requests: when the proxy drains, or when the connection's tenure ends
// (nil where it has none).
type ending struct{ draining, tenure *netio.Signal }

// serveHTTP2 calls handle, in many goroutines, for the requests of an HTTP/2 connection.
func serveHTTP2(ctx context.Context, conn net.Conn, o h2.Options, ends ending, handle func(httpx.ServerExchange)) {
	o.Handler = func(s *h2.ServerStream) {
		asHTTP1Upgrade(s.Request())
		handle(s)
	}
	server := h2.NewServer(conn, o)
	stop := ends.watch(ctx, server)
	defer stop()
	server.Serve(ctx) //nolint:errcheck // a client that goes away is no event
	conn.Close()
}

// lateFor is how long a connection that comes while the proxy drains takes requests: its client has not heard yet, and what
// it connected for must not find GOAWAY.
const lateFor = time.Second

// watch shuts a server down in time. The returned function ends the watch and waits for what it does.
func (e ending) watch(ctx context.Context, server *h2.Server) (stop func()) {
	late := e.draining.IsGiven()
	return e.then(ctx, func(ctx context.Context) {
		if !late || call.Pause(ctx, lateFor) {
			server.Shutdown(ctx) //nolint:errcheck // the end of Serve says it
		}
	})
}

// then calls do once for each of the two that comes. The returned function ends the watch and waits for do.
func (e ending) then(ctx context.Context, do func(context.Context)) (stop func()) {
	drained, over := e.draining.Then(ctx, do), e.tenure.Then(ctx, do)
	return func() {
		drained()
		over()
	}
}

// asHTTP1Upgrade gives a CONNECT, extended (RFC 8441) or not, the meaning that it has in HTTP/1.1: the request that asks to
// switch protocols has no body; what follows belongs to the protocol switched to.
func asHTTP1Upgrade(req *httpx.Request) {
	if req.Upgrade != nil || call.IsConnect(req) {
		req.ContentLength = 0
	}
}
