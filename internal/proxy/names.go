package proxy

import (
	"context"
	"net/netip"
	"time"

	"fairlead.dev/fairlead/internal/dns"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
)

// nameWait is how long a question about a name nobody asked about before waits for the control plane; stub resolvers
// give up after five seconds.
const nameWait = 2 * time.Second

// names answers the workload's DNS questions about the mesh. It implements dns.Table.
type names struct {
	table     *table
	discovery channel
}

// Lookup implements dns.Table. name is in lower case without its trailing dot.
func (n *names) Lookup(ctx context.Context, name string) (dns.Answer, dns.Verdict) {
	resource := plan.DNSQuestion(model.Hostname(name))
	entry, known := n.table.lookupDNS(resource)
	if entry == nil {
		n.discovery.Use(resource)
	}
	if !known {
		ctx, cancel := context.WithTimeout(ctx, nameWait)
		defer cancel()
		if err := n.discovery.Await(ctx, resource); err != nil {
			return dns.Answer{}, dns.Unknown
		}
		if entry, known = n.table.lookupDNS(resource); !known {
			return dns.Answer{}, dns.Unknown
		}
	}
	if entry == nil {
		return dns.Answer{}, dns.NotOurs
	}
	return dns.Answer{Addrs: entry.Addresses, CNAME: string(entry.CNAME), TTL: entry.TTL}, dns.Ours
}

// listenDNS opens the DNS port on loopback, both families where there are two: only from there do answers leave with
// the address that the kernel redirected the question to.
func (p *Proxy) listenDNS(l *opener) ([]func(context.Context) error, error) {
	upstream, err := dns.NewUpstream(dns.UpstreamOptions{Servers: p.o.Resolvers, Dial: p.dialer.Dial})
	if err != nil {
		return nil, err
	}
	o := dns.Options{Table: &names{p.table, p.outage}, Upstream: upstream, Logger: p.o.Logger}
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
	server, err := dns.New(o)
	if err != nil {
		return nil, err
	}
	return []func(context.Context) error{server.Run}, nil
}
