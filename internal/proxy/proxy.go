package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/appmetrics"
	"fairlead.dev/fairlead/internal/appprobe"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/call"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/filter"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
)

// Options say who the proxy serves and where its control plane is.
type Options struct {
	// Pod and IPs are the workload's; the first IP is the one that apps listen on.
	Pod            model.Key
	ServiceAccount string
	IPs            []netip.Addr
	// Controllers are the control plane's addresses, "host:port"; ControllerName is what its certificate says.
	Controllers    []string
	ControllerName string
	// Token gives the workload's token, Roots the PEM of the CA that the control plane's certificate chains to. Both
	// are asked anew for every connection.
	Token func() (string, error)
	Roots func() ([]byte, error)
	// Snapshot is the file of the last good configuration; empty for none.
	Snapshot string
	// Mark exempts the proxy's own sockets from interception where its uid cannot; 0 for none.
	Mark uint32
	// Drain bounds how long connections may go on after Run's context ends.
	Drain time.Duration
	// Resolvers are the upstream DNS servers.
	Resolvers []netip.AddrPort
	// AppProbes are made of the workload's app when the kubelet asks for them, by path.
	AppProbes map[string]appprobe.Probe
	// AppMetrics is where the app shows metrics, such as http://:9797/metrics; empty where it shows none.
	AppMetrics string
	// AccessLog takes the lines of the access log.
	AccessLog io.Writer
	Version   string
	Logger    *slog.Logger

	// What follows has a default where it is nil.

	// Control makes the control channel that fills a directory. By default it dials Controllers.
	Control func(discovery.Handler) (Control, error)
	// Dial opens a connection as a dialler says. By default from the host's network.
	Dial func(context.Context, netio.Dialer, netip.AddrPort) (net.Conn, error)
	// Resolver finds the addresses of endpoints that are given by name. By default it asks Resolvers.
	Resolver directory.Resolver
	// LocalAddr reports whether an address is one of the pod's interfaces. By default the kernel is asked.
	LocalAddr func(netip.Addr) bool
}

// Control is the channel to the control plane. discovery.Client is one.
type Control interface {
	directory.Channel
	// Subscribe asks for a name, and keeps it for good.
	Subscribe(name string)
	// Sign has a certificate request signed.
	Sign(ctx context.Context, csr []byte) (chain, roots []byte, err error)
	// Run keeps the channel until ctx ends.
	Run(ctx context.Context) error
	Freshness
}

// Freshness says how old what is in force may be.
type Freshness interface {
	// Connected reports whether the control plane is there, Stale whether what is in force is from before it was lost.
	Connected() bool
	Stale() bool
	// LastSync is when it last said something.
	LastSync() time.Time
}

// withDefaults fills in what was left out.
func (o Options) withDefaults() Options {
	if o.Dial == nil {
		o.Dial = dialSocket
	}
	if o.LocalAddr == nil {
		o.LocalAddr = new(netio.LocalAddrs).Contains
	}
	return o
}

// bodyBudget is what the HTTP/2 connections of the process may hold of bodies whose readers do not keep up.
const bodyBudget = 8 << 20

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
	client    Control
	identity  *identity.Workload
	metrics   *telemetry.Registry
	access    *telemetry.AccessLog
	sinks     telemetry.Sinks
	outbound  *outbound
	inbound   *inbound
	dialer    netio.Dialer
	refusals  *refusalLog
	limits    meshLimits
	overload  *overload
	workers   *h2.Workers // run the handlers of HTTP/2 streams, of all connections
	probes    *appprobe.Handler
	// appMetrics is nil where the app shows none.
	appMetrics *appmetrics.Page
	bundle     atomic.Pointer[[]byte] // the mesh's roots, PEM, as the control plane sent them last

	draining chan struct{}
	quit     chan struct{}
	quitOnce sync.Once
	active   atomic.Int64
	group    group
	sockets  map[uint16]string // what listen has opened: addresses by port
}

// New wires a proxy. It opens nothing; Run does.
func New(o Options) (*Proxy, error) {
	if o.Pod.Name == "" || o.Pod.Namespace == "" || len(o.IPs) == 0 {
		return nil, errors.New("proxy: pod, namespace and pod IP are required")
	}
	o = o.withDefaults()
	p := &Proxy{
		o: o, self: directory.NewSelf(o.Pod, o.IPs, o.LocalAddr), metrics: telemetry.NewRegistry(o.Version),
		access: telemetry.NewAccessLog(o.AccessLog), draining: make(chan struct{}), quit: make(chan struct{}),
		buffers: new(h1.Buffers), h2pool: &h2.Pool{Budget: h2.NewBudget(bodyBudget)},
		dialer: netio.Dialer{Mark: o.Mark, Timeout: upstream.ConnectTimeout},
	}
	p.sinks = telemetry.Sinks{
		p.access, // first: whoever sees the count finds the line
		telemetry.Counter{},
	}
	var err error
	if p.relay, err = call.NewRelay(); err != nil {
		return nil, err
	}
	p.overload = newOverload(&p.limits)
	p.refusals = &refusalLog{metrics: p.metrics, log: o.Logger}
	p.ups = p.newUpstreams()
	resolver, err := p.newResolver()
	if err != nil {
		return nil, err
	}
	p.directory = directory.New(directory.Options{
		Self: p.self, Upstreams: p.ups, Metrics: p.metrics, Resolver: resolver, Run: p.group.run, Notify: p.heed, Logger: o.Logger,
	})
	if p.client, err = p.newControl(); err != nil {
		return nil, err
	}
	p.asker = directory.NewAsker(p.directory, p.client, p.client.Connected)
	p.identity, err = identity.NewWorkload(identity.WorkloadOptions{Sign: p.client.Sign, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	p.probes, err = appprobe.New(appprobe.Options{Probes: o.AppProbes, PodIP: o.IPs[0], Dial: p.dialApp, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	if o.AppMetrics != "" {
		p.appMetrics, err = appmetrics.New(appmetrics.Options{URL: o.AppMetrics, PodIP: o.IPs[0], Dial: p.dialPlain, Logger: o.Logger})
		if err != nil {
			return nil, err
		}
	}
	p.newHandlers()
	return p, nil
}

func (p *Proxy) newControl() (Control, error) {
	if p.o.Control != nil {
		return p.o.Control(p.directory)
	}
	return discovery.NewClient(discovery.ClientOptions{
		Addrs:     p.o.Controllers,
		Dial:      p.dialControl,
		TLSConfig: p.controlTLS,
		Token:     p.o.Token,
		Node:      discovery.Node{ID: p.o.Pod.Name + "." + p.o.Pod.Namespace, Version: p.o.Version},
		Handler:   p.directory,
		Snapshot:  p.o.Snapshot,
		Logger:    p.o.Logger,
	})
}

func (p *Proxy) newUpstreams() *upstream.Set {
	return upstream.New(upstream.Options{
		Plain: p.dialPlain, App: p.dialApp, Credentials: func(peer string) *tls.Config { return p.identity.ClientConfig(peer) },
		Refused: p.refusals.peer, Run: p.group.run, Grace: p.o.Drain, Buffers: p.buffers, Pool: p.h2pool,
		HeadBytes: p.limits.head,
	})
}

func (p *Proxy) newHandlers() {
	p.workers = h2.NewWorkers(0)
	common := call.Common{Sinks: p.sinks, Bodies: new(call.Buffers), StreamIdle: p.limits.streamIdle, Paths: p.self.PathMode, Room: p.overload.request}
	p.outbound = &outbound{
		Outgoing: call.Outgoing{Common: common, Self: p.self, Directory: p.directory, Relay: p.relay, Log: p.o.Logger},
		asker:    p.asker, upstreams: p.ups, buffers: p.buffers,
		clients: &p.clients, limits: &p.limits, overload: p.overload,
		h2pool: p.h2pool, workers: p.workers, draining: p.draining,
		metrics: p.metrics,
	}
	p.outbound.Filters = filter.New(p.group.run)
	p.inbound = &inbound{
		Incoming: call.Incoming{
			Common: common, Self: p.self, Upstreams: p.ups, Asker: p.asker, Metrics: p.metrics, Log: p.o.Logger, Run: p.group.run,
		},
		tls:     p.identity.ServerConfig(),
		buffers: p.buffers, h2pool: p.h2pool, relay: p.relay, clients: &p.clients, workers: p.workers, draining: p.draining,
		refusals: p.refusals, grace: p.o.Drain, limits: &p.limits, overload: p.overload,
	}
	p.inbound.Filters = new(filter.Chain)
}

// Run serves until ctx ends, then drains: readiness fails, peers are asked to go elsewhere, requests finish, and
// after Options.Drain what is left is cut. It returns once everything it started has ended: at once where nothing is
// open.
func (p *Proxy) Run(ctx context.Context) error {
	// Work outlives ctx by the drain.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	p.group.ctx = work //nolint:fatcontext // the one that all goroutines of the proxy share
	acceptors, err := p.listen(ctx)
	if err != nil {
		return err
	}
	p.group.run(p.ups.Sweep)
	p.group.run(p.clients.Keep)
	p.group.run(p.overload.run)
	p.group.check(p.access.Run)
	p.group.check(p.identity.Run)
	p.group.check(p.client.Run)
	for _, name := range p.startNames() {
		p.client.Subscribe(name)
	}
	for _, a := range acceptors {
		p.group.check(a)
	}
	select {
	case <-ctx.Done():
	case <-p.quit:
	case <-p.group.failed():
	}
	p.drain()
	stop()
	err = p.group.wait()
	p.workers.Close()
	return err
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
// still come. Where none is open the workload has ended too: a native sidecar is told after it, and before another one
// is told the app has had time (see cmd/fairlead-proxy linger).
func (p *Proxy) drain() {
	p.o.Logger.Info("draining", slog.Int64("connections", p.active.Load()), slog.Duration("limit", p.o.Drain))
	close(p.draining)
	deadline := time.NewTimer(p.o.Drain)
	defer deadline.Stop()
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	for p.active.Load() > 0 {
		select {
		case <-deadline.C:
			return
		case <-p.group.failed():
			return
		case <-tick.C:
		}
	}
}

const drainPoll = 20 * time.Millisecond

// Quit ends Run as if its context had.
func (p *Proxy) Quit() { p.quitOnce.Do(func() { close(p.quit) }) }

// Ready gives "" once calls can be carried, or what is missing.
func (p *Proxy) Ready() string {
	select {
	case <-p.draining:
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
	return "waiting for the control plane (" + strings.Join(p.o.Controllers, ", ") + "): no " + strings.Join(missing, ", no ")
}

// heed does what the directory says has changed.
func (p *Proxy) heed(e directory.Event) {
	switch e.Kind {
	case directory.TrustChanged:
		p.setTrust(e.Trust)
	case directory.GlobalChanged:
		p.setGlobal(e.Global)
	case directory.InboundNamed:
		p.client.Subscribe(e.Inbound)
	case directory.PolicyChanged:
		p.inbound.enforce()
	}
}

func (p *Proxy) setTrust(b *plan.TrustBundle) {
	roots := []byte(strings.Join(b.Roots, "\n"))
	if err := p.identity.SetRoots(roots); err != nil {
		p.o.Logger.Error("trust bundle refused, the former stays in force", slog.Any("error", err))
		return
	}
	p.identity.SetPeerDomains(append([]string{b.TrustDomain}, b.Aliases...))
	p.bundle.Store(&roots)
}

func (p *Proxy) setGlobal(g *plan.MeshGlobal) {
	p.access.SetFormat(g.AccessLog)
	p.outbound.refuseUnknown.Store(g.RefuseUnknown)
	p.outbound.namedPorts.Store(&g.NamedPorts)
	p.limits.put(g.Limits)
}

// dialPlain connects to an address that a call of the workload goes to.
func (p *Proxy) dialPlain(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
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

func dialSocket(ctx context.Context, d netio.Dialer, addr netip.AddrPort) (net.Conn, error) {
	conn, err := d.DialTCP(ctx, addr)
	if err != nil {
		return nil, err // a nil *net.TCPConn must not become a non-nil net.Conn
	}
	return netio.NewSocket(conn)
}

func (p *Proxy) dialControl(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("control plane %s: port: %w", addr, err)
	}
	var errs []error
	for _, ip := range ips {
		conn, err := p.dialer.Dial(ctx, network, netip.AddrPortFrom(ip, uint16(number)))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (p *Proxy) controlTLS() (*tls.Config, error) {
	pem, err := p.o.Roots()
	if err != nil {
		return nil, fmt.Errorf("roots of the control plane: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("roots of the control plane: no certificate in the PEM")
	}
	// A new root comes through the control channel long before the kubelet has refreshed the file.
	if bundle := p.bundle.Load(); bundle != nil {
		roots.AppendCertsFromPEM(*bundle)
	}
	return &tls.Config{RootCAs: roots, ServerName: p.o.ControllerName, MinVersion: tls.VersionTLS13}, nil
}

// group joins goroutines that run until a context ends.
type group struct {
	ctx  context.Context //nolint:containedctx // the lifetime of the goroutines, not of a call
	wg   sync.WaitGroup
	once sync.Once
	bad  chan struct{}

	mu  sync.Mutex
	err error
}

// run starts f.
func (g *group) run(f func(context.Context)) {
	g.wg.Go(func() { f(g.ctx) })
}

// check starts f, whose error ends the whole proxy.
func (g *group) check(f func(context.Context) error) {
	failed := g.failed()
	g.wg.Go(func() {
		err := f(g.ctx)
		if err == nil || g.ctx.Err() != nil {
			return
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.err == nil {
			g.err = err
			close(failed)
		}
	})
}

func (g *group) failed() chan struct{} {
	g.once.Do(func() { g.bad = make(chan struct{}) })
	return g.bad
}

func (g *group) wait() error {
	g.wg.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// sortedKeys is for pages that people read.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
