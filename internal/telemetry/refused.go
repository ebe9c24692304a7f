package telemetry

import (
	"strconv"
	"sync/atomic"
)

// Refusal is why a connection was refused before it carried anything.
type Refusal uint8

// The refusals: of peers that did not prove who they are, and of destinations that are not this sidecar's to serve.
const (
	// NoCertificate means that a peer on the mesh port showed none.
	NoCertificate Refusal = iota + 1
	// UntrustedCertificate means that a peer's certificate does not chain to the roots, or is not in force.
	UntrustedCertificate
	// ForeignTrustDomain means that a peer is of a trust domain that is no part of the mesh.
	ForeignTrustDomain
	// WrongIdentity means that a peer is not the workload that was called.
	WrongIdentity
	// FailedHandshake means that a connection to the mesh port did not come as far as a certificate.
	FailedHandshake
	// ForeignAddress means that a connection from outside was opened to an address that is not the workload's.
	ForeignAddress
	// OwnPort means that a connection was opened to a port of the sidecar that takes redirected connections only.
	OwnPort
	// TooMany means that there were too many connections already.
	TooMany
	// Abuse means that too many connections of a client that was told to calm down waited for their turn already.
	Abuse
)

// String gives the value of the label.
func (r Refusal) String() string {
	switch r {
	case NoCertificate:
		return "no_certificate"
	case UntrustedCertificate:
		return "untrusted_certificate"
	case ForeignTrustDomain:
		return "foreign_trust_domain"
	case WrongIdentity:
		return "wrong_identity"
	case FailedHandshake:
		return "failed_handshake"
	case ForeignAddress:
		return "foreign_address"
	case OwnPort:
		return "own_port"
	case TooMany:
		return "too_many"
	case Abuse:
		return "abuse"
	}
	return "unknown"
}

// refusals counts refused connections by reason.
type refusals [Abuse + 1]atomic.Uint64

// Refused counts a connection that was refused.
func (r *Registry) Refused(why Refusal) { r.refused[why].Add(1) }

func (r *refusals) append(b []byte) []byte {
	const name = "fairlead_connections_refused_total"
	b = append(b, "# TYPE "+name+" counter\n"...)
	for why := range r {
		if n := r[why].Load(); n > 0 {
			b = append(b, name+`{reason="`+Refusal(why).String()+`"} `...)
			b = strconv.AppendUint(b, n, 10)
			b = append(b, '\n')
		}
	}
	return b
}
