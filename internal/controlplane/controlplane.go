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

	"k8s.io/apimachinery/pkg/util/validation"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/config/istio"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/graph"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/incluster"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h2server"
	"fairlead.dev/fairlead/internal/observe"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/source/consul"
	"fairlead.dev/fairlead/internal/source/kube"
	"fairlead.dev/fairlead/internal/traffic/history"
	"fairlead.dev/fairlead/internal/xds/envoy"
)

// Options configure a ControlPlane.
type Options struct {
	// Kube makes a cluster what the control plane stands on: configuration, CA and proof of identity come from there.
	// Without it, Sources, StateDir and TokenKey are required.
	Kube *KubeOptions
	// Sources are files and directories of manifests; later ones override earlier ones.
	Sources []string
	// Listen is the address of the discovery port (TLS), Monitor that of the monitor port (plain HTTP; empty means none).
	// Listeners given take their place.
	Listen, Monitor                 string
	ListenListener, MonitorListener net.Listener
	// Plain is the address of a port without TLS for standard xDS clients in pods, whose addresses say who they are; empty
	// means none. A listener given takes its place.
	Plain         string
	PlainListener net.Listener
	// ServerNames are the DNS names and addresses that the discovery port's certificate is for; empty means
	// DefaultServerNames.
	ServerNames []string
	// StateDir keeps the CA. root-cert.pem in it is for handing out.
	StateDir string
	// TokenKey is a file with the public keys, PEM, that workload tokens are signed with.
	TokenKey string
	// TrustDomain, ClusterDomain and ClusterID default to "cluster.local", "cluster.local" and "Kubernetes".
	TrustDomain, ClusterDomain, ClusterID string
	// Network is the one that pods are in of which no label says it; empty for what the label of the control plane's namespace says.
	Network string
	// WorkloadCertTTL is how long a workload's certificate is valid; 0 means DefaultWorkloadCertTTL.
	WorkloadCertTTL time.Duration
	// TrustDomainAliases are further trust domains whose workloads are peers of this mesh's, as in Istio's MeshConfig.
	TrustDomainAliases []string
	// OutboundPolicy says what becomes of calls to hosts that are not in the registry: "ALLOW_ANY" (the default) lets
	// them pass, "REGISTRY_ONLY" refuses them.
	OutboundPolicy string
	// PathNormalization is Istio's: "BASE" (the default), "NONE", "MERGE_SLASHES" or "DECODE_AND_MERGE_SLASHES".
	PathNormalization string
	// LocalityLbSetting is Istio's of the mesh, YAML or JSON: for hosts of which neither a DestinationRule nor the Service says
	// how calls depend on distance. Empty means that distance does not matter.
	LocalityLbSetting string
	// RemoteClusters is a directory of other clusters of the mesh, see clusterDir; empty for none. On Kubernetes there are those
	// of Secrets beside.
	RemoteClusters string
	// KubeconfigPlugins says whether the kubeconfigs of other clusters may name programs and files.
	KubeconfigPlugins incluster.KubeconfigPlugins
	// Mirrors says what of mirrors is written into the cluster; empty for nothing. Without Kubernetes it is without effect.
	Mirrors MirrorMode
	// ServiceSettings is Istio's of the MeshConfig, YAML or JSON: which hosts stay in each cluster.
	ServiceSettings string
	// MeshNetworks is Istio's of the MeshConfig, YAML or JSON: what is said of networks besides labels.
	MeshNetworks string
	// MoreRoots is a directory with files of root certificates, PEM, that peers must trust beside the CA's own; empty for none.
	// It is without effect on Kubernetes, where the Secret of the CA has them.
	MoreRoots string
	// Consul is a Consul whose services can be called; nil for none. Its Problems and Logger are the control plane's.
	Consul *consul.Options
	// NoInboundRetries keeps called proxies from sending a request once more that their app has not got; who calls retries.
	NoInboundRetries bool
	// Limits are those of the proxies.
	Limits plan.Limits
	// AccessLog is the form of the proxies' access log: "off" (the default), "text" or "json".
	AccessLog string
	// AccessLogFormat is Istio's of the MeshConfig: a text, or with AccessLog json an object. Empty means Istio's default.
	AccessLogFormat string
	// Tracing says what is traced, and where spans go.
	Tracing TracingOptions
	// ExtensionProviders and DefaultProviders are Istio's of the MeshConfig, YAML or JSON.
	ExtensionProviders, DefaultProviders string
	// MaxAge is how long a proxy stays connected before it is asked to connect anew; 0 means 30 minutes.
	MaxAge time.Duration
	// ShutdownDelay is how long Run goes on to serve once its context has ended: those who have not heard yet that this
	// replica goes still come to it.
	ShutdownDelay time.Duration
	// Pprof adds Go's profiles to the monitor port.
	Pprof bool
	// Version is what the monitor port's /version says of this program.
	Version string
	// Logger is required.
	Logger *slog.Logger
}

// DefaultWorkloadCertTTL is how long workload certificates are valid, unless said.
const DefaultWorkloadCertTTL = ca.DefaultTTL

// DefaultServerNames are the names that proxies and API servers reach a control plane by, in a namespace of a cluster
// and on one machine.
func DefaultServerNames(namespace, clusterDomain string) []string {
	service := controllerService + "." + namespace
	return []string{service + ".svc", service + ".svc." + clusterDomain, service, "localhost", "127.0.0.1", "::1"}
}

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

// namespace is where the control plane runs, or would.
func (o *Options) namespace() string {
	if o.Kube != nil {
		return o.Kube.Namespace
	}
	return compile.DefaultRootNamespace
}

// global gives what is the same for the whole mesh.
func (o *Options) global() (compile.Global, error) {
	g := compile.Global{TrustDomain: o.TrustDomain, ClusterDomain: o.ClusterDomain, ClusterID: o.ClusterID, RootNamespace: o.namespace(), Limits: o.Limits, NoInboundRetries: o.NoInboundRetries}
	if wrong := validation.IsValidLabelValue(o.Network); len(wrong) > 0 {
		return g, fmt.Errorf("network %q: it is compared with the label %s: %s", o.Network, model.LabelNetwork, wrong[0])
	}
	g.Network = o.Network
	var err error
	if g.Networks, err = istio.MeshNetworks(o.MeshNetworks); err != nil {
		return g, err
	}
	switch o.OutboundPolicy {
	case "", "ALLOW_ANY":
	case "REGISTRY_ONLY":
		g.RefuseUnknown = true
	default:
		return g, fmt.Errorf("outbound policy %q: must be ALLOW_ANY or REGISTRY_ONLY", o.OutboundPolicy)
	}
	switch o.PathNormalization {
	case "", "BASE":
	case "NONE":
		g.Paths = plan.PathNone
	case "MERGE_SLASHES":
		g.Paths = plan.PathMergeSlashes
	case "DECODE_AND_MERGE_SLASHES":
		g.Paths = plan.PathDecodeAndMergeSlashes
	default:
		return g, fmt.Errorf("path normalization %q: must be BASE, NONE, MERGE_SLASHES or DECODE_AND_MERGE_SLASHES", o.PathNormalization)
	}
	if g.Locality, err = meshLocality(o.LocalityLbSetting); err != nil {
		return g, err
	}
	if g.Tracing, err = o.tracing(); err != nil {
		return g, err
	}
	if err := checkLimits(&o.Limits); err != nil {
		return g, err
	}
	switch o.AccessLog {
	case "", "off":
	case "text":
		g.AccessLog = plan.AccessLogText
	case "json":
		g.AccessLog = plan.AccessLogJSON
	default:
		return g, fmt.Errorf("access log %q: must be off, text or json", o.AccessLog)
	}
	err = o.accessLogs(&g)
	return g, err
}

// meshLocality reads the mesh's localityLbSetting. What would be a warning on an object is an error here: there is no object to
// find it on.
func meshLocality(written string) (*model.LocalityLB, error) {
	setting, problems, err := istio.MeshLocalityLB(written)
	if err == nil && len(problems) > 0 {
		p := problems[0]
		err = fmt.Errorf("%s: %s (%s)", p.Field, p.Message, p.Fix)
	}
	return setting, err
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
		func(ctx context.Context) error { return p.clusters.watchStates(ctx, p.o.Logger) },
		p.consul.run, p.mirrors.run,
		func(ctx context.Context) error { return p.backing.followCA(ctx, p.authority.use) },
		func(ctx context.Context) error { return p.serveDiscovery(ctx, discoveryHTTP, discovery) },
		func(ctx context.Context) error { p.logReady(ctx, discovery); return nil },
		p.sayStrangers, p.sealSessions,
	)
	if monitor != nil {
		parts = append(parts, func(context.Context) error { return named("monitor port", monitorHTTP.Serve(monitor)) })
	}
	if plain != nil {
		parts = append(parts, func(context.Context) error { return named("xDS port without TLS", plainHTTP.Serve(plain)) })
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
func (p *ControlPlane) sign(_ context.Context, client discovery.ClientIdentity, csrDER []byte) (chainPEM, rootsPEM []byte, err error) {
	chainPEM, rootsPEM, err = p.authority.sign(client, csrDER)
	p.metrics.countSigned(err)
	if err == nil {
		p.signed.note(model.Key{Namespace: client.Namespace, Name: client.Pod}, chainPEM)
	}
	return chainPEM, rootsPEM, err
}
