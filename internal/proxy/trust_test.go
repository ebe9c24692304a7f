package proxy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// A new CA is trusted for the control channel as soon as the old one has announced it, not only when the kubelet has
// brought the file up to date.
func TestControlTLSTrustsTheBundle(t *testing.T) {
	root := func() []byte {
		_, cert, err := ca.Generate("cluster.local")
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	file, announced := root(), root()
	w, err := identity.NewWorkload(identity.WorkloadOptions{
		ID: identity.ID{TrustDomain: "cluster.local", Namespace: "myapp", ServiceAccount: "users"},
		Sign: func(context.Context, []byte) (chain []byte, said identity.Trust, err error) {
			return nil, identity.Trust{}, errors.New("not asked for")
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &ControlPlane{Roots: func() ([]byte, error) { return file, nil }}
	p := &Proxy{o: Options{Logger: slog.New(slog.DiscardHandler)}, identity: w}
	trusts := func(pems ...[]byte) bool {
		t.Helper()
		config, err := c.TLS(w)
		if err != nil {
			t.Fatal(err)
		}
		want := x509.NewCertPool()
		for _, pem := range pems {
			want.AppendCertsFromPEM(pem)
		}
		return config.RootCAs.Equal(want)
	}
	if !trusts(file) {
		t.Error("before anything was announced: not the roots of the file")
	}
	p.setTrust(&plan.TrustBundle{TrustDomain: "cluster.local", Roots: []string{string(announced)}})
	if !trusts(file, announced) {
		t.Error("the announced root is not trusted")
	}
}

// A workload of another mesh under the same root is no peer: neither may it call, nor is it called.
func TestForeignTrustDomainIsNoPeer(t *testing.T) {
	m := newMesh(t)
	root := sharedRoot(t)
	m.ca = caOf(t, root, "cluster.local")
	stranger := certificate(t, caOf(t, root, "other.example"), identity.ID{TrustDomain: "other.example", Namespace: "myapp", ServiceAccount: "users"})
	users, orders := m.sidecar("users"), m.sidecar("orders")
	m.meshed(users)

	const times = 3
	for range times {
		if err := meshHello(t, netip.AddrPortFrom(users.ip, portMesh), stranger); err == nil {
			t.Error("a caller of another trust domain was let in")
		}
	}
	expectMetric(t, users, `fairlead_connections_refused_total{reason="foreign_trust_domain"} 3`)
	const why = "spiffe://other.example/ns/myapp/sa/users: its trust domain is neither"
	expectLogged(t, users.log, why)
	if said := strings.Count(users.log.String(), why); said != 1 {
		t.Errorf("said %d times:\n%s", said, users.log.String())
	}

	if err := orders.callsPeer(m, stranger); !errors.Is(err, identity.ErrForeignDomain) {
		t.Errorf("a call of a peer of another trust domain = %v, want %v", err, identity.ErrForeignDomain)
	}
	expectMetric(t, orders, `fairlead_connections_refused_total{reason="foreign_trust_domain"} 1`)

	users.setTrust(&plan.TrustBundle{TrustDomain: "cluster.local", Aliases: []string{"other.example"}, Roots: []string{string(m.ca.Roots())}})
	if err := meshHello(t, netip.AddrPortFrom(users.ip, portMesh), stranger); err != nil {
		t.Errorf("a caller of an alias: %v", err)
	}
}

// A root that was given for one trust domain signs an identity of another: no sidecar lets its holder in, and none calls it. Either line
// names the root and both trust domains.
func TestRootOfAnotherTrustDomain(t *testing.T) {
	m := newMesh(t)
	east := sharedRoot(t)
	forged := certificate(t, caOf(t, east, "cluster.local"), identity.ID{TrustDomain: "cluster.local", Namespace: "myapp", ServiceAccount: "users"})
	honest := certificate(t, caOf(t, east, "east.example"), identity.ID{TrustDomain: "east.example", Namespace: "myapp", ServiceAccount: "users"})
	users, orders := m.sidecar("users"), m.sidecar("orders")
	m.meshed(users)
	for _, s := range []*sidecar{users, orders} {
		s.setTrust(&plan.TrustBundle{
			TrustDomain: "cluster.local", Aliases: []string{"east.example"},
			Roots: []string{string(m.ca.Roots()), string(caOf(t, east, "east.example").Roots())}, RootDomains: []string{"", "east.example"},
		})
	}
	mesh := netip.AddrPortFrom(users.ip, portMesh)
	if err := meshHello(t, mesh, honest); err != nil {
		t.Errorf("a caller of the root's trust domain: %v", err)
	}
	if err := meshHello(t, mesh, forged); err == nil {
		t.Error("a caller of another trust domain than its root's was let in")
	}
	expectMetric(t, users, `fairlead_connections_refused_total{reason="untrusted_certificate"} 1`)
	const want = "got spiffe://cluster.local/ns/myapp/sa/users: its root "
	const both = "is trusted here for trust domain east.example, not for cluster.local"
	expectLogged(t, users.log, want, both)

	if err := orders.callsPeer(m, forged); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), both) {
		t.Errorf("a call = %v, want %s", err, both)
	}
	if err := orders.callsPeer(m, honest); err != nil && strings.Contains(err.Error(), "root") {
		t.Errorf("a call of the root's own trust domain: %v", err)
	}
}

// callsPeer has a sidecar call a peer that shows a certificate, and that the control plane says is users'. An honest one ends the
// connection, too, behind its handshake.
func (s *sidecar) callsPeer(m *mesh, cert *tls.Certificate) error {
	ip := m.ip()
	m.listen(netip.AddrPortFrom(ip, portMesh), func(ctx context.Context, c net.Conn) {
		server := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*cert}, ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{identity.ALPNMesh}, MinVersion: tls.VersionTLS13})
		server.HandshakeContext(ctx)
		c.Close()
	})
	way := s.ups.Reach(upstream.Target{Addr: netip.AddrPortFrom(ip, 8080), Meshed: true, Identity: "spiffe://cluster.local/ns/myapp/sa/users"})
	defer way.Release()
	_, err := way.Peer.OpenRequest(m.t.Context(), patience)
	return err
}

// meshHello opens a connection to a mesh port as cert's owner and waits for the first byte of the answer.
func meshHello(tb testing.TB, addr netip.AddrPort, cert *tls.Certificate) error {
	tb.Helper()
	c := tls.Client(dial(tb, addr.String()), &tls.Config{
		Certificates: []tls.Certificate{*cert}, InsecureSkipVerify: true, NextProtos: []string{identity.ALPNMesh}, MinVersion: tls.VersionTLS13,
	})
	if err := c.HandshakeContext(tb.Context()); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 1))
	return err
}

// A peer that refuses a certificate does not say why: for its root, or for its time by the peer's clock. Who showed it says both.
func TestARefusedCertificateIsDescribed(t *testing.T) {
	m := newMesh(t)
	users := m.sidecar("users")
	m.meshed(users)
	c := tls.Client(dial(t, netip.AddrPortFrom(users.ip, portMesh).String()), &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{identity.ALPNMesh}, MinVersion: tls.VersionTLS13,
		VerifyConnection: func(tls.ConnectionState) error { return errors.New("refused") },
	})
	if err := c.HandshakeContext(t.Context()); err == nil {
		t.Fatal("the certificate was accepted")
	}
	own := users.identity.Current()
	expectLogged(t, users.log, "does not accept the certificate of this workload, whose root is ", "for trust domain cluster.local? It is valid from "+
		own.NotBefore.UTC().Format(time.RFC3339)+" to "+own.NotAfter.UTC().Format(time.RFC3339)+", the clock here says ")
}

// sharedRoot is a CA, key and certificate in PEM, that belongs to no trust domain.
func sharedRoot(tb testing.TB) []byte {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	var b bytes.Buffer
	pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: cert})
	return b.Bytes()
}

// caOf signs for a trust domain with the given key and certificate.
func caOf(tb testing.TB, root []byte, domain string) *ca.CA {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), root, 0o600); err != nil {
		tb.Fatal(err)
	}
	ca, err := ca.LoadOrCreate(dir, ca.Options{TrustDomain: domain, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	return ca
}

func certificate(tb testing.TB, ca *ca.CA, id identity.ID) *tls.Certificate {
	tb.Helper()
	return certificateFor(tb, ca, id, time.Hour)
}

func certificateFor(tb testing.TB, ca *ca.CA, id identity.ID, ttl time.Duration) *tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		tb.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		tb.Fatal(err)
	}
	chain, err := ca.Sign(csr, id, ttl)
	if err != nil {
		tb.Fatal(err)
	}
	cert := &tls.Certificate{PrivateKey: key}
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		cert.Certificate = append(cert.Certificate, block.Bytes)
	}
	return cert
}
