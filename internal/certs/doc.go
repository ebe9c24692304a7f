// Package certs reads what TLS begun on behalf of an app is made of: a client's certificate and key, the CAs that a server's
// certificate may come from, lists of revoked certificates.
//
// In: text in PEM, of a file or a Secret. Out: values of crypto/tls and crypto/x509, or an error that says which part cannot be
// used and never quotes any of it. The control plane reads a Secret to tell its owner what is wrong, the sidecar to use it;
// both by these functions, so that what one lets through the other can use.
//
// All functions are pure and safe for concurrent use. To debug: openssl x509, openssl crl.
package certs
