package identity

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
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

// explainRoot makes an UntrustedRootError of what crypto/x509 says about a chain.
func explainRoot(err error, chain []*x509.Certificate) error {
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); !unknown {
		return err
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
