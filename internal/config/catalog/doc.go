// Package catalog knows which kinds of objects exist beside those that Fairlead reads: the kinds of the mesh APIs
// (Istio, Gateway API, Linkerd, SMI) that are not obeyed, with what does not happen because of it, and the kinds of
// Kubernetes itself, which mean nothing to a mesh.
//
// In: the group and the kind of an object. Out: what to tell its owner. A reader that meets an object asks here before it
// passes the object over in silence: `fairlead validate` and the lab when they read a file, the control plane at
// admission, `fairlead check` when it counts what a cluster holds.
//
// The kinds that are obeyed are those of internal/source/file; a test there holds the two lists apart. Everything is a
// pure function over tables that never change, and may be called from any goroutine.
package catalog
