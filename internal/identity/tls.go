package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The ALPN names of the mesh. A ClientHello that offers ALPNMesh is mesh mTLS for the sidecar; any other TLS belongs
// to the app and is passed on as it is.
const (
	// ALPNMesh is the mesh transport: HTTP/2 in which the two sidecars know each other.
	ALPNMesh = "fairlead/h2"
	// ALPNH2 is plain HTTP/2 (RFC 9113 §3.2), for peers that are no Fairlead sidecar.
	ALPNH2 = "h2"
)

// maxVerified bounds the cache of verified chains. A peer takes one entry per certificate and role, about 200 bytes.
const maxVerified = 1024

// ErrNoCertificate means that a peer showed no certificate at all.
var ErrNoCertificate = errors.New("the peer showed no certificate")

// ErrWrongIdentity means that a peer is who it says it is, but not who was expected.
var ErrWrongIdentity = errors.New("wrong identity")

// ErrForeignDomain means that a peer is of a trust domain that is no part of the mesh, although it chains to the roots:
// several meshes can have one root.
var ErrForeignDomain = errors.New("its trust domain is neither the mesh's nor an alias of it")

// ErrNotReady means that the workload has no certificate yet.
var ErrNotReady = errors.New("no workload certificate yet: the control plane has not signed one")

// PeerError says why a peer was refused. It wraps ErrNoCertificate, ErrForeignDomain, ErrWrongIdentity or an error of
// crypto/x509.
type PeerError struct {
	// Expected are the SPIFFE IDs that were acceptable; empty means any that chains to the roots.
	Expected []string
	// Actual is what the peer's certificate says, proven or not; empty where it has no SPIFFE ID.
	Actual string
	Err    error
}

// Error gives one line that names both identities.
func (e *PeerError) Error() string {
	expected := "any workload of the mesh"
	if len(e.Expected) > 0 {
		expected = strings.Join(e.Expected, " or ")
	}
	actual := e.Actual
	if actual == "" {
		actual = "a peer without a SPIFFE ID"
	}
	return fmt.Sprintf("expected %s, got %s: %v", expected, actual, e.Err)
}

// Unwrap gives the cause.
func (e *PeerError) Unwrap() error { return e.Err }

// PeerID gives the SPIFFE ID that the peer of an established mesh connection has proven.
func PeerID(cs *tls.ConnectionState) (ID, error) {
	if len(cs.PeerCertificates) == 0 {
		return ID{}, ErrNoCertificate
	}
	return certID(cs.PeerCertificates[0])
}

// PeerExpiry is when the peer of an established mesh connection stops being who it has proven to be: at the end of its
// certificate, or of the first that ends of those that it sent along. Zero where it showed none.
func PeerExpiry(cs *tls.ConnectionState) (end time.Time) {
	for _, c := range cs.PeerCertificates {
		if end.IsZero() || c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

// ServerConfig gives the TLS settings for connections from the mesh: the client must show a certificate that chains
// to the roots and carries a SPIFFE ID of a trust domain of the mesh. protos are the ALPN names in order of preference;
// none means ALPNMesh, then ALPNH2. The caller owns the value.
func (w *Workload) ServerConfig(protos ...string) *tls.Config {
	if len(protos) == 0 {
		protos = []string{ALPNMesh, ALPNH2}
	}
	c := w.baseConfig(protos)
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return w.certificate() }
	// The chain is verified in VerifyConnection, with the roots of that moment, so no ClientCAs are set.
	c.ClientAuth = tls.RequireAnyClientCert
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		return w.verify(cs.PeerCertificates, x509.ExtKeyUsageClientAuth, nil)
	}
	return c
}

// istioProtocols are the ALPN names by which Istio's sidecars say that a connection is the mesh's, and the ones beside them
// that say what it carries. What is offered by itself, or beside these, is preferred: a gRPC library takes nothing but h2.
// istio-peer-exchange is not among them, for it would begin with an exchange of its own.
func istioProtocols() []string {
	return []string{ALPNH2, "http/1.1", "istio-h2", "istio-http/1.1", "istio-http/1.0", "istio"}
}

// IsIstio reports whether an ALPN name says that a connection is the mesh's, as Istio's sidecars do.
func IsIstio(protocol []byte) bool {
	switch string(protocol) {
	case "istio-h2", "istio-http/1.1", "istio-http/1.0", "istio", "istio-peer-exchange":
		return true
	}
	return false
}

// ForeignServerConfig is ServerConfig for peers that are no Fairlead sidecar: Envoys and gRPC libraries, which call the app's
// own port. As Istio's do it takes TLS 1.2, at which Envoy's clients stop unless they are told to go on, and a client that
// offers no protocol that is known here, which is answered without one (RFC 7301 §3.2 lets a server refuse it).
func (w *Workload) ForeignServerConfig() *tls.Config {
	c := w.ServerConfig(istioProtocols()...)
	c.MinVersion = tls.VersionTLS12
	c.ClientAuth = tls.RequestClientCert // VerifyConnection refuses none, and says so
	unnamed := c.Clone()
	unnamed.NextProtos = nil
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.ContainsFunc(hello.SupportedProtos, func(p string) bool { return slices.Contains(c.NextProtos, p) }) {
			return c, nil
		}
		return unnamed, nil
	}
	return c
}

// ClientConfig gives the TLS settings for a connection into the mesh: the server must prove one of the expected
// SPIFFE IDs, or the same workload in another trust domain of the mesh, and with none expected every server is refused. It offers
// ALPNMesh; set NextProtos for other peers. The caller owns the value and may use it for many connections.
func (w *Workload) ClientConfig(expected ...string) *tls.Config {
	c := w.baseConfig([]string{ALPNMesh})
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return w.certificate() }
	// Go's own verification compares a DNS name, which a SPIFFE certificate does not have. VerifyConnection does all
	// of it instead: chain, validity, key usage, identity.
	c.InsecureSkipVerify = true
	expected = slices.Clone(expected)
	if expected == nil {
		expected = []string{}
	}
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		return w.verify(cs.PeerCertificates, x509.ExtKeyUsageServerAuth, expected)
	}
	return c
}

func (w *Workload) baseConfig(protos []string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: protos,
		// X25519MLKEM768 is left out for speed: it adds about 160 µs of arithmetic and 2.2 KB to each handshake.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256},
		// Resumption would carry a peer's old identity past a rotation; connections live long, so it gains little.
		SessionTicketsDisabled: true,
		// Bulk data goes out in full records from the start. Go's default of growing records is for slow last miles.
		DynamicRecordSizingDisabled: true,
	}
}

// verify checks a peer's chain against the current roots for its trust domain, and its identity against expected; nil expects any
// workload of the mesh. Who is expected by its whole name needs to be of no trust domain of the mesh: the configuration says that this is who
// is called, and the roots of its domain vouch for it.
func (w *Workload) verify(peer []*x509.Certificate, usage x509.ExtKeyUsage, expected []string) error {
	if len(peer) == 0 {
		return &PeerError{Expected: expected, Err: ErrNoCertificate}
	}
	id, err := w.trust.Load().verify(peer, usage)
	if err != nil {
		actual, _ := certID(peer[0])
		return &PeerError{Expected: expected, Actual: actual.String(), Err: err}
	}
	switch {
	case slices.Contains(expected, id.String()):
	case !w.isPeerDomain(id.TrustDomain):
		return &PeerError{Expected: expected, Actual: id.String(), Err: ErrForeignDomain}
	case expected != nil && !slices.ContainsFunc(expected, func(want string) bool { return w.isSameWorkload(want, id) }):
		return &PeerError{Expected: expected, Actual: id.String(), Err: ErrWrongIdentity}
	}
	return nil
}

// isPeerDomain reports whether the workloads of a trust domain are peers: its own, and those that SetPeerDomains named.
func (w *Workload) isPeerDomain(domain string) bool {
	if own := w.own.Load(); own != nil && own.TrustDomain == domain {
		return true
	}
	others := w.peerDomains.Load()
	return others != nil && slices.Contains(*others, domain)
}

// isSameWorkload reports whether id is the wanted SPIFFE ID, or names the same service account in another trust domain
// of the mesh: while a mesh moves from one trust domain to the next, its workloads have certificates of both.
func (w *Workload) isSameWorkload(want string, id ID) bool {
	if want == id.String() {
		return true
	}
	wanted, err := ParseID(want)
	return err == nil && w.isPeerDomain(wanted.TrustDomain) &&
		wanted.Namespace == id.Namespace && wanted.ServiceAccount == id.ServiceAccount
}
