package controlplane

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/incluster"
	"fairlead.dev/fairlead/internal/inject"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/observe"
	"fairlead.dev/fairlead/internal/remote"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/source/kube"
)

// KubeOptions say which cluster a control plane stands on, and what it is there.
type KubeOptions struct {
	// Kubeconfig is a file that says how to reach the API server; empty means from inside a pod.
	Kubeconfig string
	// Namespace is the control plane's own. Required.
	Namespace string
	// Replica tells this one from the others in the election of the leader: the name of its pod. Required.
	Replica string
	// PodUID is the UID of that pod; empty outside a cluster.
	PodUID string
	// Webhook is the address of the admission webhooks (TLS). It is listened to when they can answer.
	Webhook string
	// ServiceImports has the cluster's own objects say what clusters have exported.
	ServiceImports bool
	// CompatKiali has this replica found as an istiod is: see serveAsIstiod.
	CompatKiali bool
	// InjectorConfig is a file in the form of inject.Config, read anew when it changes. Required.
	InjectorConfig string
}

const (
	leaderLease = "fairlead-leader"
	// versionRetry and versionAge are how long to wait before the API server's version is asked for anew: after a
	// failure, and in case that the cluster was upgraded.
	versionRetry, versionAge = 5 * time.Second, 10 * time.Minute
)

// cluster is the backing of a control plane on Kubernetes.
type cluster struct {
	o      KubeOptions
	p      *ControlPlane
	log    *slog.Logger
	client *incluster.Client
	source *kube.Source
	writer *kube.Writer
	ca     *incluster.Authority
	tokens *incluster.TokenReviewer
	// observers says who may see what sidecars see.
	observers *incluster.Observers
	// remotes says how to reach the other clusters of the mesh.
	remotes *incluster.RemoteSecrets
	// trusts says which of their roots are trusted, peers has them.
	trusts *incluster.RemoteSecrets
	peers  trusted
	// imports keep what says in the cluster what clusters have exported; nil where nothing is to.
	imports *incluster.Imports
	// linked says how to reach those that Links name, mirrors writes what these bring about.
	linked  *linkedClusters
	mirrors *incluster.Mirrors
	// conditions are those of pods whose sidecars this replica serves.
	conditions *incluster.PodConditions
	sidecar    injectorConfig
	// native says that the API server knows native sidecars; versioned is closed when that is known.
	native    atomic.Bool
	versioned chan struct{}
	// serving says that the webhook port is open: a replica that is ready is asked about pods.
	serving atomic.Bool

	mu    sync.Mutex
	certs *incluster.RootCerts // guarded by mu, as the next; nil before there is a CA
	// toolCerts are those for tools for Istio, nil also where there are to be none.
	toolCerts *incluster.RootCerts
	webhooks  *incluster.Webhooks
}

// newCluster reads the kubeconfig and sends nothing.
func newCluster(p *ControlPlane) (*cluster, error) {
	o := *p.o.Kube
	switch {
	case o.Namespace == "":
		return nil, errors.New("control plane: no namespace of its own")
	case o.Replica == "":
		return nil, errors.New("control plane: no name of this replica")
	case o.InjectorConfig == "":
		return nil, errors.New("control plane: no configuration of the injector")
	}
	config, err := incluster.Config(o.Kubeconfig)
	if err != nil {
		return nil, err
	}
	c := &cluster{
		o: o, p: p, log: p.o.Logger, versioned: make(chan struct{}),
		sidecar: injectorConfig{path: o.InjectorConfig, base: inject.DefaultConfig(), log: p.o.Logger},
	}
	if c.client, err = incluster.NewClient(config); err != nil {
		return nil, err
	}
	if c.source, err = kube.New(kube.Options{Config: config, Logger: p.o.Logger}); err != nil {
		return nil, err
	}
	if c.writer, err = kube.NewWriter(kube.WriterOptions{Config: config, Logger: p.o.Logger}); err != nil {
		return nil, err
	}
	c.ca, err = incluster.NewAuthority(incluster.AuthorityOptions{
		Client: c.client, Namespace: o.Namespace, CA: ca.Options{TrustDomain: p.o.TrustDomain, TTL: p.o.WorkloadCertTTL, Logger: p.o.Logger},
	})
	if err != nil {
		return nil, err
	}
	if c.remotes, err = c.declareClusters(); err != nil {
		return nil, err
	}
	c.peers.log = c.log
	c.trusts, err = incluster.NewRemoteSecrets(incluster.RemoteSecretsOptions{
		Client: c.client, Namespace: o.Namespace, Label: incluster.TrustSecretLabel, Logger: c.log, Set: c.peers.set, Listed: func() {},
	})
	if err != nil {
		return nil, err
	}
	if o.ServiceImports {
		if c.imports, err = incluster.NewImports(incluster.ImportsOptions{Client: c.client, Logger: p.o.Logger}); err != nil {
			return nil, err
		}
		p.engine.imports = newImportWatch()
	}
	if err := c.declareLinked(); err != nil {
		return nil, err
	}
	c.tokens = incluster.NewTokenReviewer(c.client)
	c.observers = incluster.NewObservers(c.client)
	c.conditions, err = incluster.NewPodConditions(incluster.PodConditionsOptions{Client: c.client, Logger: p.o.Logger})
	p.engine.health.shared = c.conditions
	return c, err
}

func (c *cluster) follow(ctx context.Context, sink func(source.Change)) error {
	return c.source.Run(ctx, sink)
}

func (c *cluster) unready() string {
	if !c.serving.Load() {
		return "opening the webhook port"
	}
	if !c.trusted() {
		return "waiting for the caBundle of the webhooks " + incluster.InjectorRegistration + " and " + incluster.ValidatorRegistration +
			": without it the API server refuses the pods of opted-in namespaces"
	}
	return ""
}

// trusted reports whether the API server has what it needs to trust the webhook port. It was so once: who takes the
// bundle away later is to blame, and sidecars are served all the same.
func (c *cluster) trusted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.webhooks == nil {
		return false
	}
	select {
	case <-c.webhooks.Trusted():
		return true
	default:
		return false
	}
}

func (c *cluster) obstacles() []model.Problem { return c.source.Problems() }

func (c *cluster) authenticate(ctx context.Context, token string) (ca.Claims, error) {
	return c.tokens.Review(ctx, token)
}

// mayObserve implements backing.
func (c *cluster) mayObserve() observe.Authorizer { return c.observers.Authorize }

// followCA gets the CA, or makes one, and hands it over with the roots of other clusters. Who is no sidecar goes by the own ones:
// another cluster's CA must not stand in for the control plane.
func (c *cluster) followCA(ctx context.Context, use func(*ca.CA)) error {
	first, err := c.ca.LoadOrCreate(ctx)
	if err != nil {
		return err
	}
	c.peers.use = use
	c.peers.from(first)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { c.trusts.Run(ctx) })
	return c.ca.Run(ctx, func(newer *ca.CA) {
		c.peers.from(newer)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.certs != nil {
			c.certs.SetRoots(newer.Roots())
			if c.toolCerts != nil {
				c.toolCerts.SetRoots(newer.Roots())
			}
			c.webhooks.SetRoots(newer.Roots())
		}
	})
}

func (c *cluster) parts() []part {
	return []part{c.write, c.learnVersion, c.serveWebhooks, c.writeConditions, c.serveAsIstiod}
}

// declareClusters has the Secrets of other clusters say which there are.
func (c *cluster) declareClusters() (*incluster.RemoteSecrets, error) {
	const by = "secrets"
	of := kubeconfigs{c.p.o.KubeconfigPlugins, c.log}
	set := c.p.clusters.set
	remotes, err := incluster.NewRemoteSecrets(incluster.RemoteSecretsOptions{
		Client: c.client, Namespace: c.o.Namespace, Label: incluster.RemoteSecretLabel, Logger: c.log,
		Set: func(secret string, said incluster.RemoteSecret) {
			clusters := make(map[string]remote.Spec, len(said.Clusters))
			for name, text := range said.Clusters {
				clusters[name] = of.spec(text)
			}
			set.Declare(c.o.Namespace+"/"+secret, clusters)
		},
		Listed: func() { set.Listed(by) },
	})
	c.p.clusters.by = by
	c.p.clusters.declarers = append(c.p.clusters.declarers, func(ctx context.Context) error {
		remotes.Run(ctx)
		return nil
	})
	return remotes, err
}

// writeConditions shares what sidecars say of their pods' health with the other replicas.
func (c *cluster) writeConditions(ctx context.Context) error {
	c.conditions.Run(ctx)
	return nil
}

// report asks for statuses. Replicas that do not lead remember them for the day they do.
func (c *cluster) report(statuses map[model.Ref]kube.Status) {
	for ref, status := range statuses {
		if err := c.writer.Set(ref, status); err != nil {
			c.log.Error("status not written", slog.String("object", ref.String()), slog.Any("error", err))
		}
	}
}

// write keeps what the control plane has in the cluster: the webhooks' caBundle on every replica, everything else on the
// one that leads.
func (c *cluster) write(ctx context.Context) error {
	if !c.p.authority.wait(ctx) {
		return nil
	}
	if err := c.prepareToWrite(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { c.webhooks.Run(ctx) })
	err := incluster.Elect(ctx, incluster.ElectOptions{
		Client: c.client, Namespace: c.o.Namespace, Lease: leaderLease, Identity: c.o.Replica, PodUID: c.o.PodUID,
		OnLead: c.lead, Logger: c.log,
	})
	cancel()
	wg.Wait()
	return err
}

// lead does what one replica at a time does.
func (c *cluster) lead(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { c.certs.Run(ctx) })
	wg.Go(func() { c.mirrors.Run(ctx) })
	wg.Go(func() { _ = c.p.registry.run(ctx) }) // it gives no error
	if c.toolCerts != nil {
		wg.Go(func() { c.toolCerts.Run(ctx) })
	}
	wg.Go(func() { c.webhooks.Lead(ctx) })
	if c.imports != nil {
		wg.Go(func() { c.imports.Run(ctx) })
		wg.Go(func() { c.followExports(ctx) })
	}
	err := c.writer.Run(ctx)
	cancel()
	wg.Wait()
	return err
}

func (c *cluster) prepareToWrite() (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	roots := c.p.authority.current().Roots()
	if c.certs, err = incluster.NewRootCerts(incluster.RootCertsOptions{Client: c.client, Roots: roots, Logger: c.log}); err != nil {
		return err
	}
	if c.o.CompatKiali {
		c.toolCerts, err = incluster.NewRootCerts(incluster.RootCertsOptions{
			Client: c.client, Name: incluster.IstioRootCertConfigMap, Namespace: c.o.Namespace, Roots: roots, Logger: c.log,
		})
		if err != nil {
			return err
		}
	}
	c.webhooks, err = incluster.NewWebhooks(incluster.WebhooksOptions{Client: c.client, Roots: roots, Logger: c.log})
	return err
}

// learnVersion asks what the API server can do, again and again.
func (c *cluster) learnVersion(ctx context.Context) error {
	known := false
	for {
		wait := versionRetry
		native, err := incluster.NativeSidecars(ctx, c.client)
		switch {
		case err == nil:
			wait = versionAge
			c.native.Store(native)
			if !known {
				known = true
				close(c.versioned)
			}
		case ctx.Err() == nil:
			c.log.LogAttrs(ctx, slog.LevelWarn, "the API server's version is not known yet, trying again", slog.Any("error", err))
		}
		select {
		case <-time.After(wait): //nolint:forbidigo // once in minutes
		case <-ctx.Done():
			return nil
		}
	}
}

// serveWebhooks answers the API server once everything is known that an answer depends on.
func (c *cluster) serveWebhooks(ctx context.Context) error {
	if _, err := c.sidecar.read(); err != nil {
		return err
	}
	for _, known := range []<-chan struct{}{c.p.authority.ready, c.versioned, c.p.engine.synced} {
		select {
		case <-known:
		case <-ctx.Done():
			return nil
		}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.o.Webhook)
	if err != nil {
		return named("webhook port", err)
	}
	config := ca.ServerConfig(c.p.authority.current, c.p.o.ServerNames...)
	config.MinVersion = tls.VersionTLS12 // API servers before 1.30 on old Go versions
	config.NextProtos = []string{"h2", "http/1.1"}
	s := &http.Server{
		Handler: c.webhookHandler(), TLSConfig: config, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		shutDown(context.WithoutCancel(ctx), s)
	})
	c.serving.Store(true)
	err = s.ServeTLS(listener, "", "")
	if !stop() { // the end has come
		<-done
		return nil
	}
	return named("webhook port", err)
}

func (c *cluster) webhookHandler() http.Handler {
	mux := http.NewServeMux()
	o := inject.HandlerOptions{
		Config: c.sidecar.current, Native: c.native.Load, Namespaces: c.p.engine.namespaceLabels, Logger: c.log,
		Observe: func(o inject.Outcome, _ inject.Decision) { c.p.metrics.countInjection(o) },
	}
	mux.Handle("/inject", inject.NewHandler(o))
	mux.Handle("/validate/workloads", inject.NewWorkloadHandler(o))
	mux.Handle("/validate", c.p.validator())
	mux.Handle("/validate/unobeyed", c.p.unobeyedValidator())
	return mux
}

// injectorConfig is a file that may change; what cannot be read leaves the last good version in force. It is safe for
// concurrent use.
type injectorConfig struct {
	path string
	base inject.Config
	log  *slog.Logger

	mu     sync.Mutex
	text   []byte // guarded by mu, as the rest
	config inject.Config
	fault  string
}

// current gives the configuration in force.
func (i *injectorConfig) current() inject.Config {
	config, err := i.read()
	i.mu.Lock()
	defer i.mu.Unlock()
	if fault := errorText(err); fault != i.fault {
		i.fault = fault
		if fault != "" {
			i.log.Error("the injector's configuration is refused, the last good one stays in force", slog.String("error", fault))
		}
	}
	return config
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// read gives the configuration in the file, and after an error the last good one.
func (i *injectorConfig) read() (inject.Config, error) {
	text, err := os.ReadFile(i.path)
	i.mu.Lock()
	defer i.mu.Unlock()
	if err != nil {
		return i.config, fmt.Errorf("injector configuration: %w", err)
	}
	if i.text != nil && bytes.Equal(text, i.text) {
		return i.config, nil
	}
	config, err := inject.ParseConfig(text, i.base)
	if err != nil {
		return i.config, fmt.Errorf("injector configuration %s: %w", i.path, err)
	}
	i.text, i.config = text, config
	return config, nil
}

// namespaceLabels gives the labels of a namespace in force.
func (e *engine) namespaceLabels(name string) (map[string]string, bool) {
	n := e.reader().Namespace("", name)
	if n == nil {
		return nil, false
	}
	return n.Labels, true
}
