package controlplane

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/incluster"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/spiffebundle"
)

// The roots of a bundle are trusted for the trust domain of its entry from the first CA on, beside those of Secrets, and go when the bundle
// says so; what cannot be used leaves the former ones.
func TestRootsOfBundles(t *testing.T) {
	made := func(domain string) *ca.CA {
		t.Helper()
		c, err := ca.LoadOrCreate(t.TempDir(), ca.Options{TrustDomain: domain, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	rootsIn := func(c *ca.CA) []*x509.Certificate {
		t.Helper()
		list, err := identity.ParseRoots(c.Roots())
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	own, forged, newer, north := made("west.example"), made("west.example"), made("east.example"), made("north.example")
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := spiffebundle.Encode(rootsIn(forged))
		if r.URL.Path != "/east" || err != nil {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(text)
	}))
	defer server.Close()
	cas := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(cas, identity.EncodeCertificates(server.Certificate()), 0o600); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	p, err := New(Options{
		Listen: "127.0.0.1:0", Sources: []string{t.TempDir()}, StateDir: t.TempDir(), TokenKey: "unread", TrustDomain: "west.example",
		TrustDomainAliases: []string{"east.example", "gone.example"}, SPIFFEBundleCAs: cas, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		CACertificates: `[{spiffeBundleUrl: "` + server.URL + `/east", trustDomains: [east.example]}, {spiffeBundleUrl: "` + server.URL + `/gone", trustDomains: [gone.example]}]`,
	})
	if err != nil {
		t.Fatal(err)
	}
	var published []*plan.TrustBundle
	p.authority.publish = func(b *plan.TrustBundle) { published = append(published, b) }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.federated.run(ctx) }()
	defer func() { cancel(); <-done }()

	for _, b := range p.federated.bundles {
		<-b.follower.Settled()
	}
	peers := trusted{log: p.o.Logger, use: func(c *ca.CA) { p.federated.from(ctx, c) }}
	peers.from(own)
	trusts := func(when string, domains []string, of ...*ca.CA) {
		t.Helper()
		b := published[len(published)-1]
		var want []string
		for _, c := range of {
			want = append(want, string(c.Roots()))
		}
		if !slices.Equal(b.RootDomains, domains) || !slices.Equal(b.Roots, want) {
			t.Errorf("%s: %d roots for %q, want %d for %q", when, len(b.Roots), b.RootDomains, len(want), domains)
		}
	}
	// The bundle of east brings a root that calls itself one of west.
	trusts("the first", []string{"", "east.example"}, own, forged)
	if len(published) != 1 {
		t.Errorf("published %d times, want once, with all that is known", len(published))
	}
	peers.set("north", incluster.RemoteSecret{Clusters: map[string][]byte{"north": north.Roots()}})
	trusts("a Secret beside", []string{"", "north.example", "east.example"}, own, north, forged)
	east := p.federated.bundles[0]
	set := func(list ...*x509.Certificate) error { return p.federated.set(east, spiffebundle.Bundle{Roots: list}) }
	if err := set(rootsIn(newer)...); err != nil {
		t.Error(err)
	}
	trusts("another one", []string{"", "north.example", "east.example"}, own, north, newer)
	var many []*x509.Certificate
	for range maxTrusted {
		many = append(many, rootsIn(made("east.example"))...)
	}
	before := len(published)
	if err := set(many...); err == nil || !strings.Contains(err.Error(), "more than 100 roots") || len(published) != before {
		t.Errorf("too many: %v, published %d times more", err, len(published)-before)
	}
	if err := set(rootsIn(newer)...); err != nil || len(published) != before {
		t.Errorf("the same again: %v, published %d times more", err, len(published)-before)
	}
	if err := set(); err != nil {
		t.Error(err)
	}
	trusts("all revoked", []string{"", "north.example"}, own, north)
	if want := "gone answers 404 Not Found"; strings.Count(log.String(), want) != 1 || !strings.Contains(log.String(), `age="never read"`) {
		t.Errorf("the log has not %q once:\n%s", want, log.String())
	}
	var page strings.Builder
	if err := p.writeMetrics(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`fairlead_spiffe_bundle_roots{trust_domain="east.example"} 1`, `fairlead_spiffe_bundle_failures_total{trust_domain="east.example"} 0`,
		`fairlead_spiffe_bundle_fetched_timestamp_seconds{trust_domain="east.example"} `,
	} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the metrics have no %s", want)
		}
	}
	for _, not := range []string{`timestamp_seconds{trust_domain="gone.example"}`, `failures_total{trust_domain="gone.example"} 0`} {
		if strings.Contains(page.String(), not) {
			t.Errorf("the metrics have %s of a bundle that could not be read", not)
		}
	}
}

// The first CA waits for the first answers, and not for ever; others wait for nothing.
func TestFirstCAWaitsForBundles(t *testing.T) {
	own, err := ca.LoadOrCreate(t.TempDir(), ca.Options{TrustDomain: "west.example", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for answers, want := range map[time.Duration]time.Duration{time.Second: time.Second, time.Minute: federationTime} {
		synctest.Test(t, func(t *testing.T) {
			b := &bundle{follower: spiffebundle.NewFollower(spiffebundle.FollowerOptions{
				Client: func() (*http.Client, error) { time.Sleep(answers); return nil, errors.New("away") }, Tell: func(error) {},
			})}
			uses := 0
			f := &federated{bundles: []*bundle{b}, use: func(*ca.CA) { uses++ }, log: slog.New(slog.DiscardHandler)}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- f.run(ctx) }()
			start := time.Now()
			f.from(ctx, own)
			if took := time.Since(start); took != want || uses != 1 {
				t.Errorf("an answer after %s: the first CA was in force %d times after %s, want %s", answers, uses, took, want)
			}
			start = time.Now()
			f.from(ctx, own)
			if took := time.Since(start); took != 0 || uses != 2 {
				t.Errorf("an answer after %s: the second CA took %s", answers, took)
			}
			cancel()
			<-done
		})
	}
}

// What cannot be followed is refused before anything starts.
func TestBadBundles(t *testing.T) {
	for written, want := range map[string]string{
		"[{spiffeBundleUrl: https://a.example, trustDomains: [west.example]}]": `caCertificates[0].trustDomains[0]: "west.example" is the mesh's own`,
		"[{spiffeBundleUrl: https://a.example, trustDomains: [East]}]":         `caCertificates[0].trustDomains[0]: trust domain "East": 'E' is not allowed`,
		"[{spiffeBundleUrl: http://a.example, trustDomains: [east.example]}]":  "caCertificates[0].spiffeBundleUrl: http://a.example: a bundle comes by https",
		"[{trustDomains: [east.example]}]":                                     "caCertificates[0].spiffeBundleUrl: missing",
	} {
		_, err := New(Options{
			Listen: "127.0.0.1:0", Sources: []string{t.TempDir()}, StateDir: t.TempDir(), TokenKey: "unread", TrustDomain: "west.example",
			CACertificates: written, Logger: slog.New(slog.DiscardHandler),
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", written, err, want)
		}
	}
}

// A file of CAs that cannot be read is a fault of every question, not of the start: it may come later.
func TestCAsOfBundles(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"": "", empty: "has no certificate, PEM", empty + "x": "no such file"} {
		o := Options{SPIFFEBundleCAs: file}
		if _, err := o.bundleClient(); (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", file, err, want)
		}
	}
}
