// Package linkerd reads Links of Linkerd (multicluster.linkerd.io, v1alpha1 to v1alpha3): each becomes a model.Link, with a Problem
// for everything in it that is wrong or that Fairlead does not do. It also declares their Go types, for Linkerd's own come with all
// of Linkerd.
//
// In: one decoded object. Out: its model value and its problems. Where a problem is Rejected the value is nil and the caller keeps
// the last good one. Types and translations are plain values and pure functions, safe from any goroutine: no look-ups, no clock, no
// environment. To see what came of a manifest: "fairlead validate -f FILE" prints the problems.
package linkerd
