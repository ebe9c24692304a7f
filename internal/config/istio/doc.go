// Package istio reads Istio's objects: VirtualService, DestinationRule, ServiceEntry, PeerAuthentication, Telemetry and others become values
// of package model, with a Problem for everything in them that is wrong or that Fairlead does not do.
//
// In: one decoded object and the cluster domain. Out: its model value and its problems. Where a problem is Rejected
// the value is nil and the caller keeps the last good one; Warnings accompany a value that is in force. A field that
// has no effect here always gives a Warning that names it, never silence.
//
// Everything is a pure function: no look-ups, no clock, no environment; the same object gives the same answer. Hosts
// are qualified (a short name gets the object's namespace) but not looked up: whether "a.b" is the Service a in b is
// for internal/compile to decide, see model.HostCandidates. Nothing here keeps or changes the object it was given,
// and all of it may be called from any goroutine.
//
// Rules follow Istio's validation and its translation for Envoy, so that a manifest means here what it means there.
// To see what came of a manifest: "fairlead validate -f FILE" prints the problems.
package istio
