package controlplane

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/certs/certstest"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/incluster"
	"fairlead.dev/fairlead/internal/plan"
)

// What Secrets say of other clusters' roots is trusted beside the own CA's, whichever is known first, and no longer than they say
// so; what cannot be used leaves the former roots.
func TestRootsOfOtherClusters(t *testing.T) {
	making := func() *ca.CA {
		t.Helper()
		c, err := ca.LoadOrCreate(t.TempDir(), ca.Options{TrustDomain: "cluster.local", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	said := func(cluster string, pem []byte) incluster.RemoteSecret {
		return incluster.RemoteSecret{Clusters: map[string][]byte{cluster: pem}}
	}
	own, east, north := making(), making(), making()
	var log strings.Builder
	var now *ca.CA
	w := &trusted{log: slog.New(slog.NewTextHandler(&log, nil)), use: func(c *ca.CA) { now = c }}
	trusts := func(when string, want ...*ca.CA) {
		t.Helper()
		if now == nil || now.RootCount() != len(want) || !now.SameSigner(own) {
			t.Fatalf("%s: %v, want %d roots and the own signer", when, now, len(want))
		}
		if !bytes.Equal(now.Roots(), own.Roots()) {
			t.Errorf("%s: roots of other clusters are taken for own ones", when)
		}
		all := now.Roots()
		for _, p := range now.PeerRoots() {
			all = append(all, identity.EncodeCertificates(p.Cert)...)
		}
		for _, c := range want {
			if !strings.Contains(string(all), strings.TrimSpace(string(c.Roots()))) {
				t.Errorf("%s: a root is missing", when)
			}
		}
	}
	w.set("one", said("east", east.Roots()))
	if now != nil {
		t.Fatal("in force before there is an own CA")
	}
	w.from(own)
	trusts("at first", own, east)
	w.set("two", said("north", north.Roots()))
	trusts("another Secret", own, east, north)
	w.set("one", said("east", []byte("no certificate")))
	trusts("what cannot be used", own, east, north)
	if !strings.Contains(log.String(), "secret=one cluster=east") || !strings.Contains(log.String(), "multicluster trust --name east") {
		t.Errorf("the log does not say what is wrong:\n%s", log.String())
	}
	w.set("one", incluster.RemoteSecret{})
	trusts("the first is gone", own, north)
	w.from(own)
	trusts("the own CA anew", own, north)
	w.set("two", incluster.RemoteSecret{})
	trusts("all are gone", own)
}

// A root is for the trust domain that its Secret says, else for that of its own name, else for each of the mesh's; and proxies are
// told so.
func TestTrustDomainsOfRoots(t *testing.T) {
	made := func(domain string) *ca.CA {
		t.Helper()
		c, err := ca.LoadOrCreate(t.TempDir(), ca.Options{TrustDomain: domain, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	own, east, unnamed := made("west.example"), made("east.example"), certstest.New(t, "of nobody").CA
	for _, tt := range []struct {
		name    string
		said    incluster.RemoteSecret
		domains []string // of what was added to the own root
		log     string
	}{
		{name: "said", said: incluster.RemoteSecret{Clusters: map[string][]byte{"far": []byte(unnamed)}, TrustDomain: "far.example"}, domains: []string{"far.example"}},
		{name: "its own name", said: incluster.RemoteSecret{Clusters: map[string][]byte{"east": east.Roots()}}, domains: []string{"east.example"}},
		{name: "said, beside its own name", said: incluster.RemoteSecret{Clusters: map[string][]byte{"far": east.Roots()}, TrustDomain: "far.example"}, domains: []string{"far.example"}},
		{name: "nobody says it", said: incluster.RemoteSecret{Clusters: map[string][]byte{"far": []byte(unnamed)}}, domains: []string{"west.example", "old.example"}},
		{
			name: "no trust domain", said: incluster.RemoteSecret{Clusters: map[string][]byte{"far": []byte(unnamed)}, TrustDomain: "Far"},
			log: `annotation fairlead.dev/trust-domain: trust domain \"Far\": 'F' is not allowed`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log strings.Builder
			var bundle *plan.TrustBundle
			a := newAuthority("west.example", []string{"old.example"}, func(b *plan.TrustBundle) { bundle = b })
			w := &trusted{log: slog.New(slog.NewTextHandler(&log, nil)), use: a.use}
			w.from(own)
			w.set("one", tt.said)
			if len(bundle.Roots) != 1+len(tt.domains) || len(tt.domains) > 0 && !slices.Equal(bundle.RootDomains, append([]string{""}, tt.domains...)) {
				t.Errorf("%d roots for %q, want the own one and those for %q", len(bundle.Roots), bundle.RootDomains, tt.domains)
			}
			if bundle.Roots[0] != string(own.Roots()) {
				t.Error("the own root is not the first one")
			}
			if tt.log != "" && !strings.Contains(log.String(), tt.log) {
				t.Errorf("the log has no %q:\n%s", tt.log, log.String())
			}
		})
	}
}

// A root of another trust domain vouches for no client of the control plane, whatever it calls itself.
func TestCertificatesOfOthersAreNoClients(t *testing.T) {
	var now *ca.CA
	w := &trusted{log: slog.New(slog.DiscardHandler), use: func(c *ca.CA) { now = c }}
	own, err := ca.LoadOrCreate(t.TempDir(), ca.Options{TrustDomain: "west.example", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	east := certstest.New(t, "east")
	w.from(own)
	w.set("one", incluster.RemoteSecret{Clusters: map[string][]byte{"east": []byte(east.CA)}})
	a := newAuthority("west.example", nil, func(*plan.TrustBundle) {})
	a.use(now)
	config := acceptCertificates(&tls.Config{}, a)
	id := identity.ID{TrustDomain: "west.example", Namespace: "myapp", ServiceAccount: "users"}
	if err := config.VerifyConnection(tls.ConnectionState{PeerCertificates: signedBy(t, own, id)}); err != nil {
		t.Errorf("an own one: %v", err)
	}
	err = config.VerifyConnection(tls.ConnectionState{PeerCertificates: []*x509.Certificate{east.Issue(t, id.String()).Leaf}})
	if want := `client certificate of ` + id.String() + `, root "CN=east"`; err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "own roots of trust domain west.example") {
		t.Errorf("a forged one: %v, want %s", err, want)
	}
}

func signedBy(t *testing.T, c *ca.CA, id identity.ID) []*x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := c.Sign(csr, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := identity.ParseCertificates(pem)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}
