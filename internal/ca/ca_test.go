package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/identity"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newTestCA(tb testing.TB) *CA {
	tb.Helper()
	ca, err := LoadOrCreate(tb.TempDir(), Options{Logger: quiet()})
	if err != nil {
		tb.Fatal(err)
	}
	return ca
}

func newCSR(tb testing.TB, template *x509.CertificateRequest) (*x509.CertificateRequest, *ecdsa.PrivateKey) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		tb.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		tb.Fatal(err)
	}
	return csr, key
}

func sign(tb testing.TB, ca *CA, id identity.ID, ttl time.Duration) *tls.Certificate {
	tb.Helper()
	csr, key := newCSR(tb, &x509.CertificateRequest{})
	chain, err := ca.Sign(csr, id, ttl)
	if err != nil {
		tb.Fatal(err)
	}
	certs, err := identity.ParseCertificates(chain)
	if err != nil {
		tb.Fatal(err)
	}
	return identity.TLSCertificate(key, certs)
}

func TestLoadOrCreateGivesEveryoneTheSameCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "us")
	roots := make([][]byte, 16)
	var wg sync.WaitGroup
	for i := range roots {
		wg.Go(func() {
			ca, err := LoadOrCreate(dir, Options{Logger: quiet()})
			if err != nil {
				t.Error(err)
				return
			}
			roots[i] = ca.Roots()
		})
	}
	wg.Wait()
	for i := range roots {
		if !bytes.Equal(roots[i], roots[0]) {
			t.Errorf("caller %d got another root than caller 0", i)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("%d files in the directory, want only ca.pem: %v", len(entries), entries)
	}
	info, err := os.Stat(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %#o, want 0600", info.Mode().Perm())
	}
}

func TestLoadOrCreateRefuses(t *testing.T) {
	good := t.TempDir()
	if _, err := LoadOrCreate(good, Options{Logger: quiet()}); err != nil {
		t.Fatal(err)
	}
	pair, err := os.ReadFile(filepath.Join(good, caFile))
	if err != nil {
		t.Fatal(err)
	}
	keyBlock, certPEM := pem.Decode(pair)
	other := newTestCA(t)
	for _, tc := range []struct {
		name string
		data []byte
		mode os.FileMode
		td   string
		err  string
	}{
		{name: "an_empty_file", data: nil, mode: 0o600, err: `no PEM block of type "PRIVATE KEY"`},
		{name: "half_a_file", data: pair[:len(pair)/4], mode: 0o600, err: `no PEM block`},
		{name: "a_key_without_certificate", data: pem.EncodeToMemory(keyBlock), mode: 0o600, err: `no PEM block of type CERTIFICATE`},
		{name: "a_certificate_without_key", data: certPEM, mode: 0o600, err: `no PEM block of type "PRIVATE KEY"`},
		{name: "a_pair_that_does_not_match", data: append(pem.EncodeToMemory(keyBlock), other.Roots()...), mode: 0o600, err: "no certificate belongs to the private key"},
		{name: "a_file_others_can_read", data: pair, mode: 0o644, err: "chmod 600"},
		{name: "another_trust_domain", data: pair, mode: 0o600, td: "other.example", err: `made for trust domain "cluster.local", not "other.example"`},
		{name: "a_malformed_trust_domain", data: pair, mode: 0o600, td: "UPPER", err: "is not allowed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, caFile)
			if err := os.WriteFile(path, tc.data, tc.mode); err != nil {
				t.Fatal(err)
			}
			_, err := LoadOrCreate(dir, Options{TrustDomain: tc.td, Logger: quiet()})
			wantError(t, err, tc.err)
			after, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(after, tc.data) {
				t.Errorf("the file was changed (%v)", err)
			}
		})
	}
}

func TestCAOfTheTrustDomainExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		ca, err := LoadOrCreate(dir, Options{Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		csr, _ := newCSR(t, &x509.CertificateRequest{})
		id := identity.ID{TrustDomain: "cluster.local", Namespace: "a", ServiceAccount: "b"}
		time.Sleep(rootTTL - time.Hour)
		last := sign(t, ca, id, 24*time.Hour)
		if got := last.Leaf.NotAfter; !got.Equal(ca.signer.NotAfter) {
			t.Errorf("leaf ends at %s, after its signer %s", got, ca.signer.NotAfter)
		}
		time.Sleep(2 * time.Hour)
		_, err = ca.Sign(csr, id, 0)
		wantError(t, err, "the CA certificate expired at")
		_, err = LoadOrCreate(dir, Options{Logger: quiet()})
		wantError(t, err, "the CA certificate expired at")
	})
}

func TestSignIgnoresNamesInTheRequest(t *testing.T) {
	ca := newTestCA(t)
	csr, key := newCSR(t, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "admin"},
		DNSNames: []string{"controller.example"},
		URIs:     []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/other/sa/root"}},
	})
	chain, err := ca.Sign(csr, identity.ID{TrustDomain: "cluster.local", Namespace: "myapp", ServiceAccount: "users"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := identity.ParseCertificates(chain)
	if err != nil {
		t.Fatal(err)
	}
	if len(certs) != 1 {
		t.Fatalf("%d certificates in the chain, want 1: the root is not sent", len(certs))
	}
	leaf := certs[0]
	if !key.PublicKey.Equal(leaf.PublicKey) {
		t.Error("the certificate is for another key")
	}
	type names struct {
		Subject  string
		DNS, URI []string
		Usage    []x509.ExtKeyUsage
		IsCA     bool
	}
	got := names{leaf.Subject.String(), leaf.DNSNames, nil, leaf.ExtKeyUsage, leaf.IsCA}
	for _, u := range leaf.URIs {
		got.URI = append(got.URI, u.String())
	}
	want := names{
		URI:   []string{"spiffe://cluster.local/ns/myapp/sa/users"},
		Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("leaf (-want +got):\n%s", diff)
	}
	if ttl := time.Until(leaf.NotAfter); ttl < DefaultTTL-time.Minute || ttl > DefaultTTL {
		t.Errorf("valid for %s, want %s", ttl, DefaultTTL)
	}
	if age := time.Since(leaf.NotBefore); age < backdate {
		t.Errorf("valid since %s, want at least %s for clocks that differ", age, backdate)
	}
}

func TestSignRefuses(t *testing.T) {
	ca := newTestCA(t)
	good := identity.ID{TrustDomain: "cluster.local", Namespace: "a", ServiceAccount: "b"}
	csr, _ := newCSR(t, &x509.CertificateRequest{})
	forged := *csr
	forged.Signature = append([]byte(nil), csr.Signature...)
	forged.Signature[len(forged.Signature)-1] ^= 1
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, weak)
	if err != nil {
		t.Fatal(err)
	}
	short, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		csr  *x509.CertificateRequest
		id   identity.ID
		ttl  time.Duration
		err  string
	}{
		{name: "no_proof_of_possession", csr: &forged, id: good, err: "not signed with the key in it"},
		{name: "a_short_rsa_key", csr: short, id: good, err: "1024 bits is too short"},
		{name: "another_trust_domain", csr: csr, id: identity.ID{TrustDomain: "other", Namespace: "a", ServiceAccount: "b"}, err: `signs for trust domain "cluster.local"`},
		{name: "an_invalid_id", csr: csr, id: identity.ID{TrustDomain: "cluster.local", Namespace: "a/sa/x", ServiceAccount: "b"}, err: "is not allowed"},
		{name: "a_negative_ttl", csr: csr, id: good, ttl: -time.Second, err: "negative"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			chain, err := ca.Sign(tc.csr, tc.id, tc.ttl)
			wantError(t, err, tc.err)
			if chain != nil {
				t.Error("a chain came with the error")
			}
		})
	}
}

func TestCAWithIntermediateSendsItWithTheLeaf(t *testing.T) {
	root := newTestCA(t)
	dir := t.TempDir()
	writeIntermediate(t, dir, root)
	ca, err := LoadOrCreate(dir, Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ca.Roots(), root.Roots()) {
		t.Error("the intermediate is among the roots, or the root is not")
	}
	cert := sign(t, ca, identity.ID{TrustDomain: "cluster.local", Namespace: "a", ServiceAccount: "b"}, 0)
	if len(cert.Certificate) != 2 {
		t.Fatalf("%d certificates in the chain, want leaf and intermediate", len(cert.Certificate))
	}
	verify(t, ca.Roots(), cert)
}

// writeIntermediate puts a ca.pem into dir whose signer is an intermediate below root.
func writeIntermediate(tb testing.TB, dir string, root *CA) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "intermediate"},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(365 * 24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, root.signer, key.Public(), root.key)
	if err != nil {
		tb.Fatal(err)
	}
	data, err := encodeKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	data = append(data, root.Roots()...)
	if err := os.WriteFile(filepath.Join(dir, caFile), data, 0o600); err != nil {
		tb.Fatal(err)
	}
}

func TestServerConfigRenewsItsCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newTestCA(t)
		config := ca.ServerConfig("controller.example", "127.0.0.1")
		serial := func() string {
			cert, err := config.GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(ca.Roots())
			for _, name := range []string{"controller.example", "127.0.0.1"} {
				if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
					t.Errorf("verify for %s: %v", name, err)
				}
			}
			if id := identity.Describe(cert.Leaf).ID; id != "" {
				t.Error("the server certificate is a workload identity")
			}
			return cert.Leaf.SerialNumber.String()
		}
		first := serial()
		if serial() != first {
			t.Error("a new certificate at every handshake")
		}
		time.Sleep(DefaultTTL/2 + time.Minute)
		if serial() == first {
			t.Error("the same certificate past half its life")
		}
	})
}
