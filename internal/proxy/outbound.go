package proxy

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/call"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
)

// outbound serves the connections that the workload opens.
type outbound struct {
	call.Outgoing

	asker     *directory.Asker
	upstreams *upstream.Set
	clients   *call.Vigil
	lot       *netio.Lot
	metrics   *telemetry.Registry
	buffers   *h1.Buffers
	peeks     *netio.PeekBuffers
	h2pool    *h2.Pool
	workers   *h2.Workers
	limits    *meshLimits
	share     share // of the workload's app
	// refuseUnknown is outboundTrafficPolicy REGISTRY_ONLY.
	refuseUnknown atomic.Bool
	namedPorts    atomic.Pointer[[]uint16] // of plan.MeshGlobal, nil before it came
	draining      *netio.Signal
}

// serve carries one captured connection until it ends, or waits for its next request. dst is where the app meant to go.
func (o *outbound) serve(ctx context.Context, conn net.Conn, dst netip.AddrPort) *http1Conn {
	d := o.asker.Cell(ctx, plan.AddressName(dst))
	if d == nil {
		return o.foreign(ctx, conn, dst)
	}
	d.Enter()
	state := d.Load()
	if state == nil {
		return o.foreign(ctx, conn, dst).finally(d.Leave)
	}
	c := &call.Outbound{Of: &o.Outgoing, Dest: d, Local: dst, Remote: remoteAddr(conn)}
	return o.carry(ctx, c, o.peeks.Wrap(conn), state).finally(func() {
		c.Originals.Close()
		d.Leave()
	})
}

// carry serves a connection by what its port is declared to carry.
func (o *outbound) carry(ctx context.Context, c *call.Outbound, client *netio.PeekConn, state *directory.Destination) *http1Conn {
	switch state.Plan.Protocol {
	case model.TCP, model.TLS, model.UDP:
		if o.named(c, client, state) {
			c.Opaque(ctx, client, state, nil)
		}
	case model.HTTP, model.HTTP2, model.GRPC, model.GRPCWeb:
		protocol, err := sniff(client, netio.Declared, o.limits.detection())
		if err != nil {
			client.Close() // it went away without a word
			return nil
		}
		return o.speak(ctx, c, client, protocol, nil)
	case model.Undeclared:
		if o.named(c, client, state) {
			return o.detect(ctx, c, client, state)
		}
	}
	return nil
}

// named learns the TLS server name where the routes ask for it. It reports false where the client is gone.
func (o *outbound) named(c *call.Outbound, client *netio.PeekConn, state *directory.Destination) bool {
	if !state.TCPRoutes.AsksServerName() {
		return true
	}
	var err error
	if c.SNI, err = serverName(client, o.limits.detection()); err != nil {
		client.Close()
		return false
	}
	return true
}

func (o *outbound) passFailed(ctx context.Context, dst netip.AddrPort, err error) {
	o.Log.DebugContext(ctx, "pass through", slog.String("address", dst.String()), slog.Any("error", err))
}

// speak serves a client-first connection by what its first bytes were.
func (o *outbound) speak(ctx context.Context, c *call.Outbound, client *netio.PeekConn, protocol netio.Detected, server call.Tunnel) *http1Conn {
	switch protocol {
	case netio.HTTP1:
		return o.serveHTTP1(ctx, client, c, func(r *call.Call, ex httpx.ServerExchange) { r.Handle(ctx, ex) })
	case netio.HTTP2:
		o.serveHTTP2(ctx, client, c, func(r *call.Call, s httpx.ServerExchange) { r.Handle(ctx, s) })
	case netio.TLS, netio.Opaque, netio.NeedMore:
		if state := c.Dest.Load(); state != nil {
			c.Opaque(ctx, client, state, server)
			return nil
		}
		client.Close()
	}
	return nil
}

// detect serves a connection whose protocol is not declared.
func (o *outbound) detect(ctx context.Context, c *call.Outbound, client *netio.PeekConn, state *directory.Destination) *http1Conn {
	d := &detector{client: client, claim: claimOf(state), limit: o.limits.detection(), known: &c.Dest.Protocol, dial: func(ctx context.Context) (call.Tunnel, error) {
		return c.Connect(ctx, state)
	}}
	begun := time.Now()
	found, err := d.detect(ctx)
	switch {
	case err != nil:
		c.Forget()
		client.Close()
	case found.err != nil:
		c.Refuse(ctx, client, state, begun, found.err)
	default:
		if found.server == nil {
			c.Forget()
		}
		return o.speak(ctx, c, client, found.protocol, found.server)
	}
	return nil
}

func remoteAddr(c net.Conn) netip.AddrPort {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
