package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"fairlead.dev/fairlead/internal/appmetrics"
	"fairlead.dev/fairlead/internal/appprobe"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/dns"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/observe"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/call"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/filter"
	"fairlead.dev/fairlead/internal/proxy/logexport"
	"fairlead.dev/fairlead/internal/proxy/trace"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
)

// bodyBudget is what the HTTP/2 connections of the process may hold of bodies whose readers do not keep up.
const bodyBudget = 4 << 20

// Proxy is one sidecar.
type Proxy struct {
	o         Options
	self      *directory.Self
	directory *directory.Directory
	asker     *directory.Asker
	ups       *upstream.Set
	buffers   *h1.Buffers
	h2pool    *h2.Pool
	relay     *call.Relay
	clients   call.Vigil
	lot       netio.Lot // of connections that wait for their next request
	discovery Discovery
	identity  *identity.Workload
	names     *dns.Server // nil where there is no socket for it
	metrics   *telemetry.Registry
	access    *telemetry.AccessLog
	failures  telemetry.Failures
	tap       observe.Tap
	agent     *observe.Agent
	edges     *telemetry.Edges
	sinks     telemetry.Sinks
	outbound  *outbound
	inbound   *inbound
	dialer    netio.Dialer
	refusals  *refusalLog
	limits    meshLimits
	overload  *overload
	// routeStats are the counts of routes that have a statPrefix.
	routeStats telemetry.RouteStats
	routes     *telemetry.Routes
	native     atomic.Bool // the mesh's NativeHistograms
	tracer     *trace.Tracer
	logs       *logexport.Logs
	resolver   directory.Resolver
	workers    *h2.Workers // run the handlers of HTTP/2 streams, of all connections
	probes     *appprobe.Handler
	checks     *checks
	// appMetrics is nil where the app shows none.
	appMetrics *appmetrics.Page

	draining  *netio.Signal // given when the process is told to end
	departure *departure
	quit      chan struct{}
	quitOnce  sync.Once
	active    atomic.Int64
	open      openConnections
	group     group
}

// New wires a proxy. It opens nothing; Run does.
func New(o Options) (*Proxy, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	p := &Proxy{
		o: o, discovery: o.Discovery, identity: o.Identity, self: directory.NewSelf(o.Pod, o.IPs, o.LocalAddr), metrics: telemetry.NewRegistry(o.Version),
		access: telemetry.NewAccessLog(o.AccessLog, o.Pod.Name), draining: netio.NewSignal(), quit: make(chan struct{}),
		buffers: new(h1.Buffers), h2pool: &h2.Pool{Budget: h2.NewBudget(bodyBudget)},
		lot:    netio.Lot{After: parkAfter, Crowded: o.Crowded},
		dialer: netio.Dialer{Mark: o.Mark, Timeout: upstream.ConnectTimeout},
	}
	p.edges, p.routes = telemetry.NewEdges(time.Now()), telemetry.NewRoutes()
	p.sinks = telemetry.Sinks{
		p.access, // first: a reader who sees the count finds the line
		&p.failures,
		p.edges,
		telemetry.Counter{},
		&p.routeStats,
		p.routes,
		&p.tap,
	}
	p.tracer = newTracer(p)
	p.logs = newLogs(p)
	p.sinks = append(p.sinks, p.tracer, p.logs)
	var err error
	if p.agent, err = observe.NewAgent(observe.AgentOptions{Tap: &p.tap, Summary: p.report, Logger: o.Logger}); err != nil {
		return nil, err
	}
	if p.relay, err = call.NewRelay(); err != nil {
		return nil, err
	}
	p.overload = newOverload(&p.limits)
	p.refusals = &refusalLog{metrics: p.metrics, log: o.Logger, own: ownCertificateOf(p)}
	p.ups = p.newUpstreams()
	resolver, err := p.newResolver()
	if err != nil {
		return nil, err
	}
	p.resolver = resolver
	p.directory = directory.New(directory.Options{
		Self: p.self, Upstreams: p.ups, Metrics: p.metrics, Resolver: resolver, Run: p.group.run, Notify: p.heed, Logger: o.Logger,
	})
	p.departure = newDeparture(o.Discovery, &p.active, p.group.run, o.Logger)
	p.asker = directory.NewAsker(p.directory, o.Discovery, o.Discovery.Connected)
	if p.names, err = p.newNames(); err != nil {
		return nil, err
	}
	p.probes, err = appprobe.New(appprobe.Options{Probes: o.AppProbes, PodIP: o.IPs[0], Dial: p.dialApp, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	p.checks = newChecks(p)
	if o.AppMetrics != "" {
		p.appMetrics, err = appmetrics.New(appmetrics.Options{URL: o.AppMetrics, PodIP: o.IPs[0], Dial: p.dialPlain, Logger: o.Logger})
		if err != nil {
			return nil, err
		}
	}
	p.newHandlers()
	return p, nil
}

// report is what the control plane hears of the calls since it heard of them last.
func (p *Proxy) report() []byte { return p.edges.Report(time.Now()).Encode() }

func (p *Proxy) newUpstreams() *upstream.Set {
	return upstream.New(upstream.Options{
		Plain: p.dialPlain, App: p.dialCalledApp, Credentials: func(peer string) *tls.Config { return p.identity.ClientConfig(peer) },
		Refused: p.refusals.peer, Silenced: p.metrics.Silenced, Run: p.group.run, Grace: p.o.Drain, Buffers: p.buffers, Pool: p.h2pool,
		HeadBytes: p.limits.head,
	})
}

func (p *Proxy) newHandlers() {
	p.workers = h2.NewWorkers(0)
	peeks := new(netio.PeekBuffers)
	common := call.Common{Tracer: p.tracer, Sinks: p.sinks, Beginner: &p.tap, Bodies: new(call.Buffers), StreamIdle: p.limits.streamIdle, Paths: p.self.PathMode, Chains: new(call.Chains), Idle: new(sync.Pool)}
	p.outbound = &outbound{
		Outgoing: call.Outgoing{Common: common, Self: p.self, Hostname: p.o.Pod.Name, Directory: p.directory, Relay: p.relay, Log: p.o.Logger},
		asker:    p.asker, upstreams: p.ups, buffers: p.buffers, peeks: peeks,
		clients: &p.clients, lot: &p.lot, limits: &p.limits,
		h2pool: p.h2pool, workers: p.workers, draining: p.draining,
		metrics: p.metrics, share: share{of: &p.overload.shares},
	}
	p.outbound.Filters, p.outbound.Traces = filter.New(p.group.run), &p.tracer.Client
	p.inbound = &inbound{
		Incoming: call.Incoming{
			Common: common, Self: p.self, Upstreams: p.ups, Asker: p.asker, Metrics: p.metrics, Log: p.o.Logger, Run: p.group.run,
		},
		tls: p.identity.ServerConfig(), foreign: p.identity.ForeignServerConfig(),
		buffers: p.buffers, peeks: peeks, h2pool: p.h2pool, relay: p.relay, clients: &p.clients, lot: &p.lot, workers: p.workers, draining: p.departure.leaving,
		refusals: p.refusals, grace: p.o.Drain, limits: &p.limits, quotas: quotas{shares: &p.overload.shares},
	}
	p.inbound.Filters, p.inbound.Traces = filter.NewInbound(), &p.tracer.Server
}

// Run serves until ctx ends, then drains: readiness fails, peers are asked to go elsewhere, requests finish, and what is
// left is cut after Options.Drain, or when the pod's grace period is nearly over where the control plane has said that the
// pod ends; that begins when it says so. Run returns once everything it started has ended: at once where nothing is open and
// no caller chooses the workload any more.
func (p *Proxy) Run(ctx context.Context) error {
	// Work outlives ctx by the drain.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	p.group.ctx = work //nolint:fatcontext // the one that all goroutines of the proxy share
	p.group.run(p.ups.Sweep)
	p.group.run(p.directory.Sweep)
	p.group.run(p.clients.Keep)
	p.group.check(p.lot.Run)
	p.group.run(func(ctx context.Context) { p.checks.run(ctx, p.draining.Given(), p.group.run) })
	p.group.run(p.overload.run)
	p.group.run(p.h2pool.Budget.Run)
	p.group.check(p.access.Run)
	p.group.check(p.identity.Run)
	p.group.check(func(ctx context.Context) error { return p.discovery.Run(ctx, told{p.directory, p.agent}) })
	for _, name := range p.startNames() {
		p.discovery.Subscribe(name)
	}
	for _, serve := range p.doors() {
		p.group.check(serve)
	}
	select {
	case <-ctx.Done():
	case <-p.quit:
	case <-p.group.failed():
	}
	p.drain(work)
	p.tracer.Close()
	p.logs.Close()
	stop()
	err := p.group.wait()
	p.workers.Close()
	return err
}

// told is who hears what the control plane says and asks.
type told struct {
	*directory.Directory

	agent *observe.Agent
}

// Observe implements [discovery.Observer].
func (t told) Observe(ctx context.Context, link *discovery.Link) error {
	return t.agent.Serve(ctx, link)
}

// startNames is what every sidecar needs to know.
func (p *Proxy) startNames() []string {
	names := []string{plan.NameMesh.String(), plan.NameTrust.String()}
	for _, ip := range p.o.IPs {
		names = append(names, plan.WorkloadName("", ip))
	}
	return names
}

// drain lets connections finish. New ones are taken meanwhile: callers that have not heard yet that the workload goes
// still come. Where none is open, and no caller chooses the workload any more, it is over: a native sidecar is told after its
// app has ended, and before another one is told the app has had time (see cmd/fairlead-proxy linger).
func (p *Proxy) drain(ctx context.Context) {
	until := p.departure.end(p.o.Drain)
	p.draining.Give()
	deadline := time.NewTimer(time.Until(until))
	defer deadline.Stop()
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	how := discovery.EndedReleased
	for how == discovery.EndedReleased && (p.active.Load() > 0 || !p.departure.settled()) {
		select {
		case <-deadline.C:
			how = discovery.EndedForced
		case <-p.group.failed():
			return
		case <-tick.C:
		}
	}
	// What the departure says follows the last summary on the same connection: its answer comes when that has arrived.
	last, cancel := context.WithTimeout(ctx, lastWord)
	defer cancel()
	p.agent.Last(last)
	p.departure.report(ctx, how)
}

const drainPoll = 20 * time.Millisecond

// Quit ends Run as if its context had.
func (p *Proxy) Quit() { p.quitOnce.Do(func() { close(p.quit) }) }

// Ready gives "" once calls can be carried, or what is missing.
func (p *Proxy) Ready() string {
	select {
	case <-p.departure.leaving.Given():
		return "draining"
	default:
	}
	var missing []string
	select {
	case <-p.self.Known():
	default:
		missing = append(missing, "configuration of this workload")
	}
	select {
	case <-p.self.Governed():
	default:
		missing = append(missing, "policy for inbound connections")
	}
	select {
	case <-p.identity.Ready():
	default:
		missing = append(missing, "certificate")
	}
	if len(missing) == 0 {
		return ""
	}
	return "waiting for the control plane (" + strings.Join(p.discovery.Addrs(), ", ") + "): no " + strings.Join(missing, ", no ")
}

// heed does what the directory says has changed.
func (p *Proxy) heed(e directory.Event) {
	switch e.Kind {
	case directory.TrustChanged:
		p.setTrust(e.Trust)
	case directory.GlobalChanged:
		p.setGlobal(e.Global)
	case directory.InboundNamed:
		p.discovery.Subscribe(e.Inbound)
	case directory.PolicyChanged:
		p.inbound.enforce()
		policy := p.self.Policy()
		if policy.Leaving {
			p.departure.tell(policy.Grace)
		}
		p.checks.set(policy)
		p.access.SetTelemetry(policy.Telemetry)
		p.logs.Configure(p.self.Workload(), policy.Telemetry)
		p.metrics.SetTelemetry(policy.Telemetry)
		p.tracer.Configure(p.self.Workload(), policy.ClientTracing, policy.ServerTracing)
	}
}

func (p *Proxy) setTrust(b *plan.TrustBundle) {
	if err := p.identity.SetTrust(trustOf(b)); err != nil {
		p.o.Logger.Error("trust bundle refused, the former stays in force", slog.Any("error", err))
		return
	}
	p.identity.SetPeerDomains(append([]string{b.TrustDomain}, b.Aliases...))
}

func (p *Proxy) setGlobal(g *plan.MeshGlobal) {
	p.access.SetFormat(g.AccessLog, &g.LogFormat)
	p.metrics.SetNativeHistograms(g.NativeHistograms)
	p.native.Store(g.NativeHistograms)
	p.outbound.refuseUnknown.Store(g.RefuseUnknown)
	p.outbound.namedPorts.Store(&g.NamedPorts)
	p.limits.put(g.Limits)
}

// dialPlain connects to an address that a call of the workload goes to.
func (p *Proxy) dialPlain(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	if path := model.SocketPath(addr.Addr()); path != "" {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	if p.self.Owns(addr.Addr()) {
		return p.dialApp(ctx, addr)
	}
	return p.o.Dial(ctx, p.dialer, addr)
}

// dialApp connects to the workload's own app, which is at one of the pod's addresses. Only a connection from the
// addresses of that leg passes the redirection; any other would come back as an inbound one, and be dialled again.
func (p *Proxy) dialApp(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	return p.o.Dial(ctx, p.dialer.ToApp(), addr)
}

// dialCalledApp connects to the workload's own app for a caller: at the address that was called, and where the app does not
// listen there, at the pod's one of the other family, for a caller of a dual-stack Service takes either to be the pod.
func (p *Proxy) dialCalledApp(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	conn, err := p.dialApp(ctx, addr)
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return conn, err
	}
	for _, ip := range p.o.IPs {
		if ip = ip.Unmap(); ip.Is4() == addr.Addr().Unmap().Is4() {
			continue
		}
		if other, failed := p.dialApp(ctx, netip.AddrPortFrom(ip, addr.Port())); failed == nil {
			return other, nil
		}
	}
	return nil, err
}

func dialSocket(ctx context.Context, d netio.Dialer, addr netip.AddrPort) (net.Conn, error) {
	conn, err := d.DialTCP(ctx, addr)
	if err != nil {
		return nil, err // a nil *net.TCPConn must not become a non-nil net.Conn
	}
	return netio.NewSocket(conn)
}
