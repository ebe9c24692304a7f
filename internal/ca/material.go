package ca

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"fairlead.dev/fairlead/internal/identity"
)

// PEM is PEM text and the name that errors give it: a file, or a key of a Secret.
type PEM struct {
	Name string
	Data []byte
}

// Material is what a CA is made of, wherever it is kept.
type Material struct {
	// Key is the private key that signs: PKCS #8, SEC 1 or PKCS #1, not encrypted.
	Key PEM
	// Cert is the certificate of Key. Certificates above it may follow.
	Cert PEM
	// Chain are certificates between Cert and Roots. What does not lead to a root is ignored. May be empty.
	Chain PEM
	// Roots are what peers must trust. Empty means the self-signed certificates of Cert and Chain.
	Roots PEM
}

// New makes a CA of m. An error names the part of m that is wrong.
func New(o Options, m Material) (*CA, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	key, err := parseKey(m.Key.Data)
	if err != nil {
		return nil, m.Key.wrap(err)
	}
	certs, err := identity.ParseCertificates(m.Cert.Data)
	if err != nil {
		return nil, m.Cert.wrap(err)
	}
	signer, err := findSigner(key, certs)
	if err != nil {
		return nil, m.Cert.wrap(fmt.Errorf("%w of %s", err, m.Key.Name))
	}
	if err := checkSigner(signer, o.TrustDomain, time.Now()); err != nil {
		return nil, m.Cert.wrap(err)
	}
	if len(m.Chain.Data) > 0 {
		more, err := identity.ParseCertificates(m.Chain.Data)
		if err != nil {
			return nil, m.Chain.wrap(err)
		}
		certs = append(certs, more...)
	}
	roots, err := m.roots(certs)
	if err != nil {
		return nil, err
	}
	chain, err := chainTo(roots, signer, certs)
	if err != nil {
		where := cmp.Or(m.Roots.Name, m.Cert.Name)
		return nil, m.Cert.wrap(fmt.Errorf("the CA certificate does not chain to a root of %s: %w", where, err))
	}
	return newCA(o, key, signer, chain, roots), nil
}

// Generate makes the key and the self-signed certificate of a new CA, PEM, for New.
func Generate(trustDomain string) (keyPEM, certPEM []byte, err error) {
	if err := identity.ValidateTrustDomain(trustDomain); err != nil {
		return nil, nil, fmt.Errorf("new CA: %w", err)
	}
	key, cert, err := newRoot(trustDomain)
	if err != nil {
		return nil, nil, fmt.Errorf("new CA: %w", err)
	}
	keyPEM, err = encodeKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("new CA: %w", err)
	}
	return keyPEM, identity.EncodeCertificates(cert), nil
}

// complete fills in the defaults.
func (o *Options) complete() error {
	if o.Logger == nil {
		return errors.New("ca: Options.Logger is not set")
	}
	if o.TrustDomain == "" {
		o.TrustDomain = identity.DefaultTrustDomain
	}
	if o.TTL == 0 {
		o.TTL = DefaultTTL
	}
	if o.TTL < 0 {
		return fmt.Errorf("ca: Options.TTL %s is negative", o.TTL)
	}
	if err := identity.ValidateTrustDomain(o.TrustDomain); err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	return nil
}

func (p PEM) wrap(err error) error { return fmt.Errorf("%s: %w", p.Name, err) }

func (m Material) roots(certs []*x509.Certificate) ([]*x509.Certificate, error) {
	if len(m.Roots.Data) == 0 {
		roots, err := selfSignedOf(certs)
		if err != nil {
			return nil, m.Cert.wrap(err)
		}
		return roots, nil
	}
	roots, err := identity.ParseCertificates(m.Roots.Data)
	if err != nil {
		return nil, m.Roots.wrap(err)
	}
	for i, c := range roots {
		if !c.IsCA {
			return nil, m.Roots.wrap(fmt.Errorf("certificate %d (%s) is not a CA certificate", i+1, c.Subject))
		}
	}
	return roots, nil
}

// findSigner gives the certificate of key.
func findSigner(key crypto.Signer, certs []*x509.Certificate) (*x509.Certificate, error) {
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return nil, fmt.Errorf("private key of type %T cannot sign certificates", key)
	}
	for _, c := range certs {
		if pub.Equal(c.PublicKey) {
			return c, nil
		}
	}
	return nil, errNotOfTheKey
}

var errNotOfTheKey = errors.New("no certificate belongs to the private key")

// checkSigner refuses a certificate that cannot sign for the trust domain now.
func checkSigner(c *x509.Certificate, trustDomain string, now time.Time) error {
	if !c.IsCA {
		return errors.New("the certificate of the private key is not a CA certificate")
	}
	if td := identity.TrustDomainOf(c); td != "" && td != trustDomain {
		return &TrustDomainError{MadeFor: td, Asked: trustDomain}
	}
	if now.After(c.NotAfter) {
		return fmt.Errorf("the CA certificate expired at %s (now %s)", stamp(c.NotAfter), stamp(now))
	}
	if now.Before(c.NotBefore) {
		return fmt.Errorf("the CA certificate is not valid before %s (now %s): check the clocks", stamp(c.NotBefore), stamp(now))
	}
	return nil
}

// TrustDomainError says that a CA cannot be used for the trust domain that was asked for.
type TrustDomainError struct{ MadeFor, Asked string }

// Error names both.
func (e *TrustDomainError) Error() string {
	return fmt.Sprintf("it was made for trust domain %q, not %q", e.MadeFor, e.Asked)
}

// selfSigned reports whether c is a root. The name check comes first because it is free.
func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignatureFrom(c) == nil
}

func selfSignedOf(certs []*x509.Certificate) ([]*x509.Certificate, error) {
	var roots []*x509.Certificate
	for _, c := range certs {
		if selfSigned(c) {
			roots = append(roots, c)
		}
	}
	if len(roots) == 0 {
		return nil, errors.New("no self-signed certificate: the root must be there beside the intermediate")
	}
	return roots, nil
}

// chainTo gives what follows a leaf: signer and the intermediates above it up to, and without, a root. It is empty
// where the signer is a root itself.
func chainTo(roots []*x509.Certificate, signer *x509.Certificate, certs []*x509.Certificate) ([]*x509.Certificate, error) {
	anchors, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range roots {
		anchors.AddCert(c)
		if c.Equal(signer) {
			return nil, nil
		}
	}
	for _, c := range certs {
		between.AddCert(c)
	}
	paths, err := signer.Verify(x509.VerifyOptions{
		Roots: anchors, Intermediates: between,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, identity.ExplainValidity(err, time.Now())
	}
	path := paths[0]
	for _, p := range paths[1:] {
		if len(p) < len(path) { // every certificate of it goes into every handshake
			path = p
		}
	}
	return path[:len(path)-1], nil
}

// Signer describes the certificate that signs.
func (c *CA) Signer() identity.CertInfo { return identity.Describe(c.signer) }

// Expiry says when the first of the certificates that sign ends, and when the root by which they are trusted does; of several
// such roots the last.
func (c *CA) Expiry() (signer, root time.Time) {
	top := c.signer
	signer = top.NotAfter
	for _, top = range c.chain {
		if top.NotAfter.Before(signer) {
			signer = top.NotAfter
		}
	}
	for _, r := range c.roots {
		if r.NotAfter.After(root) && (top.Equal(r) || top.CheckSignatureFrom(r) == nil) {
			root = r.NotAfter
		}
	}
	return signer, root
}

// RootCount is the number of certificates in Roots and PeerRoots.
func (c *CA) RootCount() int { return len(c.roots) + len(c.peers) }

// warnOfExpiry logs that the signer is about to expire.
func (c *CA) warnOfExpiry(log *slog.Logger, where string) {
	if time.Until(c.signer.NotAfter) < rootWarning {
		log.Warn("CA certificate expires soon, add a new one",
			slog.String("file", where), slog.Time("not_after", c.signer.NotAfter))
	}
}

// SameSigner reports whether both sign with the same certificate.
func (c *CA) SameSigner(other *CA) bool { return c.signer.Equal(other.signer) }

// WithPeerRoots gives a CA whose workloads trust those of a trust domain that have certificates of these roots, PEM, and nobody else
// does. Where the domain is empty, each root is for the one that its own name says: a signing certificate should be of the trust domain
// of what it signs (X509-SVID §3.2). Expired ones are left out.
func (c *CA) WithPeerRoots(trustDomain string, rootsPEM []byte) (*CA, error) {
	roots, err := identity.ParseRoots(rootsPEM)
	if err != nil {
		return nil, err
	}
	out := *c
	out.peers = slices.Clip(c.peers)
	now := time.Now()
	for _, r := range roots {
		peer := PeerRoot{Cert: r, TrustDomain: cmp.Or(trustDomain, identity.TrustDomainOf(r))}
		if now.After(r.NotAfter) || slices.ContainsFunc(out.peers, peer.equal) {
			continue
		}
		out.peers = append(out.peers, peer)
	}
	return &out, nil
}

func (p PeerRoot) equal(other PeerRoot) bool {
	return p.TrustDomain == other.TrustDomain && p.Cert.Equal(other.Cert)
}

// WithRoots gives a CA that signs as c does and has its peers trust more roots as well, PEM: those of a CA that comes
// next, or of one whose certificates are still around. Expired ones are left out.
func (c *CA) WithRoots(rootsPEM []byte) (*CA, error) {
	roots, err := identity.ParseRoots(rootsPEM)
	if err != nil {
		return nil, err
	}
	out := *c
	out.roots = slices.Clip(c.roots)
	now := time.Now()
	for _, r := range roots {
		if !now.After(r.NotAfter) && !containsCert(out.roots, r) {
			out.roots = append(out.roots, r)
		}
	}
	return &out, nil
}

func containsCert(list []*x509.Certificate, c *x509.Certificate) bool {
	for _, have := range list {
		if have.Equal(c) {
			return true
		}
	}
	return false
}
