package proxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/net/netio"
)

// listen opens every port before anything is served, so that a port that is taken is reported at once, and gives what
// serves them. Read from top to bottom it is the sidecar's surface.
func (p *Proxy) listen(ctx context.Context) ([]func(context.Context) error, error) {
	l := &opener{ctx: ctx, mark: p.o.Mark}
	// Names that the workload looks up, redirected here.
	names, err := p.listenDNS(l)
	metrics := func(w io.Writer) error {
		for _, write := range []func(io.Writer) error{
			p.metrics.WriteMetrics, names.WriteMetrics, p.outbound.Filters.WriteMetrics, p.directory.WriteMetrics, p.access.WriteMetrics,
		} {
			if err := write(w); err != nil {
				return err
			}
		}
		return nil
	}
	pages := admin.Sidecar{Metrics: &admin.Metrics{Write: metrics}, Dump: p.dump, Ready: p.Ready, Quit: p.Quit, Probes: p.probes}
	if p.appMetrics != nil {
		pages.App = p.appMetrics.Append
	}
	serve := []func(context.Context) error{
		// What the workload opens, redirected here by the kernel.
		p.accepting(l.all(portOutbound), p.serveOutbound),
		// What others open to it: by the mesh transport, addressed to this port …
		p.accepting(l.all(portMesh), p.inbound.serveMesh),
		// … or plainly, redirected here.
		p.accepting(l.all(portInbound), p.serveInbound),
		// Pages: what tells about configuration is for the pod alone.
		pageServer(l.loopback(portAdmin), pages.Admin()),
	}
	room := newPageRoom(pageConnections, p.refusals.tooMany)
	for port, handler := range map[uint16]http.Handler{portMetrics: pages.Agent(), portReady: pages.Public(), portPrometheus: pages.Public()} {
		for _, listener := range l.all(port) {
			serve = append(serve, room.serve(listener, handler))
		}
	}
	if l.err == nil {
		l.err = err
	}
	if l.err != nil {
		l.close()
		return nil, l.err
	}
	p.sockets = l.addresses()
	return append(serve, names.Run), nil
}

func (p *Proxy) accepting(ls []net.Listener, serve func(context.Context, net.Conn)) func(context.Context) error {
	a := &acceptor{listeners: ls, serve: serve, active: &p.active, room: p.overload.connection, refused: p.refusals.tooMany}
	return a.run
}

func (p *Proxy) serveOutbound(ctx context.Context, conn net.Conn) {
	dst, err := captured(conn)
	if err != nil {
		p.refusals.notRedirected(ctx, err)
		conn.Close()
		return
	}
	p.outbound.serve(ctx, conn, dst)
}

func (p *Proxy) serveInbound(ctx context.Context, conn net.Conn) {
	dst, err := captured(conn)
	if err != nil {
		p.refusals.notRedirected(ctx, err)
		conn.Close()
		return
	}
	p.inbound.servePlain(ctx, conn, dst)
}

// opener opens sockets and remembers the first error.
type opener struct {
	ctx    context.Context //nolint:containedctx // of one call to listen
	mark   uint32
	opened []interface{ Close() error }
	err    error
}

// all listens on every address, both families.
func (l *opener) all(port uint16) []net.Listener {
	if l.err != nil {
		return nil
	}
	tcp, err := netio.ListenAll(l.ctx, port, l.mark)
	if err != nil {
		l.err = err
		return nil
	}
	out := make([]net.Listener, 0, len(tcp))
	for _, t := range tcp {
		out = append(out, t)
		l.opened = append(l.opened, t)
	}
	return out
}

func (l *opener) loopback(port uint16) net.Listener {
	return l.at(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port))
}

func (l *opener) at(addr netip.AddrPort) net.Listener {
	if l.err != nil {
		return nil
	}
	t, err := netio.Listen(l.ctx, addr, l.mark)
	if err != nil {
		l.err = err
		return nil
	}
	l.opened = append(l.opened, t)
	return t
}

// addresses gives, for each TCP port, the addresses that it was opened on, in istioctl's form.
func (l *opener) addresses() map[uint16]string {
	ports := map[uint16]string{}
	for _, c := range l.opened {
		l, ok := c.(net.Listener)
		if !ok {
			continue
		}
		if at, ok := l.Addr().(*net.TCPAddr); ok {
			ports[uint16(at.Port)] = strings.TrimPrefix(ports[uint16(at.Port)]+","+at.IP.String(), ",")
		}
	}
	return ports
}

func (l *opener) close() {
	for _, c := range l.opened {
		c.Close() //nolint:errcheck // nothing was served yet
	}
}
