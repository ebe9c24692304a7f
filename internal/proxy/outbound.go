package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/filter"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
)

// outbound serves the connections that the workload opens.
type outbound struct {
	table     *table
	discovery channel
	self      *self
	upstreams *upstream.Set
	relay     *relay
	clients   *vigil
	metrics   *telemetry.Registry
	sinks     telemetry.Sinks
	buffers   *h1.Buffers
	h2pool    *h2.Pool
	workers   *h2.Workers
	log       *slog.Logger
	limits    *meshLimits
	// refuseUnknown is outboundTrafficPolicy REGISTRY_ONLY.
	refuseUnknown atomic.Bool
	namedPorts    atomic.Pointer[[]uint16] // of plan.MeshGlobal, nil before it came
	draining      <-chan struct{}
	filters       *filter.Chain
}

// firstUse is how long the first call to an unknown name waits for the control plane before it passes through.
const firstUse = 3 * time.Second

// serve carries one captured connection until it ends. dst is where the app meant to go.
func (o *outbound) serve(ctx context.Context, conn net.Conn, dst netip.AddrPort) {
	d := o.destination(ctx, dst)
	if d == nil {
		o.foreign(ctx, conn, dst)
		return
	}
	d.active.Add(1)
	defer d.leave()
	state := d.state.Load()
	if state == nil {
		o.foreign(ctx, conn, dst)
		return
	}
	client := netio.NewPeekConn(conn)
	c := &outboundCall{o: o, dest: d, local: dst, remote: remoteAddr(conn)}
	defer c.originals.close()
	switch state.plan.Protocol {
	case model.TCP, model.TLS, model.UDP:
		if c.named(client, state) {
			c.opaque(ctx, client, state, nil)
		}
	case model.HTTP, model.HTTP2, model.GRPC, model.GRPCWeb:
		protocol, err := sniff(client, netio.Declared, o.limits.detection())
		if err != nil {
			conn.Close() // the client went away without a word
			return
		}
		c.speak(ctx, client, protocol, nil)
	case model.Undeclared:
		if c.named(client, state) {
			c.detect(ctx, client, state)
		}
	}
}

// named learns the TLS server name where the routes ask for it. It reports false where the client is gone.
func (c *outboundCall) named(client *netio.PeekConn, state *compiled) bool {
	if !state.tcpRoutes.AsksServerName() {
		return true
	}
	var err error
	if c.sni, err = serverName(client, c.o.limits.detection()); err != nil {
		client.Close()
		return false
	}
	return true
}

// destination finds what the app called, asking the control plane on first use.
func (o *outbound) destination(ctx context.Context, dst netip.AddrPort) *destination {
	return o.lookUp(ctx, plan.AddressName(dst))
}

// lookUp finds what an alias leads to, asking the control plane on first use.
func (o *outbound) lookUp(ctx context.Context, alias string) *destination {
	d := o.table.find(alias)
	if d != nil && d.state.Load() != nil {
		return d
	}
	o.discovery.Use(alias)
	if d != nil {
		return d
	}
	ctx, cancel := context.WithTimeout(ctx, firstUse)
	defer cancel()
	if err := o.discovery.Await(ctx, alias); err != nil {
		level := slog.LevelWarn
		if errors.Is(err, errAway) {
			level = slog.LevelDebug // said when the first one waited in vain
		}
		o.log.LogAttrs(ctx, level, "control plane did not say what is behind an address or host, taken for unknown",
			slog.String("name", alias), slog.Any("error", err))
	}
	return o.table.find(alias)
}

func (o *outbound) passFailed(ctx context.Context, dst netip.AddrPort, err error) {
	o.log.DebugContext(ctx, "pass through", slog.String("address", dst.String()), slog.Any("error", err))
}

// speak serves a client-first connection by what its first bytes were.
func (c *outboundCall) speak(ctx context.Context, client *netio.PeekConn, protocol netio.Verdict, server tunnel) {
	switch protocol {
	case netio.HTTP1:
		c.serveHTTP1(ctx, client)
	case netio.HTTP2:
		c.serveHTTP2(ctx, client)
	case netio.TLS, netio.Opaque, netio.NeedMore:
		if state := c.dest.state.Load(); state != nil {
			c.opaque(ctx, client, state, server)
			return
		}
		client.Close()
	}
}

// detect serves a connection whose protocol nobody declared.
func (c *outboundCall) detect(ctx context.Context, client *netio.PeekConn, state *compiled) {
	d := &detector{client: client, claim: state.claim(), limit: c.o.limits.detection(), known: &c.dest.verdict, dial: func(ctx context.Context) (tunnel, error) {
		return c.connect(ctx, state)
	}}
	found, err := d.detect(ctx)
	switch {
	case err != nil:
		c.forget()
		client.Close()
	case found.err != nil:
		state.tcp.Opened()
		state.tcp.Closed()
		newRawTunnel(client).Abort(found.err)
	default:
		if found.server == nil {
			c.forget()
		}
		c.speak(ctx, client, found.protocol, found.server)
	}
}

// forget counts out the endpoint that was dialled in case the server speaks first.
func (c *outboundCall) forget() {
	if c.endpoint != nil {
		c.endpoint.End(lb.Outcome{})
	}
	c.leaveLimits()
	c.backend, c.endpoint = nil, nil
}

func remoteAddr(c net.Conn) netip.AddrPort {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
