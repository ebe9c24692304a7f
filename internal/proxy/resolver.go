package proxy

import (
	"context"
	"errors"

	"fairlead.dev/fairlead/internal/dns"
	"fairlead.dev/fairlead/internal/proxy/directory"
)

// newResolver asks the upstream servers that the workload would have asked.
func (p *Proxy) newResolver() (directory.Resolver, error) {
	if p.o.Resolver != nil {
		return p.o.Resolver, nil
	}
	if len(p.o.Resolvers) == 0 {
		return noServers{}, nil
	}
	upstream, err := dns.NewUpstream(dns.UpstreamOptions{Servers: p.o.Resolvers, Dial: p.dialer.Dial})
	if err != nil {
		return nil, err
	}
	return dns.NewResolver(upstream), nil
}

// noServers is the resolver of a pod whose resolv.conf names no server.
type noServers struct{}

func (noServers) Resolve(context.Context, string) (dns.Resolved, error) {
	return dns.Resolved{}, errors.New("resolv.conf names no server")
}
