// Package consul makes the catalog of a Consul a source of configuration.
//
// In: the address of an agent or server, and the datacenters to follow. Out of [Source]: a ServiceEntry for each service
// of each datacenter, with the host by which Consul's own DNS knows it (docs/adr/0030-consul-as-a-source.md), in changes
// as those of the other sources.
//
// One goroutine asks for the list of services of a datacenter, one for each of its services, by blocking queries
// (cursor.go has the rules); they report to Run's goroutine, which alone keeps what there is. No more than maxHeld are
// open at a time, for an agent serves 200 connections of an address; where there are more, they take turns.
//
// What a Consul that is away, slow, refuses the token or answers garbage does: nothing is removed and nothing waits for
// it. Its datacenter is a [model.Problem], and it is asked again after a pause that doubles, 30 s at most. A Consul that
// lies can add and remove names below its own domain, and lead calls of them to any address that is not the caller's
// own; it can take no name of the cluster's. Answers are bounded in bytes, services, instances and labels.
//
// Run blocks until everything it started has ended; Statuses and Settled are safe from any goroutine.
//
// The other way round, [Registrar] keeps in the catalog what package consulsync has decided: docs/adr/0034-services-in-consuls-catalog.md.
//
// To debug: [Source.Statuses] says how each datacenter stands; at debug level every answer that changes something is a
// line.
package consul
