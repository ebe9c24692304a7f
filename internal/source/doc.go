// Package source says what comes out of every source of configuration: objects, and what changed among them. Packages
// file (manifests on disk) and kube (a Kubernetes API server) below it produce these values; the control plane takes
// them without knowing which of the two it has.
//
// The values are immutable once handed over and safe to share; the package does nothing.
package source
