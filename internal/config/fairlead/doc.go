// Package fairlead reads the kinds of Fairlead's own API (fairlead.dev), for what no other mesh API has a word for: a
// HealthCheckPolicy becomes a model.HealthCheckPolicy, with a Problem for everything in it that is wrong. It also declares
// their Go types, and words what became of a policy as its status (Status, MergeStatus).
//
// In: one decoded object. Out: its model value and its problems. Where a problem is Rejected the value is nil and the
// caller keeps the last good one. The definition in deploy/chart/files/crds/fairlead says the same by a schema and CEL, so
// that an API server refuses most of it where the webhook is away; a test compares the fields.
//
// Everything is a pure function, safe from any goroutine: no look-ups, no clock, no environment. To see what came of a
// manifest: "fairlead validate -f FILE" prints the problems.
package fairlead
