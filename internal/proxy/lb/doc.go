// Package lb chooses endpoints.
//
// In: the endpoints of a backend, as the control plane published them, the policy, and what became of each call. Out: a
// Picker, an immutable value built on the slow path and read on the fast one: Pick takes no lock, allocates nothing, and
// gives a Choice that can be printed.
//
// Tables of hashing policies are the exception to a quick beginning: Prepare makes them.
//
// What outlives a picker: a Host's memory of an address (calls in flight, a short ejection after a refused connection),
// which With and Attach hand on, and a Group, which is what the backends of one name share across configurations, such as
// the limits on what is in flight.
//
// A policy is a type with two methods in a file of its own and a line in newPolicy; it knows weights and calls in flight,
// while health, distance and tries that failed are the picker's. What the owner of an endpoint needs with it (how to
// reach it, where to count) is its Attachment, of the owner's type.
//
// Any goroutine may call anything here. The package dials nothing and knows no protocol. To debug
// it, print a Choice, or a Host.
package lb
