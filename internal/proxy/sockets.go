package proxy

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// The ports, Istio's.
const (
	portAdmin      = 15000
	portOutbound   = 15001
	portInbound    = 15006
	portMesh       = upstream.MeshPort
	portMetrics    = 15020
	portReady      = 15021
	portDNS        = 15053
	portPrometheus = 15090
)

// Sockets are what a proxy serves on, its whole surface: opened by OpenSockets, or by what made the process and handed
// over. A proxy can do without any of them.
type Sockets struct {
	// Outbound takes what the workload opens, redirected there by the kernel.
	Outbound []net.Listener
	// Mesh takes what others open to it by the mesh transport, addressed to its port; Inbound what they open plainly,
	// redirected.
	Mesh, Inbound []net.Listener
	// Admin has the pages about configuration, for the pod alone. Agent and Public have the pages that every client may
	// read: both probes and metrics, Agent also what the kubelet and the injector are told.
	Admin, Agent, Public []net.Listener
	// Names and NamesTCP take the workload's DNS questions.
	Names    []net.PacketConn
	NamesTCP []net.Listener
}

// OpenSockets opens every port at its place, so that a port that is taken is reported before anything is served. mark is
// inherited by the accepted connections; 0 for none.
func OpenSockets(ctx context.Context, mark uint32) (*Sockets, error) {
	o := opener{ctx: ctx, mark: mark}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	s := &Sockets{
		Outbound: o.all(portOutbound, netio.Local), Mesh: o.all(portMesh, netio.Remote), Inbound: o.all(portInbound, netio.Remote),
		Admin: o.at(loopback, portAdmin), Agent: o.all(portMetrics, netio.Remote),
		Public: append(o.all(portReady, netio.Remote), o.all(portPrometheus, netio.Remote)...),
	}
	// On loopback only, both families where there are two: only from there do answers leave with the address that the
	// kernel redirected the question to.
	for _, ip := range []netip.Addr{loopback, netip.IPv6Loopback()} {
		if udp := o.packets(ip, portDNS); udp != nil {
			s.Names = append(s.Names, udp)
			s.NamesTCP = append(s.NamesTCP, o.at(ip, portDNS)...)
		}
	}
	if o.err != nil {
		s.Close()
		return nil, o.err
	}
	return s, nil
}

// Close closes all of them.
func (s *Sockets) Close() {
	for _, l := range s.listeners() {
		l.Close()
	}
	for _, c := range s.Names {
		c.Close() //nolint:errcheck // nothing was served
	}
}

func (s *Sockets) listeners() []net.Listener {
	var all []net.Listener
	for _, ls := range [][]net.Listener{s.Outbound, s.Mesh, s.Inbound, s.Admin, s.Agent, s.Public, s.NamesTCP} {
		all = append(all, ls...)
	}
	return all
}

// addresses gives, for each TCP port, the addresses that it was opened on, in istioctl's form.
func (s *Sockets) addresses() map[uint16]string {
	ports := map[uint16]string{}
	for _, l := range s.listeners() {
		if at, ok := l.Addr().(*net.TCPAddr); ok {
			ports[uint16(at.Port)] = strings.TrimPrefix(ports[uint16(at.Port)]+","+at.IP.String(), ",")
		}
	}
	return ports
}

// opener opens sockets until one cannot be, and keeps that error.
type opener struct {
	ctx  context.Context //nolint:containedctx // of one call to OpenSockets
	mark uint32
	err  error
}

// all listens on every address, both families.
func (o *opener) all(port uint16, from netio.Clients) []net.Listener {
	if o.err != nil {
		return nil
	}
	tcp, err := netio.ListenAll(o.ctx, port, netio.Accepting{Mark: o.mark, Clients: from})
	o.err = err
	ls := make([]net.Listener, 0, len(tcp))
	for _, l := range tcp {
		ls = append(ls, l)
	}
	return ls
}

// at listens on a loopback address.
func (o *opener) at(ip netip.Addr, port uint16) []net.Listener {
	if o.err != nil {
		return nil
	}
	l, err := netio.Listen(o.ctx, netip.AddrPortFrom(ip, port), netio.Accepting{Mark: o.mark, Clients: netio.Local})
	if err != nil {
		o.err = err
		return nil
	}
	return []net.Listener{l}
}

// packets gives nil where there is no IPv6, as in many pods.
func (o *opener) packets(ip netip.Addr, port uint16) net.PacketConn {
	if o.err != nil {
		return nil
	}
	c, err := netio.ListenPacket(o.ctx, netip.AddrPortFrom(ip, port), o.mark)
	switch {
	case err == nil:
		return c
	case !ip.Is6():
		o.err = err
	}
	return nil
}
