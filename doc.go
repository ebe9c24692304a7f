// Package fairlead is the root of a service mesh for Kubernetes. It holds no code: see README.md for what it is,
// docs/flow.md for the path of a request and of an endpoint change, and docs/layers.txt for what imports what.
package fairlead
