// Package envoyagent runs a stock Envoy as the sidecar of a pod, in the place of package proxy.
//
// In: the Envoy's program, an identity, and where the control plane is (Options). Out: a running Envoy that asks the control
// plane for what it does, by a bootstrap that is written here, and who proves the pod's identity by files that are replaced as
// the certificate is renewed; and the pages of a sidecar on ports 15020, 15021 and 15090.
//
// The files are in one directory, which is the Envoy's working directory: bootstrap.json, and in secrets one file for each
// secret that the control plane's resources name. Each holds all of its secret, and is replaced as a whole, so that no certificate
// ever stands beside another one's key. Nobody but the sidecar's user can read them.
//
// The package decides nothing about calls, and never sends a key anywhere. When Run returns, no Envoy is left.
//
// To debug: the Envoy's admin is at 127.0.0.1:15000 in the pod; its output is the sidecar's.
package envoyagent
