package controlplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/config/istio"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/graph"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h2server"
	"fairlead.dev/fairlead/internal/observe"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/source/kube"
	"fairlead.dev/fairlead/internal/traffic/history"
	"fairlead.dev/fairlead/internal/xds/envoy"
)

// RootCertFile is the file in the state directory that holds the roots, PEM, for clients of the discovery port.
const RootCertFile = "root-cert.pem"

// shutdownTime is how long calls in flight may take to end.
const shutdownTime = 3 * time.Second

// ControlPlane is all of it. Its methods are safe for concurrent use.
type ControlPlane struct {
	o         Options
	metrics   *metrics
	backing   backing
	authority *authority
	federated *federated
	engine    *engine
	server    *discovery.Server
	hub       *observe.Hub
	history   *history.Store
	feed      *observe.Feed
	signed    *signed
	standard  *standard
	clusters  clusters
	mirrors   *mirrors
	consul    *consulServices // nil for none
	registry  *consulRegistry // nil for none
}

// New checks the options. It does no I/O.
func New(o Options) (*ControlPlane, error) {
	switch {
	case o.Logger == nil:
		return nil, errors.New("control plane: Logger is required")
	case o.Listen == "" && o.ListenListener == nil:
		return nil, errors.New("control plane: no address to listen on")
	}
	o.TrustDomain = cmp.Or(o.TrustDomain, identity.DefaultTrustDomain)
	o.ClusterDomain = cmp.Or(o.ClusterDomain, "cluster.local")
	o.ClusterID = cmp.Or(o.ClusterID, "Kubernetes")
	o.MaxAge = cmp.Or(o.MaxAge, 30*time.Minute)
	if len(o.ServerNames) == 0 {
		o.ServerNames = DefaultServerNames(o.namespace(), o.ClusterDomain)
	}
	for _, domain := range append([]string{o.TrustDomain}, o.TrustDomainAliases...) {
		if err := identity.ValidateTrustDomain(domain); err != nil {
			return nil, err
		}
	}
	global, err := o.global()
	if err != nil {
		return nil, err
	}
	p := &ControlPlane{o: o, metrics: newMetrics(o.Version), history: history.New(time.Now, history.Defaults()), feed: observe.NewFeed(), signed: newSigned()}
	p.metrics.registry.MustRegister(present{p})
	p.engine = newEngine(engineOptions{
		global: global,
		wires:  []graph.Compiler{envoy.Compiler{Global: global}},
		publish: func(keys []graph.Key, since time.Time) {
			p.server.Changed(ofNative(keys), since)
			p.standard.server.Changed(ofXDS(keys))
		},
		resight: func() { p.standard.server.SightsChanged() },
		report:  p.statusReport(),
		callers: connected{p},
		trace:   newEngineTrace(p.metrics),
		feed:    p.feed,
		log:     o.Logger,
	})
	p.authority = newAuthority(o.TrustDomain, o.TrustDomainAliases, func(roots *plan.TrustBundle) { p.engine.inbox.fix(roots) })
	if p.hub, err = observe.NewHub(observe.HubOptions{Cluster: pods{p.engine}, Summaries: reports{p.history, p.feed, placesOf(p), o.TrustDomain}, Logger: o.Logger}); err != nil {
		return nil, err
	}
	p.server, err = discovery.NewServer(discovery.ServerOptions{
		Source: nativeSource{&p.engine.watches}, Authenticate: p.authenticate, MayRead: mayRead, Sign: p.sign, MaxAge: o.MaxAge,
		Departing: p.engine.departing, Replicas: p.replicas, Health: p.engine.inbox.receiveHealth, Holders: p.engine.callersChanged, Observe: observing(p.hub),
		Trace: p.metrics.trace(), Logger: o.Logger,
	})
	if err != nil {
		return nil, err
	}
	if p.standard, err = newStandard(p); err != nil {
		return nil, err
	}
	p.mirrors = newMirrors(p)
	p.engine.checks.mirrors = p.mirrors
	settings, err := istio.MeshServiceSettings(o.ServiceSettings)
	if err != nil {
		return nil, err
	}
	p.clusters.set = p.newClusters(append(model.DefaultServiceSettings(o.ClusterDomain, o.namespace()), settings...))
	p.clusters.own = o.ClusterID
	p.clusters.overlaps = func() []compile.Overlap { return compile.Overlaps(p.engine.reader(), p.engine.global) }
	if o.RemoteClusters != "" {
		d := &clusterDir{path: o.RemoteClusters, set: p.clusters.set, log: o.Logger, kubeconfigs: kubeconfigs{o.KubeconfigPlugins, o.Logger}}
		p.clusters.by = o.RemoteClusters
		p.clusters.declarers = append(p.clusters.declarers, d.run)
	}
	if p.consul, err = newConsulServices(p); err != nil {
		return nil, err
	}
	if err := o.BundleEndpoint.check(); err != nil {
		return nil, err
	}
	if p.federated, err = newFederated(p); err != nil {
		return nil, err
	}
	if p.registry, err = newConsulRegistry(p); err != nil {
		return nil, err
	}
	if o.Kube != nil {
		p.backing, err = newCluster(p)
	} else {
		p.backing, err = newFiles(&p.o)
	}
	return p, err
}

// statusReport is where statuses go; nil without a cluster, where there are no statuses.
func (p *ControlPlane) statusReport() func(map[model.Ref]kube.Status) {
	if p.o.Kube == nil {
		return nil
	}
	return func(statuses map[model.Ref]kube.Status) {
		if c, ok := p.backing.(*cluster); ok {
			c.report(statuses)
		}
	}
}

// Run serves until ctx ends, and returns when everything it started has ended. An error says what could not be
// started or what broke.
func (p *ControlPlane) Run(ctx context.Context) error {
	discovery, monitor, err := p.listen(ctx)
	if err != nil {
		return err
	}
	plain, err := p.o.listenPlain(ctx)
	if err != nil {
		discovery.Close()
		if monitor != nil {
			monitor.Close()
		}
		return err
	}
	told := ctx
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	discoveryHTTP := p.server.HTTP(acceptCertificates(ca.ServerConfig(p.authority.current, p.o.ServerNames...), p.authority), 0)
	discoveryHTTP.Handler = p.standard.beside(p.server)
	plainHTTP := p.standard.plain()
	monitorHTTP := &http.Server{
		Handler: p.monitor(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(p.o.Logger.Handler(), slog.LevelDebug),
	}
	parts := append(append(p.backing.parts(), p.clusters.parts()...),
		func(ctx context.Context) error { p.engine.run(ctx); return nil },
		func(ctx context.Context) error {
			return p.clusters.followAfter(ctx, p.backing, p.consul.before(ctx, p.engine.inbox.receive))
		},
		func(ctx context.Context) error { return p.clusters.watchStates(ctx, p.o.Logger, p.engine.problems) },
		p.consul.run, p.mirrors.run,
		func(ctx context.Context) error {
			return p.backing.followCA(ctx, func(c *ca.CA) { p.federated.from(ctx, c) })
		},
		p.federated.run,
		func(ctx context.Context) error { return p.serveDiscovery(ctx, discoveryHTTP, discovery) },
		func(ctx context.Context) error { p.logReady(ctx, discovery); return nil },
		p.sayStrangers, p.sealSessions, newBundleEndpoint(p).run,
	)
	if p.o.Kube == nil { // who leads does it otherwise
		parts = append(parts, p.registry.run)
	}
	if monitor != nil {
		parts = append(parts, func(context.Context) error { return named("monitor port", monitorHTTP.Serve(monitor)) })
	}
	if plain != nil {
		parts = append(parts, func(ctx context.Context) error {
			return named("xDS port without TLS", plainHTTP.Serve(context.WithoutCancel(ctx), plain))
		})
	}
	var (
		wg     sync.WaitGroup
		once   sync.Once
		broken error
	)
	for _, run := range parts {
		wg.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				once.Do(func() { broken = err })
				cancel()
			}
		})
	}
	p.serveUntil(told, ctx)
	cancel()
	p.shutDown(context.WithoutCancel(ctx), discoveryHTTP, plainHTTP, monitorHTTP)
	wg.Wait()
	p.standard.server.Wait()
	return broken
}

// serveUntil waits until the replica was told to end and the delay is over, or until a part of it has broken.
func (p *ControlPlane) serveUntil(told, broken context.Context) {
	select {
	case <-broken.Done():
		return
	case <-told.Done():
	}
	if p.o.ShutdownDelay <= 0 {
		return
	}
	p.o.Logger.InfoContext(broken, "told to end: serves on for those who have not heard of it", "for", p.o.ShutdownDelay)
	over, stop := context.WithTimeout(broken, p.o.ShutdownDelay)
	defer stop()
	<-over.Done()
}

// serveDiscovery waits for the CA: without it, proxies could not tell that they talk to the control plane.
func (p *ControlPlane) serveDiscovery(ctx context.Context, s *h2server.Server, l net.Listener) error {
	if !p.authority.wait(ctx) {
		return l.Close()
	}
	return named("discovery port", s.ServeTLS(context.WithoutCancel(ctx), l))
}

// named says which server an error is about.
func named(server string, err error) error { return fmt.Errorf("%s: %w", server, err) }

// shutDown ends the streams in order, so that proxies turn to another replica, and then everything else.
func (p *ControlPlane) shutDown(ctx context.Context, servers ...server) {
	p.server.Close()
	p.feed.Close()
	p.standard.server.Close()
	shutDown(ctx, servers...)
}

// server is what both kinds of HTTP servers can do.
type server interface {
	Shutdown(ctx context.Context) error
	Close() error
}

// shutDown lets calls in flight end, for a while.
func shutDown(ctx context.Context, servers ...server) {
	ctx, cancel := context.WithTimeout(ctx, shutdownTime)
	defer cancel()
	for _, s := range servers {
		if err := s.Shutdown(ctx); err != nil {
			s.Close() //nolint:errcheck // there is nothing left to do about it
		}
	}
}

func (p *ControlPlane) listen(ctx context.Context) (discovery, monitor net.Listener, err error) {
	var config net.ListenConfig
	if discovery = p.o.ListenListener; discovery == nil {
		if discovery, err = config.Listen(ctx, "tcp", p.o.Listen); err != nil {
			return nil, nil, fmt.Errorf("discovery port: %w", err)
		}
	}
	if monitor = p.o.MonitorListener; monitor == nil && p.o.Monitor != "" {
		if monitor, err = config.Listen(ctx, "tcp", p.o.Monitor); err != nil {
			discovery.Close()
			return nil, nil, fmt.Errorf("monitor port: %w", err)
		}
	}
	return discovery, monitor, nil
}

// unready says what is missing before proxies can be served; empty where nothing is.
func (p *ControlPlane) unready() string {
	if list := p.problems(); !p.engine.loadedOnce() && len(list) > 0 {
		return "reading the configuration for the first time: " + list[0].String()
	}
	if !p.engine.loadedOnce() {
		return "reading the configuration for the first time"
	}
	if p.authority.current() == nil {
		return "waiting for the certificate authority"
	}
	return p.backing.unready()
}

// problems lists everything that is wrong at present.
func (p *ControlPlane) problems() []model.Problem {
	if !p.engine.loadedOnce() {
		return p.backing.obstacles()
	}
	return p.engine.problems.list()
}

func (p *ControlPlane) logReady(ctx context.Context, discovery net.Listener) {
	if !p.authority.wait(ctx) {
		return
	}
	select {
	case <-p.engine.synced:
		p.o.Logger.LogAttrs(ctx, slog.LevelInfo, "control plane ready", slog.String("discovery", discovery.Addr().String()),
			slog.Int("problems", len(p.engine.problems.list())))
	case <-ctx.Done():
	}
}

// authenticate gives the identity that a workload token proves.
func (p *ControlPlane) authenticate(ctx context.Context, token string) (discovery.ClientIdentity, error) {
	claims, err := p.backing.authenticate(ctx, token)
	if err != nil {
		if temporary, ok := err.(interface{ Temporary() bool }); !ok || !temporary.Temporary() {
			p.metrics.badTokens.Inc()
		}
		return discovery.ClientIdentity{}, err
	}
	return discovery.ClientIdentity{
		Namespace: claims.Namespace, ServiceAccount: claims.ServiceAccount, Pod: claims.Pod, UID: claims.PodUID,
	}, nil
}

// mayRead says what the holder of a token may ask for.
func mayRead(client discovery.ClientIdentity, name string) bool {
	return compile.Client{Namespace: client.Namespace, Pod: client.Pod}.MayRead(name)
}

// sign issues a certificate for the identity of the caller's token.
func (p *ControlPlane) sign(_ context.Context, client discovery.ClientIdentity, csrDER []byte) (chainPEM []byte, trust *plan.TrustBundle, err error) {
	chainPEM, trust, err = p.authority.sign(client, csrDER)
	p.metrics.countSigned(err)
	if err == nil {
		p.signed.note(model.Key{Namespace: client.Namespace, Name: client.Pod}, chainPEM)
	}
	return chainPEM, trust, err
}
