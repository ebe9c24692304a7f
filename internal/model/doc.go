// Package model says what users asked of the whole mesh, in plain values: services, endpoints, workloads,
// routes, policies, and the problems found in what they wrote.
//
// In: values built by internal/config/* from Kubernetes objects. Out: the vocabulary that internal/store keeps
// and internal/compile reads. Nothing here knows how a proxy does it; that is package plan.
//
// Values are immutable once handed over: code that changes one makes a copy. They may therefore be read from any
// goroutine. The package imports the standard library only, does no I/O and keeps no state.
package model
