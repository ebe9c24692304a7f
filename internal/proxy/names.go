package proxy

import (
	"net/netip"

	"fairlead.dev/fairlead/internal/dns"
	"fairlead.dev/fairlead/internal/net/netio"
)

// listenDNS opens the DNS port on loopback, both families where there are two: only from there do answers leave with
// the address that the kernel redirected the question to.
func (p *Proxy) listenDNS(l *opener) (*dns.Server, error) {
	upstream, err := dns.NewUpstream(dns.UpstreamOptions{Servers: p.o.Resolvers, Dial: p.dialer.Dial})
	if err != nil {
		return nil, err
	}
	o := dns.Options{Table: p.asker, Upstream: upstream, Logger: p.o.Logger}
	for _, ip := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
		addr := netip.AddrPortFrom(ip, portDNS)
		udp, err := netio.ListenPacket(l.ctx, addr, l.mark)
		if err != nil && ip.Is6() {
			continue // a pod without IPv6
		}
		if err != nil {
			return nil, err
		}
		l.opened = append(l.opened, udp)
		o.UDP = append(o.UDP, udp)
		if tcp := l.at(addr); tcp != nil {
			o.TCP = append(o.TCP, tcp)
		}
	}
	return dns.New(o)
}
