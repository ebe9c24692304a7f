// Package graph knows what clients of the control plane follow, and finds out what of it has to be computed again when the
// model changes.
//
// In: one Compiler per wire, the keys that clients follow, and each new snapshot of the store with the keys that changed in
// it. Out: for each key what it leads to, a plan.Encoded and its parts, and after a change the queries whose answers are
// new. A key leads to a resource by the compiler's Resolve, a resource to its bytes and parts by Compile. Both are given a
// store.Reader, and what they read through it is all that can make them run again: an endpoint that comes or goes compiles
// the one shard that holds it. A compiler that needs little of much derives it (store.Derive): what the little was read from
// may change, and nothing is compiled where the little is the same. What is not followed is not here, and costs nothing.
//
// A Graph belongs to one goroutine. What it gives out is immutable and may be kept. It does no pacing, knows no client, and
// does not look at the bytes.
//
// To debug: print Reader.Keys in the compiler to see why a resource is computed again.
package graph
