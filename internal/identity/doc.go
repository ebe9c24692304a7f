// Package identity gives every workload a SPIFFE name it can prove, on both ends: the CA that signs, and the workload
// that asks, renews and serves TLS with what it got.
//
// In: the controller calls LoadOrCreate, or NewCA with what it found elsewhere, checks a caller's token with a
// TokenVerifier and signs its request with CA.Sign. The sidecar hands NewWorkload a function that carries a request to
// the controller. Out: tls.Configs that prove the own identity and demand the peer's, and descriptions of certificates
// for people to read.
//
// The chain of trust is one level by default: a self-signed root signs the workloads. Intermediates and several roots
// work too, which is how roots are rotated: add the new root everywhere (CA.WithRoots), change the signer, remove the
// old root.
//
// CA, TokenIssuer, TokenVerifier and Workload are safe for concurrent use. tls.Configs stay valid for the life of the
// Workload: certificates and roots are looked up at each handshake, so a rotation touches no established connection.
//
// The package never writes a workload's key anywhere, never logs key material, and never accepts a peer because of
// its chain alone: the SPIFFE ID is compared as well.
//
// To debug: every refusal of a peer is a *PeerError naming the expected and the actual identity; Workload logs each
// rotation and each failure to renew with the time that is left; Workload.Current shows the certificate in use.
package identity
