// Package certstest makes CAs, certificates and lists of revoked ones for tests, as PEM: what a Secret or a file holds.
// Nothing of it is kept anywhere, and every function fails the test that calls it rather than give an error.
package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/netip"
	"net/url"
	"testing"
	"time"
)

// Authority is a CA of a test.
type Authority struct {
	// CA is its certificate in PEM.
	CA string

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

// Pair is a certificate of an authority.
type Pair struct {
	// Cert and Key are PEM.
	Cert, Key string
	Leaf      *x509.Certificate
}

// New makes an authority of a name.
func New(tb testing.TB, name string) *Authority {
	tb.Helper()
	a := &Authority{last: 1}
	template := template(1, name)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	a.cert = template
	p, key := a.sign(tb, template, nil)
	a.CA, a.cert, a.key = p.Cert, p.Leaf, key
	return a
}

// Issue makes a certificate that is good for servers and clients under every name: a DNS name, an address or a URI.
func (a *Authority) Issue(tb testing.TB, names ...string) Pair {
	tb.Helper()
	a.last++
	t := template(a.last, names[0])
	t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, name := range names {
		if ip, err := netip.ParseAddr(name); err == nil {
			t.IPAddresses = append(t.IPAddresses, ip.AsSlice())
		} else if u, err := url.Parse(name); err == nil && u.Scheme != "" {
			t.URIs = append(t.URIs, u)
		} else {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
	p, _ := a.sign(tb, t, a.key)
	return p
}

// Revoke makes a list of revoked certificates that is good for an hour.
func (a *Authority) Revoke(tb testing.TB, revoked ...Pair) string {
	tb.Helper()
	now := time.Now().Add(-time.Minute)
	t := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now, NextUpdate: now.Add(time.Hour)}
	for _, p := range revoked {
		t.RevokedCertificateEntries = append(t.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: p.Leaf.SerialNumber, RevocationTime: now})
	}
	der, err := x509.CreateRevocationList(rand.Reader, t, a.cert, a.key)
	if err != nil {
		tb.Fatal(err)
	}
	return text("X509 CRL", der)
}

func template(serial int64, name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}
}

// sign makes a key and its certificate, by the key itself where by is nil.
func (a *Authority) sign(tb testing.TB, t *x509.Certificate, by *ecdsa.PrivateKey) (Pair, *ecdsa.PrivateKey) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, &key.PublicKey, by)
	if err != nil {
		tb.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return Pair{Cert: text("CERTIFICATE", der), Key: text("PRIVATE KEY", secret), Leaf: leaf}, key
}

func text(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
