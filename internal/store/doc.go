// Package store keeps the model: immutable snapshots of every service, slice, workload, node, namespace, route set
// and destination policy, with the indexes that package compile looks things up by.
//
// In: one owner calls Store.Commit and sets or deletes values in a Txn. Out: a new Snapshot, and the set of Keys
// under which a Reader could have read something else before. A Reader looks at one Snapshot and notes the Key of
// everything it was asked for, what it did not find too; a result must be computed again exactly when one of the
// keys noted for it is among the changed ones. That is the whole contract between store and compile.
//
// Keys are as narrow as their readers: the list of a service's slices (SlicesOfService), what a slice looks like
// from afar (SliceShapes) and the slice itself (Slices) are three keys, so that a new endpoint touches only the
// last. Setting a value equal to the stored one changes nothing.
//
// Concurrency: Snapshots and the values in them may be read from any goroutine for ever; Commit has one caller at a
// time (a second one waits); a Txn and a Reader belong to one goroutine. Values handed to a Txn must not be changed
// afterwards, nor values handed out.
//
// The package never does I/O, never starts a goroutine and never calls back except the function given to Commit.
// To debug: Changed.Keys and Reader.Keys print as "table/id", sorted.
package store
