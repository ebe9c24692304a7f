package ca

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
)

// wantError checks that err is nil where part is empty, and otherwise mentions part.
func wantError(tb testing.TB, err error, part string) {
	tb.Helper()
	switch {
	case part == "" && err != nil:
		tb.Errorf("error %v, want none", err)
	case part != "" && err == nil:
		tb.Errorf("no error, want one that mentions %q", part)
	case part != "" && !strings.Contains(err.Error(), part):
		tb.Errorf("error %v, want one that mentions %q", err, part)
	}
}

// verify checks that a server which shows cert, and what follows it, is accepted by a peer that trusts the roots.
func verify(tb testing.TB, roots []byte, cert *tls.Certificate) {
	tb.Helper()
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	o.Roots.AppendCertsFromPEM(roots)
	for _, der := range cert.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			tb.Fatal(err)
		}
		o.Intermediates.AddCert(c)
	}
	if _, err := cert.Leaf.Verify(o); err != nil {
		tb.Error(err)
	}
}
