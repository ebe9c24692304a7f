package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/identity"
)

const (
	// DefaultTTL is how long a workload certificate is valid.
	DefaultTTL = 24 * time.Hour
	// rootTTL is how long a root made by LoadOrCreate is valid.
	rootTTL = 10 * 365 * 24 * time.Hour
	// rootWarning is how long before its end a signer is complained about.
	rootWarning = 90 * 24 * time.Hour
	// backdate moves NotBefore into the past, so that a peer whose clock is behind still accepts a new certificate.
	backdate = 2 * time.Minute
	// minRSABits is the shortest RSA key that is signed: NIST SP 800-57 part 1, table 2, 112 bits of security.
	minRSABits = 2048
)

// Options configure LoadOrCreate and New.
type Options struct {
	// TrustDomain is what the CA signs for. Empty means DefaultTrustDomain. A CA made for one trust domain refuses to
	// be loaded for another.
	TrustDomain string
	// TTL is the validity of certificates for which none is asked. 0 means DefaultTTL.
	TTL time.Duration
	// Logger gets a line when a root is made and when the signer is about to expire. Required.
	Logger *slog.Logger
}

// CA signs workload certificates. It is immutable and safe for concurrent use.
type CA struct {
	trustDomain string
	ttl         time.Duration
	key         crypto.Signer
	signer      *x509.Certificate
	// chain is what follows a leaf: the signer, where it is an intermediate, and the intermediates above it; empty where
	// the signer is a root.
	chain []*x509.Certificate
	roots []*x509.Certificate
	peers []PeerRoot
}

// PeerRoot is a root that is not the mesh's own, and the trust domain whose workloads it vouches for; empty for all of the mesh's,
// because neither the root nor who brought it says another.
type PeerRoot struct {
	Cert        *x509.Certificate
	TrustDomain string
}

// newCA takes parts that were found to belong together.
func newCA(o Options, key crypto.Signer, signer *x509.Certificate, chain, roots []*x509.Certificate) *CA {
	return &CA{trustDomain: o.TrustDomain, ttl: o.TTL, key: key, signer: signer, chain: chain, roots: roots}
}

// newRoot makes a key and a self-signed root for the trust domain.
func newRoot(trustDomain string) (crypto.Signer, *x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{trustDomain}, CommonName: "Fairlead root"},
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: trustDomain}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(rootTTL),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return key, cert, err
}

// TrustDomain is what the CA signs for.
func (c *CA) TrustDomain() string { return c.trustDomain }

// Roots gives the mesh's own roots, PEM: what peers must trust, and what proves to be the control plane, or to be of this mesh to it.
func (c *CA) Roots() []byte { return identity.EncodeCertificates(c.roots...) }

// PeerRoots gives the roots of WithPeerRoots. The caller does not change them.
func (c *CA) PeerRoots() []PeerRoot { return c.peers }

// Sign gives a certificate for id and the key of csr, PEM, followed by the intermediate where there is one. Of the
// request only the key is used, and its signature as the proof that the caller holds the private half: names and
// extensions in it are ignored. A ttl of 0 means the CA's default; the signer's own end is never exceeded.
func (c *CA) Sign(csr *x509.CertificateRequest, id identity.ID, ttl time.Duration) ([]byte, error) {
	if err := id.Validate(); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	if id.TrustDomain != c.trustDomain {
		return nil, fmt.Errorf("sign %s: this CA signs for trust domain %q", id, c.trustDomain)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("sign %s: the request is not signed with the key in it: %w", id, err)
	}
	if err := acceptableKey(csr.PublicKey); err != nil {
		return nil, fmt.Errorf("sign %s: %w", id, err)
	}
	leaf, err := c.issueWorkload(id, csr.PublicKey, ttl)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", id, err)
	}
	return identity.EncodeCertificates(append([]*x509.Certificate{leaf}, c.chain...)...), nil
}

func (c *CA) issueWorkload(id identity.ID, pub any, ttl time.Duration) (*x509.Certificate, error) {
	return c.issue(&x509.Certificate{
		URIs:        []*url.URL{id.URI()},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, pub, ttl)
}

func acceptableKey(key any) error {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() {
			return nil
		}
		return fmt.Errorf("key on curve %s is not accepted (P-256 or P-384)", k.Params().Name)
	case ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		if k.N.BitLen() >= minRSABits {
			return nil
		}
		return fmt.Errorf("RSA key of %d bits is too short (at least %d)", k.N.BitLen(), minRSABits)
	}
	return fmt.Errorf("key of type %T is not accepted (ECDSA, Ed25519 or RSA)", key)
}

// issue fills in what all leaves have in common and signs. The subject stays empty, which makes the SAN extension
// critical (RFC 5280 §4.2.1.6, X509-SVID section 2).
func (c *CA) issue(template *x509.Certificate, pub any, ttl time.Duration) (*x509.Certificate, error) {
	if ttl == 0 {
		ttl = c.ttl
	}
	if ttl < 0 {
		return nil, fmt.Errorf("ttl %s is negative", ttl)
	}
	now := time.Now()
	if now.After(c.signer.NotAfter) {
		return nil, fmt.Errorf("the CA certificate expired at %s", stamp(c.signer.NotAfter))
	}
	template.NotBefore = now.Add(-backdate)
	template.NotAfter = now.Add(ttl)
	if template.NotAfter.After(c.signer.NotAfter) {
		template.NotAfter = c.signer.NotAfter
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, c.signer, pub, c.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// IssueServer makes a key and a certificate for a server that is reached by the given DNS names and IP addresses,
// such as the controller itself. It carries no SPIFFE ID, so it opens nothing inside the mesh. A ttl of 0 means the
// CA's default.
func (c *CA) IssueServer(names []string, ttl time.Duration) (*tls.Certificate, error) {
	if len(names) == 0 {
		return nil, errors.New("server certificate: no names")
	}
	template := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if ip, err := netip.ParseAddr(name); err == nil {
			template.IPAddresses = append(template.IPAddresses, ip.AsSlice())
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("server certificate for %q: %w", names, err)
	}
	leaf, err := c.issue(template, key.Public(), ttl)
	if err != nil {
		return nil, fmt.Errorf("server certificate for %q: %w", names, err)
	}
	return identity.TLSCertificate(key, append([]*x509.Certificate{leaf}, c.chain...)), nil
}

// IssueWorkload makes a key and a certificate for a workload that is at hand, such as the controller where others know it by its SPIFFE ID.
// A ttl of 0 means the CA's default.
func (c *CA) IssueWorkload(id identity.ID, ttl time.Duration) (*tls.Certificate, error) {
	if err := id.Validate(); err != nil {
		return nil, err
	}
	if id.TrustDomain != c.trustDomain {
		return nil, fmt.Errorf("certificate for %s: this CA signs for trust domain %q", id, c.trustDomain)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("certificate for %s: %w", id, err)
	}
	leaf, err := c.issueWorkload(id, key.Public(), ttl)
	if err != nil {
		return nil, fmt.Errorf("certificate for %s: %w", id, err)
	}
	return identity.TLSCertificate(key, append([]*x509.Certificate{leaf}, c.chain...)), nil
}

// ServerConfig gives the TLS settings of a server that is reached by the given names. Its certificate is made at the
// first handshake and anew at half its life. Clients are not asked for a certificate: they show a token.
func (c *CA) ServerConfig(names ...string) *tls.Config {
	return ServerConfig(func() *CA { return c }, names...)
}

// ServerConfig is CA.ServerConfig for a server whose CA may be replaced: current is asked at each handshake, must be
// cheap and safe for concurrent use, and may give nil as long as there is no CA, which fails the handshake.
func ServerConfig(current func() *CA, names ...string) *tls.Config {
	return serverConfig(current, func(c *CA) (*tls.Certificate, error) { return c.IssueServer(names, 0) })
}

// WorkloadServerConfig is ServerConfig for a server that is known by its SPIFFE ID.
func WorkloadServerConfig(current func() *CA, id identity.ID) *tls.Config {
	return serverConfig(current, func(c *CA) (*tls.Certificate, error) { return c.IssueWorkload(id, 0) })
}

func serverConfig(current func() *CA, issue func(*CA) (*tls.Certificate, error)) *tls.Config {
	s := &serverCertificate{current: current, issue: issue}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{identity.ALPNH2},
		SessionTicketsDisabled: true,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.get() },
	}
}

// serverCertificate renews itself when it is used past half its life or when another CA has come.
type serverCertificate struct {
	current func() *CA
	issue   func(*CA) (*tls.Certificate, error)

	mu    sync.Mutex
	cert  *tls.Certificate // guarded by mu
	from  *CA              // guarded by mu: the CA that signed cert
	renew time.Time        // guarded by mu
}

func (s *serverCertificate) get() (*tls.Certificate, error) {
	ca := s.current()
	if ca == nil {
		return nil, errors.New("server certificate: no CA yet")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.cert != nil && now.Before(s.renew) && (s.from == ca || s.from.SameSigner(ca)) {
		return s.cert, nil
	}
	cert, err := s.issue(ca)
	if err != nil {
		return nil, err
	}
	s.cert, s.from, s.renew = cert, ca, halfLife(now, cert.Leaf.NotAfter)
	return cert, nil
}

// halfLife gives the middle between now and end. NotBefore is of no use here: it is backdated.
func halfLife(now, end time.Time) time.Time { return now.Add(end.Sub(now) / 2) }

// stamp writes a time the way messages show it.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
