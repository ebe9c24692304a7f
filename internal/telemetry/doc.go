// Package telemetry counts what the sidecar did and says so: Istio's standard metrics in the Prometheus text format, and
// Envoy's access log.
//
// In: one Record per finished request or connection, given to each Sink: a type with one method in a file of its own, and
// a line in proxy.New. Counter is the one that counts, in the scope that the record names (a fixed set of labels, looked
// up once per endpoint or connection on the slow path); AccessLog the one that writes lines; Edges the one that counts by who
// calls whom, for the control plane; Failures the one that remembers the last calls that failed. Out: text, at scrape time, and
// the reports of Edges.
//
// Observing takes no lock and allocates nothing once a scope has seen a response code. Everything may be called
// from any goroutine. Series that were not touched for ten minutes leave the scrape; whatever holds a scope may count
// again. Label values come from configuration and identities only, never from what a client sent, and what is printed is
// bounded all the same: see maxScopes and maxCells.
package telemetry
