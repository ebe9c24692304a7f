// Package directory is what the control plane said, ready for use: what addresses and hosts lead to, the endpoints of the
// moment, DNS answers, the pods that call, and this workload itself.
//
// In: plan resources through discovery.Handler. Out: a Cell per address, which those who use the address hold for as
// long as they like; Load gives what it leads to now, so that a connection follows its address wherever the control plane
// moves it. A Destination is immutable; its backends' pickers follow the endpoints. What is not the directory's to put in
// force (trust, settings of the mesh, the policy that became this workload's) is told as an Event.
//
// Apply has one caller, the goroutine of the discovery client; resolvers of endpoint names change pickers; any goroutine
// reads, under a read lock once per connection. Routes are compiled before the write lock is taken, and connections of
// endpoints that are gone are released after it. Endpoints, shards and groups live as long as a backend in force holds
// them (endpoints.go).
//
// Directory alone locks. Under its mu are cells (what addresses lead to) and, in them, the stock of endpoints in force;
// counting, which is above it, never changes.
//
// It carries no call and opens no socket. Asker is the way to what is not known yet: it asks the control plane once, and
// waits where the call cannot go on without. To see what it knows: Destinations, Cells, Holdings.
package directory
