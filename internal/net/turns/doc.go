// Package turns has a few goroutines work for many clients that are quiet for most of the time.
//
// In: takers, which are added to a Crew when they have something to do. Out: calls of their Turn, in order, each taker's one at a time
// where it is added once. A turn may wait, for a client that does not take what it is sent: the others get more goroutines then.
//
// A Crew is safe for concurrent use, and needs no end: its goroutines end when nobody waits for a turn.
//
// To debug: the goroutines' stacks say in whose turn they are.
package turns
