package controlplane

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/config/istio"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/spiffebundle"
)

// federationTime is how long the first CA waits for the bundles of other trust domains. Proxies that come back to a replica which has just
// begun would be told to trust fewer roots than they do, and shortly after that to trust them again.
const federationTime = 5 * time.Second

// federated puts the roots of other trust domains, whose bundles it follows, beside those that a CA has. Each bundle vouches for the trust
// domain that it was configured for, whatever is in it. It is safe for concurrent use.
type federated struct {
	bundles []*bundle // fixed
	use     func(*ca.CA)
	log     *slog.Logger

	mu   sync.Mutex // guards what follows, and the roots of bundles
	base *ca.CA
}

// bundle is one that is followed.
type bundle struct {
	istio.SPIFFEBundle
	follower *spiffebundle.Follower
	roots    string // PEM
}

func newFederated(p *ControlPlane) (*federated, error) {
	list, err := istio.MeshCACertificates(p.o.CACertificates)
	if err != nil {
		return nil, err
	}
	f := &federated{use: p.authority.use, log: p.o.Logger}
	client := p.o.bundleClient
	for i, s := range list {
		if err := checkBundle(s, p.o.TrustDomain); err != nil {
			return nil, fmt.Errorf("caCertificates[%d].%w", i, err)
		}
		if !slices.Contains(p.o.TrustDomainAliases, s.TrustDomain) {
			f.log.Warn("workloads of a trust domain whose bundle is followed are no peers of the mesh", slog.String("trust_domain", s.TrustDomain),
				slog.String("fix", "make it one of the trust domain aliases"))
		}
		b := &bundle{SPIFFEBundle: s}
		b.follower = spiffebundle.NewFollower(spiffebundle.FollowerOptions{
			URL: s.URL, Client: client, Use: func(got spiffebundle.Bundle) error { return f.set(b, got) }, Tell: func(fault error) { f.tell(b, fault) },
		})
		f.bundles = append(f.bundles, b)
	}
	p.metrics.registry.MustRegister(bundleMetrics{f})
	return f, nil
}

// checkBundle says what keeps a bundle from being followed. Who has the certificate of a web server is not to vouch for the mesh's own
// workloads.
func checkBundle(b istio.SPIFFEBundle, own string) error {
	if err := identity.ValidateTrustDomain(b.TrustDomain); err != nil {
		return fmt.Errorf("trustDomains[0]: %w", err)
	}
	if b.TrustDomain == own {
		return fmt.Errorf("trustDomains[0]: %q is the mesh's own, for which no address vouches; bring roots as a Secret: fairlead multicluster trust", own)
	}
	if err := spiffebundle.CheckURL(b.URL); err != nil {
		return fmt.Errorf("spiffeBundleUrl: %w", err)
	}
	return nil
}

// bundleClient reads the CAs anew each time, so that they can be replaced.
func (o *Options) bundleClient() (*http.Client, error) {
	if o.SPIFFEBundleCAs == "" {
		return spiffebundle.NewClient(nil), nil
	}
	text, err := os.ReadFile(o.SPIFFEBundleCAs)
	if err != nil {
		return nil, fmt.Errorf("CAs of SPIFFE bundles: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, errors.New("CAs of SPIFFE bundles: " + o.SPIFFEBundleCAs + " has no certificate, PEM")
	}
	return spiffebundle.NewClient(roots), nil
}

// run is a part of the control plane.
func (f *federated) run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, b := range f.bundles {
		wg.Go(func() { b.follower.Run(ctx) })
	}
	wg.Wait()
	return nil
}

// from puts a CA in force with the roots of others, the first time when these are known, or their time is over.
func (f *federated) from(ctx context.Context, base *ca.CA) {
	f.await(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.base = base
	f.compose()
}

func (f *federated) await(ctx context.Context) {
	f.mu.Lock()
	first := f.base == nil
	f.mu.Unlock()
	if !first {
		return
	}
	over := time.NewTimer(federationTime)
	defer over.Stop()
	for _, b := range f.bundles {
		select {
		case <-b.follower.Settled():
		case <-over.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// set takes a bundle. One that cannot be used leaves the former.
func (f *federated) set(b *bundle, got spiffebundle.Bundle) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	roots := string(identity.EncodeCertificates(got.Roots...))
	if roots == b.roots {
		return nil
	}
	before := b.roots
	b.roots = roots
	if f.base == nil {
		return nil // compose finds out what cannot be used
	}
	if _, err := f.with(f.base, b); err != nil {
		b.roots = before
		return err
	}
	f.log.Info("roots of another trust domain are trusted by its bundle", slog.String("trust_domain", b.TrustDomain), slog.Int("roots", len(got.Roots)))
	f.compose()
	return nil
}

func (f *federated) with(c *ca.CA, b *bundle) (*ca.CA, error) {
	if b.roots == "" {
		return c, nil
	}
	return rootsOf{b.TrustDomain, b.roots}.beside(c)
}

// compose is called with the lock held.
func (f *federated) compose() {
	if f.base == nil {
		return
	}
	all := f.base
	for _, b := range f.bundles {
		with, err := f.with(all, b)
		if err != nil {
			f.log.Warn("roots of a bundle are not trusted", slog.String("trust_domain", b.TrustDomain), slog.String("url", b.URL), slog.Any("error", err))
			continue
		}
		all = with
	}
	f.use(all)
}

// tell says when a fault begins and ends.
func (f *federated) tell(b *bundle, fault error) {
	if fault == nil {
		f.log.Info("the bundle of another trust domain is read again", slog.String("trust_domain", b.TrustDomain), slog.String("url", b.URL))
		return
	}
	s := b.follower.Status()
	age := "never read"
	if !s.Fetched.IsZero() {
		age = time.Since(s.Fetched).Round(time.Second).String()
	}
	f.log.Warn("the bundle of another trust domain cannot be read, the roots that are trusted stay", slog.String("trust_domain", b.TrustDomain),
		slog.String("url", b.URL), slog.Int("roots", s.Roots), slog.String("age", age), slog.Any("error", fault))
}

// bundleMetrics say how it stands with bundles.
type bundleMetrics struct{ f *federated }

// Describe implements prometheus.Collector: which bundles there are differs.
func (bundleMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m bundleMetrics) Collect(out chan<- prometheus.Metric) {
	label := []string{"trust_domain"}
	roots := prometheus.NewDesc("fairlead_spiffe_bundle_roots", "Roots of another trust domain, by its bundle.", label, nil)
	failures := prometheus.NewDesc("fairlead_spiffe_bundle_failures_total", "Questions for a bundle that had no usable answer.", label, nil)
	fetched := prometheus.NewDesc("fairlead_spiffe_bundle_fetched_timestamp_seconds", "When a bundle was last read.", label, nil)
	for _, b := range m.f.bundles {
		s := b.follower.Status()
		out <- prometheus.MustNewConstMetric(roots, prometheus.GaugeValue, float64(s.Roots), b.TrustDomain)
		out <- prometheus.MustNewConstMetric(failures, prometheus.CounterValue, float64(s.Failures), b.TrustDomain)
		if !s.Fetched.IsZero() {
			out <- prometheus.MustNewConstMetric(fetched, prometheus.GaugeValue, float64(s.Fetched.Unix()), b.TrustDomain)
		}
	}
}
