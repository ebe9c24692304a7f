package controlplane

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/certs/certstest"
	"fairlead.dev/fairlead/internal/identity"
)

// publishing runs a control plane with a bundle endpoint and gives the latter's URL.
func publishing(t *testing.T, state string, o BundleEndpointOptions) (address string, stop func()) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.Listener = l
	_, public, err := ca.GenerateTokenKey()
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "token.pub")
	if err := os.WriteFile(key, public, 0o600); err != nil {
		t.Fatal(err)
	}
	_, stop = runWithout(t, Options{StateDir: state, TokenKey: key, TrustDomain: "west.example", BundleEndpoint: o})
	return "https://" + l.Addr().String() + "/bundle", stop
}

// runWithout runs a control plane without manifests.
func runWithout(t *testing.T, o Options) (p *ControlPlane, stop func()) {
	t.Helper()
	o.Listen, o.Sources, o.Logger = "127.0.0.1:0", []string{t.TempDir()}, slog.New(slog.DiscardHandler)
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	return p, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	}
}

// Two meshes trust each other by address: what one publishes the other follows, for the trust domain that it is configured for.
func TestMeshesFollowEachOther(t *testing.T) {
	t.Parallel()
	web := certstest.New(t, "web")
	leaf := web.Issue(t, "127.0.0.1")
	dir := t.TempDir()
	put := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	_, public, err := ca.GenerateTokenKey()
	if err != nil {
		t.Fatal(err)
	}
	cas, cert, key, tokens := put("ca.crt", web.CA), put("tls.crt", leaf.Cert), put("tls.key", leaf.Key), put("token.pub", string(public))
	listeners := map[string]net.Listener{}
	for _, name := range []string{"west", "east"} {
		if listeners[name], err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	meshes := map[string]*ControlPlane{}
	for name, other := range map[string]string{"west": "east", "east": "west"} {
		p, stop := runWithout(t, Options{
			StateDir: t.TempDir(), TokenKey: tokens, TrustDomain: name + ".example", TrustDomainAliases: []string{other + ".example"}, SPIFFEBundleCAs: cas,
			CACertificates: `[{spiffeBundleUrl: "https://` + listeners[other].Addr().String() + `/", trustDomains: [` + other + `.example]}]`,
			BundleEndpoint: BundleEndpointOptions{Listener: listeners[name], CertFile: cert, KeyFile: key},
		})
		t.Cleanup(stop)
		meshes[name] = p
	}
	for name, other := range map[string]string{"west": "east", "east": "west"} {
		eventually(t, name+" to trust the root of "+other, func() bool {
			own, theirs := meshes[name].authority.current(), meshes[other].authority.current()
			if own == nil || theirs == nil || len(own.PeerRoots()) != 1 {
				return false
			}
			peer := own.PeerRoots()[0]
			return peer.TrustDomain == other+".example" && bytes.Equal(identity.EncodeCertificates(peer.Cert), theirs.Roots())
		})
	}
}

// SPIFFE's own library fetches the bundle, in both profiles, and finds the roots of the CA in it, a time to come back, and a number that
// stays over a restart, and rises where the roots are others.
func TestBundleEndpoint(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	domain := spiffeid.RequireTrustDomainFromString("west.example")
	web := certstest.New(t, "web")
	leaf := web.Issue(t, "127.0.0.1")
	dir := t.TempDir()
	files := BundleEndpointOptions{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}
	if err := errors.Join(os.WriteFile(files.CertFile, []byte(leaf.Cert), 0o600), os.WriteFile(files.KeyFile, []byte(leaf.Key), 0o600)); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(web.CA))

	var before uint64
	fetch := func(when string, o BundleEndpointOptions, rises bool) {
		t.Helper()
		url, stop := publishing(t, state, o)
		defer stop()
		var roots []*x509.Certificate
		eventually(t, "there is a CA", func() bool {
			pem, err := os.ReadFile(filepath.Join(state, RootCertFile))
			if err == nil {
				roots, err = identity.ParseRoots(pem)
			}
			return err == nil
		})
		option := federation.WithWebPKIRoots(pool)
		if o.CertFile == "" {
			option = federation.WithSPIFFEAuth(x509bundle.FromX509Authorities(domain, roots), spiffeid.RequireFromString("spiffe://west.example/ns/fairlead-system/sa/fairlead-controller"))
		}
		var got *spiffebundle.Bundle
		eventually(t, when+": the endpoint answers", func() bool {
			b, err := federation.FetchBundle(t.Context(), domain, url, option)
			got = b
			return err == nil
		})
		sequence, _ := got.SequenceNumber()
		hint, _ := got.RefreshHint()
		if all := got.X509Authorities(); len(all) != 1 || !all[0].Equal(roots[0]) || hint != time.Minute || (sequence > before) != rises || sequence < before {
			t.Errorf("%s: %d roots, hint %s, version %d after %d, want it to rise: %t", when, len(all), hint, sequence, before, rises)
		}
		before = sequence
	}
	fetch("https_web", files, true)
	fetch("https_spiffe, after a restart", BundleEndpointOptions{}, false)
	if err := os.Remove(filepath.Join(state, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(state, RootCertFile)); err != nil {
		t.Fatal(err)
	}
	fetch("another CA", BundleEndpointOptions{}, true)
}

// Numbers of versions do not go back, whatever the clock does; a file that is damaged is named.
func TestVersionOf(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "version.json")
	for i, tt := range []struct {
		roots string
		now   int64
		want  uint64
	}{{"a", 1000, 1000}, {"a", 2000, 1000}, {"b", 2000, 2000}, {"c", 2000, 2001}, {"a", 500, 2002}, {"a", 9000, 2002}} {
		if got, err := versionOf(path, []byte(tt.roots), time.Unix(tt.now, 0)); got != tt.want || err != nil {
			t.Errorf("%d: %d, %v, want %d", i, got, err, tt.want)
		}
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := versionOf(path, []byte("a"), time.Unix(9000, 0)); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged file: %v", err)
	}
}

func TestBundleEndpointOptions(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]BundleEndpointOptions{
		"a certificate and its key go together":            {Listen: ":0", CertFile: "a"},
		"there is a certificate, and no address to listen": {CertFile: "a", KeyFile: "b"},
	} {
		if err := o.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", o, err, want)
		}
	}
}

// Files that are broken for a moment leave the certificate that was shown.
func TestCertFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := &certFiles{cert: filepath.Join(dir, "tls.crt"), key: filepath.Join(dir, "tls.key"), log: slog.New(slog.DiscardHandler)}
	if _, err := c.get(); err == nil {
		t.Error("a certificate of no files")
	}
	authority := certstest.New(t, "web")
	put := func() []byte {
		t.Helper()
		leaf := authority.Issue(t, "127.0.0.1")
		if err := errors.Join(os.WriteFile(c.cert, []byte(leaf.Cert), 0o600), os.WriteFile(c.key, []byte(leaf.Key), 0o600)); err != nil {
			t.Fatal(err)
		}
		return leaf.Leaf.Raw
	}
	shows := func(when string, want []byte) {
		t.Helper()
		c.looked = time.Time{} // long ago
		got, err := c.get()
		if err != nil || !bytes.Equal(got.Certificate[0], want) {
			t.Errorf("%s: another certificate, %v", when, err)
		}
	}
	first := put()
	shows("at first", first)
	if err := os.WriteFile(c.key, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	shows("while it is replaced", first)
	second := put()
	shows("after that", second)
}
