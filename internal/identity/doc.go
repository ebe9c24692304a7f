// Package identity gives every workload a SPIFFE name that it can prove, on both ends of a connection: a workload asks for
// a certificate, renews it, and serves and dials TLS with what it got. What signs is in package ca.
//
// In: the sidecar hands NewWorkload a function that carries a request to the control plane. Out: tls.Configs that prove
// the own identity and demand the peer's, and descriptions of certificates for people to read. SPIFFE IDs, and
// certificates in PEM, are read and written here for both sides.
//
// Workload is safe for concurrent use. tls.Configs stay valid for the life of the Workload: certificates and roots are
// looked up at each handshake, so a rotation touches no established connection.
//
// The package never writes a workload's key anywhere, never logs key material, and never accepts a peer because of
// its chain alone: the SPIFFE ID is compared as well.
//
// To debug: every refusal of a peer is a *PeerError naming the expected and the actual identity; Workload logs each
// rotation and each failure to renew with the time that is left; Workload.Current shows the certificate in use.
package identity
