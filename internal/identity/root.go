package identity

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
)

// UntrustedRootError says that a peer's chain ends in a root that is none of those that are trusted here.
type UntrustedRootError struct {
	// Root is how RootName calls it.
	Root string
	Err  error
}

// Error gives one line.
func (e *UntrustedRootError) Error() string { return "its root " + e.Root + " is not trusted here" }

// Unwrap gives the error of crypto/x509.
func (e *UntrustedRootError) Unwrap() error { return e.Err }

// MisplacedRootError says that a peer's chain ends in a root that is trusted here, and not for the trust domain that the peer claims to
// be of: a CA signs for the domain that its root was given for, and for no other.
type MisplacedRootError struct {
	// Root is how RootName calls it, Domains what it may vouch for here.
	Root    string
	Domains []string
	// Claimed is the trust domain that the peer's certificate says.
	Claimed string
	Err     error
}

// Error gives one line.
func (e *MisplacedRootError) Error() string {
	return fmt.Sprintf("its root %s is trusted here for trust domain %s, not for %s", e.Root, strings.Join(e.Domains, " and "), e.Claimed)
}

// Unwrap gives the error of crypto/x509.
func (e *MisplacedRootError) Unwrap() error { return e.Err }

// maxRootName bounds what is shown of a name that a stranger has chosen.
const maxRootName = 200

// RootName names the root of a chain, leaf first: who issued its last certificate, and the beginning of that one's key ID, for roots
// of several meshes have one name.
func RootName(chain []*x509.Certificate) string {
	last := chain[len(chain)-1]
	name, key := last.Issuer.String(), last.AuthorityKeyId
	if len(key) == 0 && last.IsCA {
		key = last.SubjectKeyId // of a root itself
	}
	if len(name) > maxRootName {
		name = name[:maxRootName]
	}
	if len(key) == 0 {
		return fmt.Sprintf("%q", name)
	}
	return fmt.Sprintf("%q (key %s)", name, hex.EncodeToString(key[:min(len(key), 4)]))
}

// explain makes an UntrustedRootError or a MisplacedRootError of what crypto/x509 says about a chain, which was verified as o says.
func (t *trust) explain(err error, chain []*x509.Certificate, o *x509.VerifyOptions) error {
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); !unknown {
		return err
	}
	elsewhere := *o
	var domains []string
	for _, domain := range slices.Sorted(maps.Keys(t.others)) {
		elsewhere.Roots = t.pools[domain]
		if _, err := chain[0].Verify(elsewhere); err == nil {
			domains = append(domains, domain)
		}
	}
	if len(domains) > 0 {
		return &MisplacedRootError{Root: RootName(chain), Domains: domains, Claimed: TrustDomainOf(chain[0]), Err: err}
	}
	return &UntrustedRootError{Root: RootName(chain), Err: err}
}

// Root names the root of the workload's own certificate, empty while it has none.
func (w *Workload) Root() string {
	cert := w.cert.Load()
	if cert == nil {
		return ""
	}
	return RootName(chainOf(cert))
}

// RefusedByPeer reports whether a handshake ended because the peer did not accept the certificate that it was shown: an alert
// (RFC 8446 §6), of which crypto/tls gives nothing but the words.
func RefusedByPeer(err error) bool {
	alert, ok := errors.AsType[*net.OpError](err)
	if !ok || alert.Op != "remote error" {
		return false
	}
	switch alert.Err.Error() {
	case "tls: bad certificate", "tls: unknown certificate authority", "tls: unknown certificate":
		return true
	}
	return false
}
