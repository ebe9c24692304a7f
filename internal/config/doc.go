// Package config holds the one table of the kinds of objects that Fairlead obeys: what a kind is called, where the API
// server has it, how it is followed and stripped, what its objects mean to the model, what the end of one means, and
// which status the mesh writes.
//
// In: typed objects, as the sources decode them. Out: a [Translation], which puts what they say into a store. Both sources,
// the control plane, admission, `fairlead validate`, `fairlead check`, the ClusterRole and the webhooks of the chart, and
// the tables of the documentation derive from the rows, or a test compares them with them.
//
// A new kind is a row here, a translator in the package of its API (core, istio, gwapi, smi, fairlead), a value of the model with
// its table of the store, and its use in package compile. Kinds of mesh APIs that are not obeyed are in package catalog.
//
// The rows are made anew by each call of Kinds and share nothing; everything they hold is a pure function, safe from any
// goroutine. No I/O and no clock.
//
// To debug: "fairlead validate -f FILE" prints what the translator of a kind says of an object.
package config
