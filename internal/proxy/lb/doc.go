// Package lb chooses endpoints.
//
// In: the endpoints of a backend, as the control plane published them, and the algorithm. Out: a Picker, an
// immutable value built on the slow path and read on the fast one: Pick takes no lock and allocates nothing.
// What changes per request (requests in flight, a short ejection after a refused connection) lives in atomics on
// Endpoint, which outlives pickers, so that an update of the set forgets nothing.
//
// Any goroutine may call Pick and Endpoint's methods. The package dials nothing and knows no protocol.
package lb
