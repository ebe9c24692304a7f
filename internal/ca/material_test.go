package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/identity"
)

// below makes an intermediate of parent, and the CA that signs with it.
func below(tb testing.TB, parent *CA, name string) *CA {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}, parent.signer, key.Public(), parent.key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	out := *parent
	out.key, out.signer, out.chain = key, cert, append([]*x509.Certificate{cert}, parent.chain...)
	return &out
}

// material writes a CA the way Istio's cacerts Secret has it.
func material(tb testing.TB, ca *CA) Material {
	tb.Helper()
	key, err := encodeKey(ca.key)
	if err != nil {
		tb.Fatal(err)
	}
	return Material{
		Key: PEM{"ca-key.pem", key}, Cert: PEM{"ca-cert.pem", identity.EncodeCertificates(ca.signer)},
		Chain: PEM{"cert-chain.pem", identity.EncodeCertificates(ca.chain...)}, Roots: PEM{"root-cert.pem", ca.Roots()},
	}
}

func TestNewCASendsTheWholeChain(t *testing.T) {
	root := newTestCA(t)
	upper := below(t, root, "upper")
	lower := below(t, upper, "lower")
	for _, tc := range []struct {
		name string
		ca   *CA
		sent int // certificates that go with a leaf
	}{
		{"root", root, 0}, {"intermediate", upper, 1}, {"intermediate_of_an_intermediate", lower, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ca, err := New(Options{Logger: quiet()}, material(t, tc.ca))
			if err != nil {
				t.Fatal(err)
			}
			cert := sign(t, ca, identity.ID{TrustDomain: "cluster.local", Namespace: "a", ServiceAccount: "b"}, 0)
			if got := len(cert.Certificate) - 1; got != tc.sent {
				t.Errorf("%d certificates behind the leaf, want %d", got, tc.sent)
			}
			verify(t, root.Roots(), cert)
			if signer, end := ca.Expiry(); !signer.Equal(tc.ca.signer.NotAfter) || !end.Equal(root.signer.NotAfter) {
				t.Errorf("ends at %s, its root at %s, want %s, %s", signer, end, tc.ca.signer.NotAfter, root.signer.NotAfter)
			}
			if ca.Signer().Serial != tc.ca.Signer().Serial || !ca.SameSigner(tc.ca) || ca.RootCount() != 1 {
				t.Errorf("signer %s with %d roots, want %s with 1", ca.Signer().Serial, ca.RootCount(), tc.ca.Signer().Serial)
			}
		})
	}
}

func TestNewCAOfGeneratedParts(t *testing.T) {
	key, cert, err := Generate("mesh.example")
	if err != nil {
		t.Fatal(err)
	}
	m := Material{Key: PEM{"ca.key", key}, Cert: PEM{"ca.crt", cert}}
	ca, err := New(Options{TrustDomain: "mesh.example", Logger: quiet()}, m)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ca.Roots(), cert) {
		t.Error("the certificate is not its own root")
	}
	_, err = New(Options{Logger: quiet()}, m)
	wantError(t, err, `ca.crt: it was made for trust domain "mesh.example", not "cluster.local"`)
	if td, ok := errors.AsType[*TrustDomainError](err); !ok || td.MadeFor != "mesh.example" {
		t.Errorf("error %v, want a TrustDomainError", err)
	}
	if _, _, err = Generate("NO"); err == nil {
		t.Error("a CA for a trust domain that is none")
	}
}

func TestNewCATakesKeysOfEveryForm(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ca := newTestCA(t)
	sec1, err := x509.MarshalECPrivateKey(ca.key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte, headers map[string]string) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der, Headers: headers})
	}
	for _, tc := range []struct {
		name string
		key  []byte
		err  string
	}{
		{name: "SEC_1", key: block("EC PRIVATE KEY", sec1, nil)},
		{name: "behind_its_parameters", key: append(block("EC PARAMETERS", []byte{1}, nil), block("EC PRIVATE KEY", sec1, nil)...)},
		{name: "PKCS_1_of_another", key: block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil), err: "ca-cert.pem: no certificate belongs to the private key of ca-key.pem"},
		{name: "PKCS_1_broken", key: block("RSA PRIVATE KEY", []byte{1}, nil), err: "ca-key.pem: private key: "},
		{name: "SEC_1_broken", key: block("EC PRIVATE KEY", []byte{1}, nil), err: "ca-key.pem: private key: "},
		{
			name: "PKCS_1_with_a_passphrase", key: block("RSA PRIVATE KEY", []byte{1}, map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}),
			err: "ca-key.pem: the private key is encrypted",
		},
		{name: "PKCS_8_with_a_passphrase", key: block("ENCRYPTED PRIVATE KEY", []byte{1}, nil), err: "ca-key.pem: the private key is encrypted"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := material(t, ca)
			m.Key.Data = tc.key
			_, err := New(Options{Logger: quiet()}, m)
			if tc.err != "" {
				wantError(t, err, tc.err)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNewCARefuses(t *testing.T) {
	root := newTestCA(t)
	upper := below(t, root, "upper")
	lower := below(t, upper, "lower")
	leaf := sign(t, root, identity.ID{TrustDomain: "cluster.local", Namespace: "a", ServiceAccount: "b"}, 0)
	for _, tc := range []struct {
		name   string
		change func(*Material)
		err    string
	}{
		{"no_certificate", func(m *Material) { m.Cert.Data = nil }, "ca-cert.pem: no PEM block of type CERTIFICATE"},
		{"no_key", func(m *Material) { m.Key.Data = nil }, `ca-key.pem: no PEM block of type "PRIVATE KEY"`},
		{"a_broken_chain", func(m *Material) { m.Chain.Data = []byte("x") }, "cert-chain.pem: no PEM block"},
		{"broken_roots", func(m *Material) { m.Roots.Data = []byte("x") }, "root-cert.pem: no PEM block"},
		{"a_root_that_is_no_CA", func(m *Material) { m.Roots.Data = identity.EncodeCertificates(leaf.Leaf) }, "root-cert.pem: certificate 1 () is not a CA certificate"},
		{"a_gap_in_the_chain", func(m *Material) { m.Chain.Data = nil }, "ca-cert.pem: the CA certificate does not chain to a root of root-cert.pem: x509: "},
		{"no_root_at_all", func(m *Material) { m.Roots.Data = nil }, "ca-cert.pem: no self-signed certificate"},
		{"another_root", func(m *Material) { m.Roots.Data = newTestCA(t).Roots() }, "does not chain to a root of root-cert.pem"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := material(t, lower)
			tc.change(&m)
			_, err := New(Options{Logger: quiet()}, m)
			wantError(t, err, tc.err)
		})
	}
	_, err := New(Options{}, material(t, root))
	wantError(t, err, "Logger is not set")
}

func TestWithRoots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, other, old := newTestCA(t), newTestCA(t), newTestCA(t)
		intermediate := below(t, old, "short") // an hour
		time.Sleep(2 * time.Hour)
		more := bytes.Join([][]byte{other.Roots(), ca.Roots(), identity.EncodeCertificates(intermediate.signer)}, nil)
		both, err := ca.WithRoots(more)
		if err != nil {
			t.Fatal(err)
		}
		if want := string(ca.Roots()) + string(other.Roots()); string(both.Roots()) != want {
			t.Error("roots are not the own one and the other one, each once, without the expired one")
		}
		if !both.SameSigner(ca) || both.SameSigner(other) || ca.RootCount() != 1 {
			t.Error("the signer or the CA itself has changed")
		}
		_, err = ca.WithRoots([]byte("x"))
		wantError(t, err, "trust bundle: no PEM block")
	})
}

func TestServerConfigFollowsTheCA(t *testing.T) {
	first, second := newTestCA(t), newTestCA(t)
	var current *CA
	config := ServerConfig(func() *CA { return current }, "controller.example")
	_, err := config.GetCertificate(nil)
	wantError(t, err, "no CA yet")
	both, err := first.WithRoots(second.Roots())
	if err != nil {
		t.Fatal(err)
	}
	var serials []string
	for _, current = range []*CA{first, both, second, second} {
		cert, err := config.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := cert.Leaf.CheckSignatureFrom(current.signer); err != nil {
			t.Error(err)
		}
		serials = append(serials, cert.Leaf.SerialNumber.String())
	}
	if serials[0] != serials[1] || serials[1] == serials[2] || serials[2] != serials[3] {
		t.Errorf("serial numbers %q, want a new one with another signer only", serials)
	}
}
