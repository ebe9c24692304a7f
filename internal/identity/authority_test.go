package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net/url"
	"testing"
	"time"
)

// certTTL is how long an authority's certificates are valid, as those of the mesh's CA.
const certTTL = 24 * time.Hour

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// authority is a root that signs for any trust domain, so that tests of what workloads accept need no CA that refuses.
type authority struct {
	key    *ecdsa.PrivateKey
	signer *x509.Certificate
}

func newAuthority(tb testing.TB) *authority {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	a := &authority{key: key}
	a.signer, err = a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "root"}, NotAfter: time.Now().Add(100 * certTTL),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}, key.Public())
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// issue signs a template; where it has no validity it is that of a workload's certificate.
func (a *authority) issue(template *x509.Certificate, pub any) (*x509.Certificate, error) {
	now := time.Now()
	if template.NotAfter.IsZero() {
		template.NotAfter = now.Add(certTTL)
	}
	template.NotBefore = now.Add(-time.Minute)
	template.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<62))
	parent := a.signer
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// workloadTemplate is what a certificate of id says; a ttl of 0 means certTTL.
func workloadTemplate(id ID, ttl time.Duration) *x509.Certificate {
	template := &x509.Certificate{
		URIs: []*url.URL{id.URI()}, KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ttl != 0 {
		template.NotAfter = time.Now().Add(ttl)
	}
	return template
}

// sign gives a certificate for id and the key of a request, PEM.
func (a *authority) sign(csr *x509.CertificateRequest, id ID, ttl time.Duration) ([]byte, error) {
	leaf, err := a.issue(workloadTemplate(id, ttl), csr.PublicKey)
	if err != nil {
		return nil, err
	}
	return EncodeCertificates(leaf), nil
}

func (a *authority) roots() []byte { return EncodeCertificates(a.signer) }

// certificate makes a key and signs template for it.
func (a *authority) certificate(tb testing.TB, template *x509.Certificate) *tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	leaf, err := a.issue(template, key.Public())
	if err != nil {
		tb.Fatal(err)
	}
	return TLSCertificate(key, []*x509.Certificate{leaf})
}

// sign makes a key and a certificate for id.
func sign(tb testing.TB, a *authority, id ID) *tls.Certificate {
	tb.Helper()
	return a.certificate(tb, workloadTemplate(id, 0))
}
