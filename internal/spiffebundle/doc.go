// Package spiffebundle reads and writes SPIFFE bundles: the roots of one trust domain as a JSON Web Key Set (SPIFFE Trust Domain and
// Bundle §4, X509-SVID §6), which SPIRE prints and takes.
//
// In: a document, or certificates. Out: the other one. Keys of other uses, such as those that sign JWTs, are left out. Which trust domain
// a document is of it does not say (§4): whoever brings it has to know. All functions are pure and safe for concurrent use. To debug:
// spire-server bundle show -format spiffe.
package spiffebundle
