package proxy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/otlp"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/call"
	"fairlead.dev/fairlead/internal/proxy/logexport"
	"fairlead.dev/fairlead/internal/proxy/trace"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// collector carries requests to a collector: a destination of the mesh where it is one, or else a host that is looked up as the
// app would look it up. It implements [otlp.Sender], for one goroutine.
type collector struct {
	p    *Proxy
	host string
	port uint16

	way *upstream.Way // to a host outside the mesh, at at
	at  netip.AddrPort
}

// newTracer returns what makes spans of calls.
func newTracer(p *Proxy) *trace.Tracer {
	return trace.New(trace.Options{
		Reach: reachFrom(p), Env: p.o.Env, Host: p.o.Pod.Name, Version: p.o.Version, Logger: p.o.Logger,
	})
}

// newLogs returns what sends records of calls to collectors.
func newLogs(p *Proxy) *logexport.Logs {
	return logexport.New(logexport.Options{Reach: reachFrom(p), Host: p.o.Pod.Name, Version: p.o.Version, Logger: p.o.Logger})
}

// reachFrom gives ways to collectors, each for one goroutine.
func reachFrom(p *Proxy) func(*model.TraceProvider) otlp.Sender {
	return func(t *model.TraceProvider) otlp.Sender { return &collector{p: p, host: string(t.Host), port: t.Port} }
}

// Send implements [otlp.Sender].
func (c *collector) Send(ctx context.Context, r *otlp.Request) (*otlp.Answer, error) {
	e := &call.Errand{Body: r.Body, Most: otlp.MaxAnswer, Request: httpx.Request{
		Version: httpx.HTTP11, Method: []byte("POST"), Scheme: []byte("http"), Path: []byte(r.Path),
		Authority: []byte(net.JoinHostPort(c.host, strconv.Itoa(int(c.port)))), ContentLength: int64(len(r.Body)),
	}}
	f := &e.Request.Fields
	f.AddString("content-type", r.ContentType)
	f.AddString("user-agent", "fairlead/"+c.p.o.Version)
	if r.GRPC {
		e.Request.Version, e.Request.ContentLength = httpx.HTTP2, -1
		f.AddString("te", "trailers")
	}
	trace.MarkUntraced(f)
	for _, h := range r.Headers {
		f.Set(h[0], h[1])
	}
	if err := c.carry(ctx, e); err != nil {
		return nil, err
	}
	return &otlp.Answer{
		Status: e.Status, Body: e.Answer, RetryAfter: string(e.Said("retry-after")),
		GRPCStatus: string(e.Said("grpc-status")), GRPCMessage: string(e.Said("grpc-message")),
	}, nil
}

func (c *collector) carry(ctx context.Context, e *call.Errand) error {
	name := plan.HostPort{Host: model.Hostname(c.host), Port: c.port}
	alias := "host/" + name.String()
	ip, err := netip.ParseAddr(c.host)
	if err == nil {
		alias = "ip/" + netip.AddrPortFrom(ip, c.port).String()
	}
	if cell := c.p.asker.Cell(ctx, alias); cell != nil && cell.Load() != nil {
		cell.Enter()
		defer cell.Leave()
		return e.To(ctx, &c.p.outbound.Outgoing, cell)
	}
	if err != nil {
		found, err := c.p.resolver.Resolve(ctx, c.host)
		if err != nil {
			return err
		}
		if len(found.Addrs) == 0 {
			return fmt.Errorf("%s has no address", c.host)
		}
		ip = found.Addrs[0]
	}
	return e.Along(ctx, c.outside(netip.AddrPortFrom(ip, c.port)))
}

// outside gives the way to an address that is not the mesh's.
func (c *collector) outside(at netip.AddrPort) *upstream.Way {
	if c.way == nil || c.at != at {
		if c.way != nil {
			c.way.Release()
		}
		c.way, c.at = c.p.ups.ReachAlone(at, upstream.Policy{}), at
	}
	return c.way
}
