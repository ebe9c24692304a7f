package proxy

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync/atomic"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/dns"
)

// doors gives what serves the sockets. Read from top to bottom it is what the sidecar does for others.
func (p *Proxy) doors() []func(context.Context) error {
	s := p.o.Sockets
	doors := []func(context.Context) error{
		p.accepting(&p.open.app, s.Outbound, p.redirected(p.outbound.serve)),
		p.accepting(&p.open.mesh, s.Mesh, toTheEnd(p.inbound.serveMesh)),
		p.accepting(&p.open.plain, s.Inbound, p.redirected(p.inbound.servePlain)),
	}
	pages := p.pages()
	for _, l := range s.Admin {
		doors = append(doors, pageServer(l, pages.Admin()))
	}
	room := newPageRoom(pageConnections, p.refusals.tooMany)
	for _, l := range s.Agent {
		doors = append(doors, room.serve(l, pages.Agent()))
	}
	for _, l := range s.Public {
		doors = append(doors, room.serve(l, pages.Public()))
	}
	if p.names != nil {
		doors = append(doors, p.names.Run)
	}
	return doors
}

// accepting counts the connections that are open in own.
func (p *Proxy) accepting(own *atomic.Int64, ls []net.Listener, serve func(context.Context, net.Conn) *http1Conn) func(context.Context) error {
	a := &acceptor{listeners: ls, workers: p.workers, serve: serve, active: &p.active, own: own, room: p.overload.connection, refused: p.refusals.tooMany}
	return a.run
}

// redirected gives connections to serve that the kernel has redirected, with the destination that they were opened to.
func (p *Proxy) redirected(serve func(context.Context, net.Conn, netip.AddrPort) *http1Conn) func(context.Context, net.Conn) *http1Conn {
	return func(ctx context.Context, conn net.Conn) *http1Conn {
		dst, err := p.o.Captured(conn)
		if err != nil {
			p.refusals.notRedirected(ctx, err)
			conn.Close()
			return nil
		}
		return serve(ctx, conn, dst)
	}
}

// toTheEnd is for what returns when the connection has ended.
func toTheEnd(serve func(context.Context, net.Conn)) func(context.Context, net.Conn) *http1Conn {
	return func(ctx context.Context, conn net.Conn) *http1Conn {
		serve(ctx, conn)
		return nil
	}
}

func (p *Proxy) pages() *admin.Sidecar {
	metrics := []func(io.Writer) error{
		p.metrics.WriteMetrics, p.routeStats.WriteMetrics, p.routes.WriteMetrics, p.open.writer(p.ups, &p.lot), p.outbound.Filters.WriteMetrics,
		p.directory.WriteMetrics, p.access.WriteMetrics, p.tracer.WriteMetrics, p.logs.WriteMetrics, p.checks.own.WriteMetrics, p.checks.others.WriteMetrics,
	}
	if p.names != nil {
		metrics = append(metrics, p.names.WriteMetrics)
	}
	pages := &admin.Sidecar{
		Metrics: &admin.Metrics{Write: func(w io.Writer) error {
			for _, write := range metrics {
				if err := write(w); err != nil {
					return err
				}
			}
			return nil
		}, Native: p.native.Load},
		Dump: p.dump, Failures: p.dumpFailures, Why: explainer{p}.why, LogLevel: p.o.LogLevel, Ready: p.Ready, Quit: p.Quit, Probes: p.probes,
		HoldApp: func(ctx context.Context) { p.departure.holdApp(ctx, p.inbound.plain.newest) },
	}
	if p.appMetrics != nil {
		pages.App = p.appMetrics.Append
	}
	return pages
}

// newNames serves the workload's questions, where it has a socket for them.
func (p *Proxy) newNames() (*dns.Server, error) {
	s := p.o.Sockets
	if len(s.Names)+len(s.NamesTCP) == 0 {
		return nil, nil //nolint:nilnil // no server is an answer
	}
	upstream, err := dns.NewUpstream(dns.UpstreamOptions{Servers: p.o.Resolvers, Dial: p.dialer.Dial})
	if err != nil {
		return nil, err
	}
	return dns.New(dns.Options{UDP: s.Names, TCP: s.NamesTCP, Table: p.asker, Upstream: upstream, Logger: p.o.Logger})
}
