// Package gwapi reads Gateway API routes that are attached to Services: an HTTPRoute, GRPCRoute, TLSRoute or TCPRoute becomes
// a model.RouteSet, with a Problem for everything in it that is wrong or that Fairlead does not do. It also words what
// became of a route as its status (Status, MergeStatus).
//
// In: one decoded object and the cluster domain. Out: its model value and its problems. Where a problem is Rejected the
// value is nil and the caller keeps the last good one. What the specification answers with an error rather than refuse
// comes through as such: a filter that is not supported as HTTPRule.Unsupported (with a Warning), a backend of an unknown
// kind as WeightedBackend.Invalid (internal/compile reports it, beside those that are missing).
//
// Everything is a pure function, safe from any goroutine: no look-ups, no clock, no environment. The order of precedence
// between matches, also of several routes for one Service, is internal/compile's. Parents that are Gateways belong to
// the gateway's controller and are passed over, as the specification demands of controllers; of a route without any
// Service among its parents nothing more is read.
//
// The law is GEP-1426 and the reference of the API: a route in the Service's namespace is for all callers (producer
// route), one in another namespace for callers of its own namespace (consumer route); backends in other namespaces need
// no ReferenceGrant, because a route in a mesh exposes nothing that could not be called before.
// To see what came of a manifest: "fairlead validate -f FILE" prints the problems.
package gwapi
