package controlplane

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/source/file"
	"fairlead.dev/fairlead/internal/xds"
)

// Options configure a ControlPlane.
type Options struct {
	// Sources are files and directories of manifests; later ones override earlier ones. Required.
	Sources []string
	// Listen is the address of the discovery port (TLS), Monitor that of the monitor port (plain HTTP; empty means none).
	// Listeners given take their place.
	Listen, Monitor                 string
	ListenListener, MonitorListener net.Listener
	// ServerNames are the DNS names and addresses that the discovery port's certificate is for; empty means
	// DefaultServerNames.
	ServerNames []string
	// StateDir keeps the CA. root-cert.pem in it is for handing out. Required.
	StateDir string
	// TokenKey is a file with the public keys, PEM, that workload tokens are signed with. Required.
	TokenKey string
	// TrustDomain, ClusterDomain and ClusterID default to "cluster.local", "cluster.local" and "Kubernetes".
	TrustDomain, ClusterDomain, ClusterID string
	// OutboundPolicy says what becomes of calls to hosts that are not in the registry: "ALLOW_ANY" (the default) lets
	// them pass, "REGISTRY_ONLY" refuses them.
	OutboundPolicy string
	// AccessLog is the form of the proxies' access log: "off" (the default), "text" or "json".
	AccessLog string
	// MaxAge is how long a proxy stays connected before it is asked to connect anew; 0 means 30 minutes.
	MaxAge time.Duration
	// Pprof adds Go's profiles to the monitor port.
	Pprof bool
	// Logger is required.
	Logger *slog.Logger
}

// DefaultServerNames are the names that proxies reach a control plane by, in a cluster and on one machine.
func DefaultServerNames() []string {
	const service = "fairlead-controller.fairlead-system"
	return []string{service + ".svc", service + ".svc.cluster.local", service, "localhost", "127.0.0.1", "::1"}
}

// RootCertFile is the file in the state directory that holds the roots, PEM, for clients of the discovery port.
const RootCertFile = "root-cert.pem"

// shutdownTime is how long calls in flight may take to end.
const shutdownTime = 3 * time.Second

// ControlPlane is all of it. Its methods are safe for concurrent use.
type ControlPlane struct {
	o       Options
	metrics *metrics
	source  *file.Source
	engine  *engine
	server  *xds.Server

	// Filled in by Run before anything reads them.
	trust  *plan.TrustBundle
	ca     *identity.CA
	tokens *identity.TokenVerifier
}

// New checks the options. It does no I/O.
func New(o Options) (*ControlPlane, error) {
	switch {
	case o.Logger == nil:
		return nil, errors.New("control plane: Logger is required")
	case o.StateDir == "":
		return nil, errors.New("control plane: no state directory for the CA")
	case o.TokenKey == "":
		return nil, errors.New("control plane: no public key for workload tokens")
	case o.Listen == "" && o.ListenListener == nil:
		return nil, errors.New("control plane: no address to listen on")
	}
	o.TrustDomain = cmp.Or(o.TrustDomain, identity.DefaultTrustDomain)
	o.ClusterDomain = cmp.Or(o.ClusterDomain, "cluster.local")
	o.ClusterID = cmp.Or(o.ClusterID, "Kubernetes")
	o.MaxAge = cmp.Or(o.MaxAge, 30*time.Minute)
	if len(o.ServerNames) == 0 {
		o.ServerNames = DefaultServerNames()
	}
	source, err := file.New(file.Options{Paths: o.Sources, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	global, err := o.global()
	if err != nil {
		return nil, err
	}
	p := &ControlPlane{o: o, metrics: newMetrics(), source: source, trust: &plan.TrustBundle{TrustDomain: o.TrustDomain}}
	if err := p.wire(global); err != nil {
		return nil, err
	}
	return p, nil
}

// global gives what is the same for the whole mesh.
func (o *Options) global() (compile.Global, error) {
	g := compile.Global{TrustDomain: o.TrustDomain, ClusterDomain: o.ClusterDomain, ClusterID: o.ClusterID}
	switch o.OutboundPolicy {
	case "", "ALLOW_ANY":
	case "REGISTRY_ONLY":
		g.RefuseUnknown = true
	default:
		return g, fmt.Errorf("outbound policy %q: must be ALLOW_ANY or REGISTRY_ONLY", o.OutboundPolicy)
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
	return g, nil
}

// wire connects the parts.
func (p *ControlPlane) wire(global compile.Global) (err error) {
	p.engine = newEngine(engineOptions{
		global:  global,
		fixed:   []plan.Resource{p.trust},
		publish: func(keys []xds.Key, since time.Time) { p.server.Changed(keys, since) },
		log:     p.o.Logger,
	})
	p.server, err = xds.NewServer(xds.ServerOptions{
		Source: p.engine, Authenticate: p.authenticate, Sign: p.sign, MaxAge: p.o.MaxAge,
		Trace: p.metrics.trace(), Logger: p.o.Logger,
	})
	return err
}

// Run serves until ctx ends, and returns when everything it started has ended. An error says what could not be
// started or what broke.
func (p *ControlPlane) Run(ctx context.Context) error {
	if err := p.loadIdentity(); err != nil {
		return err
	}
	discovery, monitor, err := p.listen(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	discoveryHTTP := p.server.HTTP(p.ca.ServerConfig(p.o.ServerNames...), 0)
	monitorHTTP := &http.Server{
		Handler: p.monitor(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(p.o.Logger.Handler(), slog.LevelDebug),
	}
	var (
		wg     sync.WaitGroup
		once   sync.Once
		broken error
	)
	part := func(name string, run func() error) {
		wg.Go(func() {
			if err := run(); err != nil && !errors.Is(err, http.ErrServerClosed) {
				once.Do(func() { broken = fmt.Errorf("%s: %w", name, err) })
				cancel()
			}
		})
	}
	part("engine", func() error { p.engine.run(ctx); return nil })
	part("manifests", func() error { return p.source.Run(ctx, p.engine.receive) })
	part("discovery port", func() error { return discoveryHTTP.ServeTLS(discovery, "", "") })
	if monitor != nil {
		part("monitor port", func() error { return monitorHTTP.Serve(monitor) })
	}
	part("readiness", func() error { p.logReady(ctx, discovery); return nil })

	<-ctx.Done()
	p.shutDown(context.WithoutCancel(ctx), discoveryHTTP, monitorHTTP)
	wg.Wait()
	return broken
}

// shutDown ends the streams in order, so that proxies turn to another replica, and then everything else.
func (p *ControlPlane) shutDown(ctx context.Context, servers ...*http.Server) {
	p.server.Close()
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

// loadIdentity brings up the CA, the trust bundle and the token verifier.
func (p *ControlPlane) loadIdentity() error {
	if err := os.MkdirAll(p.o.StateDir, 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	ca, err := identity.LoadOrCreate(p.o.StateDir, identity.CAOptions{TrustDomain: p.o.TrustDomain, Logger: p.o.Logger})
	if err != nil {
		return err
	}
	roots := ca.Roots()
	if err := writeFile(filepath.Join(p.o.StateDir, RootCertFile), roots); err != nil {
		return fmt.Errorf("root certificate: %w", err)
	}
	p.ca = ca
	p.trust.Roots = certificates(roots)
	keys, err := os.ReadFile(p.o.TokenKey)
	if err != nil {
		return fmt.Errorf("public key for workload tokens: %w", err)
	}
	p.tokens, err = identity.NewTokenVerifier(identity.VerifierOptions{PublicKeysPEM: keys})
	if err != nil {
		return fmt.Errorf("public key for workload tokens: %s: %w", p.o.TokenKey, err)
	}
	return nil
}

// certificates takes PEM apart.
func certificates(all []byte) (list []string) {
	for {
		var block *pem.Block
		if block, all = pem.Decode(all); block == nil {
			return list
		}
		list = append(list, string(pem.EncodeToMemory(block)))
	}
}

// writeFile replaces a public file at once: whoever reads it sees all of it.
func writeFile(path string, content []byte) error {
	temporary := path + ".tmp"
	if err := os.WriteFile(temporary, content, 0o644); err != nil { //nolint:gosec // certificates are for everybody
		return err
	}
	return os.Rename(temporary, path)
}

// ready reports whether the first state of the sources is in force.
func (p *ControlPlane) ready() bool {
	select {
	case <-p.engine.synced:
		return true
	default:
		return false
	}
}

func (p *ControlPlane) logReady(ctx context.Context, discovery net.Listener) {
	select {
	case <-p.engine.synced:
		p.o.Logger.LogAttrs(ctx, slog.LevelInfo, "control plane ready", slog.String("discovery", discovery.Addr().String()),
			slog.Int("problems", len(p.engine.problems.list())))
	case <-ctx.Done():
	}
}

// authenticate gives the identity that a workload token proves.
func (p *ControlPlane) authenticate(_ context.Context, token string) (xds.ClientIdentity, error) {
	claims, err := p.tokens.Verify(token)
	if err != nil {
		p.metrics.countBadToken()
		return xds.ClientIdentity{}, err
	}
	return xds.ClientIdentity{
		Namespace: claims.Namespace, ServiceAccount: claims.ServiceAccount, Pod: claims.Pod, UID: claims.PodUID,
	}, nil
}

// sign issues a certificate for the identity of the caller's token.
func (p *ControlPlane) sign(_ context.Context, client xds.ClientIdentity, csrDER []byte) (chainPEM, rootsPEM []byte, err error) {
	defer func() { p.metrics.countSigned(err) }()
	csr, err := x509.ParseCertificateRequest(csrDER)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate request: %w", err)
	}
	id := identity.ID{TrustDomain: p.o.TrustDomain, Namespace: client.Namespace, ServiceAccount: client.ServiceAccount}
	chainPEM, err = p.ca.Sign(csr, id, 0)
	if err != nil {
		return nil, nil, err
	}
	return chainPEM, p.ca.Roots(), nil
}
