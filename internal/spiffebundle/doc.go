// Package spiffebundle reads and writes SPIFFE bundles: the roots of one trust domain as a JSON Web Key Set (SPIFFE Trust Domain and
// Bundle §4, X509-SVID §6), which SPIRE prints and takes; and gets them from where they are published (SPIFFE Federation §4).
//
// In: a document, an address, or certificates. Out: roots, or a document. Keys of other uses, such as those that sign JWTs, are left out.
// Which trust domain a document is of it does not say (§4): whoever brings it has to know. Parse and Encode are pure. A Follower asks an
// endpoint of profile https_web again and again; what it was told last stays until it is told something else that is a bundle. A Publisher
// is such an endpoint, for roots and version numbers that somebody else keeps. All is safe for concurrent use. To debug: spire-server bundle show -format spiffe, or curl the address.
package spiffebundle
