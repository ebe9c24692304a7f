// Package smi reads TrafficSplits of the Service Mesh Interface (split.smi-spec.io, v1alpha1 to v1alpha4), which canary
// controllers write, and the HTTPRouteGroups that they may refer to (specs.smi-spec.io, v1alpha3 and v1alpha4): each becomes a
// model.RouteSet or a model.RouteGroup, with a Problem for everything in it that is wrong or that Fairlead does not do. It also
// declares their Go types, for the API's own module is archived and has one type per version.
//
// In: one decoded object and the cluster domain. Out: its model value and its problems. Where a problem is Rejected the
// value is nil and the caller keeps the last good one.
//
// A split is for the calls to the Service that it names, requests and connections, on every port that a backend has; one with
// matches is for the requests that its groups describe alone. The types and their translations are plain values and pure functions, safe from any goroutine: no look-ups, no clock,
// no environment. To see what came of a manifest: "fairlead validate -f FILE" prints the problems.
package smi
