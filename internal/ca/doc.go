// Package ca is the signing side of identity: the certificate authority of a mesh, and the tokens that prove who asks it.
//
// In: a directory for LoadOrCreate, or key and certificates kept elsewhere for New; the public keys of a token issuer for
// NewTokenVerifier. Out: certificates for workloads whose token was verified, the TLS settings of the control plane's own
// ports, and the roots that peers must trust. The lab, which has no API server, issues tokens with TokenIssuer.
//
// The chain of trust is one level by default: a self-signed root signs the workloads. Intermediates and several roots
// work too, which is how roots are rotated: add the new root everywhere (CA.WithRoots), change the signer, remove the
// old root.
//
// CA, TokenIssuer and TokenVerifier are immutable and safe for concurrent use. A private key is written nowhere but by
// LoadOrCreate, with mode 0600, and never logged.
//
// It stands apart from package identity so that a sidecar, which asks and never signs, links neither a CA nor JOSE.
//
// To debug: errors name the file, or the key of the Secret, that is wrong; CA.Signer shows the certificate that signs.
package ca
