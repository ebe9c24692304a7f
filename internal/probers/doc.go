// Package probers decides which sidecars check the endpoints that have no sidecar of their own, and what their reports amount
// to (docs/adr/0018-probers.md).
//
// In: the endpoints that are to be checked, which sidecars hold the destinations that they belong to, and what those report.
// Out: what each sidecar is to check, and which endpoints are down.
//
// Of the holders of a destination at most poolSize are considered, and of those at most PerEndpoint check an endpoint: the
// first in the order of a hash of sidecar and endpoint (rendezvous hashing), so that little moves when one comes or goes, and
// every replica and every restart of the control plane chooses alike. No two probers of an endpoint are of one service
// account while another account calls it too: an endpoint is down when more than half of its probers say so, which is more
// than the pods of one account can say.
//
// Nothing here has a clock, a lock or a goroutine: a Book belongs to one goroutine, and is told the time.
package probers
