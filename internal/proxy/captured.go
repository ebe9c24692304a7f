package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/call"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// capturedConn is a connection that was opened to a port of the app, as the client meant it and without any mesh transport.
type capturedConn struct {
	*inbound

	client *netio.PeekConn // of a peer, what its TLS holds
	who    *call.Caller
	dst    netip.AddrPort
	port   plan.InboundPort
	tenure *upstream.Tenure
	way    *appWay
	// server is the app's end where it was dialled before it was known what the client speaks, nil where it was not.
	server call.Tunnel
	// records is below the TLS of a peer, nil for plain connections.
	records *h2.RecordCoalescer
}

// servePlain carries a connection that did not come through another Fairlead sidecar; dst is where its client meant it to go,
// which is an address of the workload unless a neighbour on the network sends packets here that are for others.
func (i *inbound) servePlain(ctx context.Context, conn net.Conn, dst netip.AddrPort) *http1Conn {
	who := &call.Caller{Remote: remoteAddr(conn)}
	return i.receive(ctx, conn, who, dst).finally(func() { i.Bye(who) })
}

// receive serves a connection that is let in.
func (i *inbound) receive(ctx context.Context, conn net.Conn, who *call.Caller, dst netip.AddrPort) *http1Conn {
	port, err := i.authorize(ctx, arrival{kind: plainConnection, who: who, to: dst})
	if astray, ok := errors.AsType[*misdirectedError](err); ok {
		call.NewRawTunnel(conn).Abort(nil)
		i.refusals.misdirected(ctx, astray.why, who.Remote, dst)
		return nil
	}
	c := &capturedConn{inbound: i, client: i.peeks.Wrap(conn), who: who, dst: dst, port: port, way: i.appWay(dst)}
	return c.serve(ctx, err).finally(c.way.leave)
}

// serve serves the connection, of which refusal is why it may not be let in; nil where it may.
func (c *capturedConn) serve(ctx context.Context, refusal error) *http1Conn {
	if _, strict := errors.AsType[*strictError](refusal); strict && c.beginsTLS() {
		return c.servePeer(ctx)
	}
	conn := c.client.NetConn()
	if refusal != nil {
		c.shut(ctx, conn, c.who, c.dst, refusal)
		return nil
	}
	tenure := upstream.NewTenure(conn, c.grace)
	c.tenure = tenure
	c.plain.enter(tenure, c.dst.Port())
	if c.refusesPlain(c.dst.Port()) {
		tenure.End() // the policy has changed before the connection was among those that are told
	}
	going, err := c.carry(ctx)
	going = going.finally(func() { c.plain.leave(tenure) })
	if errors.Is(err, errPeer) {
		return c.servePeer(ctx)
	}
	return going
}

// errPeer says that a plain connection is a peer's, whose TLS is for the sidecar.
var errPeer = errors.New("a peer's TLS")

// carry has the app served what the connection carries, until that ends or waits. It returns errPeer, and has done nothing
// yet, where that is a peer's TLS.
func (c *capturedConn) carry(ctx context.Context) (*http1Conn, error) {
	var err error
	found := detected{protocol: netio.Opaque, server: c.server}
	heard := c.closeSilent(ctx)
	switch c.port.Protocol {
	case model.TCP, model.TLS, model.UDP:
		if found.server == nil {
			found, err = c.awaitWord(ctx)
		}
	case model.HTTP, model.HTTP2, model.GRPC, model.GRPCWeb:
		if err = c.sniffPeer(); err == nil {
			found.protocol, err = sniff(c.client, netio.Declared, c.limits.detection())
		}
	case model.Undeclared:
		d := &detector{
			client: c.client, claim: netio.Unclaimed, limit: c.limits.detection(), dial: c.dial, known: c.detected(c.dst.Port()), isPeer: c.isPeer,
		}
		found, err = d.detect(ctx)
	}
	heard()
	switch {
	case errors.Is(err, errPeer):
		return nil, err
	case err != nil:
		c.client.Close()
	case found.err != nil:
		call.NewRawTunnel(c.client).Abort(found.err)
	case found.protocol == netio.HTTP1:
		c.way.leave()
		return c.serveHTTP1(ctx), nil
	case found.protocol == netio.HTTP2:
		c.way.leave()
		c.serveHTTP2(ctx)
	default:
		c.opaque(ctx, call.NewRawTunnel(c.client), found.server, c.who, c.dst)
	}
	return nil, nil //nolint:nilnil // it has ended
}

// dial connects to the app.
func (c *capturedConn) dial(ctx context.Context) (call.Tunnel, error) {
	conn, err := c.way.dial(ctx)
	if err != nil {
		return nil, err
	}
	return call.NewRawTunnel(conn), nil
}

// closeSilent closes a connection on which nothing has come a while after the workload has begun to end, as one that waits for
// its next request: clients open some in advance, and must not find out with a request that the app has gone. Where it is not
// known that HTTP comes, the server may be about to speak. The returned function says that something has come.
func (c *capturedConn) closeSilent(ctx context.Context) (heard func()) {
	known := c.port.Protocol
	if v := netio.Detected(c.detected(c.port.Port).Load()); known == model.Undeclared && (v == netio.HTTP1 || v == netio.HTTP2) {
		known = model.HTTP
	}
	switch known {
	case model.HTTP, model.HTTP2, model.GRPC, model.GRPCWeb:
		return c.draining.Then(ctx, func(ctx context.Context) {
			if call.Pause(ctx, lateFor) {
				c.client.Close()
			}
		})
	case model.TCP, model.TLS, model.UDP, model.Undeclared:
	}
	return func() {}
}

// peer is whom the connection is charged to.
func (c *capturedConn) peer() peerKey {
	return peerKey{addr: c.who.Remote.Addr(), identity: c.who.Identity}
}

// serveHTTP1 carries the requests of a keep-alive connection.
func (c *capturedConn) serveHTTP1(ctx context.Context) *http1Conn {
	peer, leave := c.quotas.enter(c.peer(), c.limits.peerRequests())
	side := c.Port(c.who, c.dst)
	h := &http1Service{
		buffers: c.buffers, limits: c.limits, clients: c.clients, lot: c.lot,
		draining: c.draining, notice: c.tenure.Notice(), ended: c.tenure.Ended(), idles: lateFor,
		lend:   func(g *call.Guard) *call.Call { return c.Lend(side, &peer.share, g) },
		back:   c.Back,
		handle: func(r *call.Call, ex httpx.ServerExchange) { r.Handle(ctx, ex) },
	}
	return h.serve(ctx, c.client).finally(leave)
}

// serveHTTP2 carries the requests of an HTTP/2 connection with prior knowledge.
func (c *capturedConn) serveHTTP2(ctx context.Context) {
	key := c.peer()
	if c.turn(ctx, netio.Bottom(c.client), key) != nil {
		return
	}
	peer, leave := c.quotas.enter(key, c.limits.peerRequests())
	defer leave()
	o := h2.Options{
		Abused: func() { c.charge(c.who.Remote, key) }, Coalescer: c.records,
		Pool: c.h2pool, Workers: c.workers, Quota: peer.Quota, IdleTimeout: c.limits.idle(), MaxHeaderList: c.limits.head(),
	}
	serveHTTP2(ctx, c.client, o, ending{c.draining, c.tenure.Notice()}, func(s httpx.ServerExchange) {
		r := c.New(c.Port(c.who, c.dst), &peer.share)
		r.Handle(ctx, s)
	})
}
