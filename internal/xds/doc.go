// Package xds serves standard xDS clients, Envoy and gRPC libraries: the aggregated discovery service, version 3, as state
// of the world and as deltas, https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol.
//
// In: a Source that gives encoded resources for keys and calls Server.Changed when answers are new; who a caller is, and
// which view it has of the mesh. Out: an http.Handler for HTTP/2 servers, with TLS and without, and Server.Status.
//
// Who has a stream's turn owns what it asked for and has: the goroutine that reads its requests, or one of a few that write to all streams
// of which something has changed. Changes only mark names: however often one changes while a client is slow, the newest answer goes out, and a client that does not read costs itself its
// stream. Versions are hashes of the content, so a client that comes to another replica, or to this one after a restart,
// is sent what differs from what it says it has, and nothing else. What a client refuses is not sent again until it
// changes; what it had stays in force there, and the reason is in the status.
//
// Order: what a client is to use is sent before what refers to it, clusters, endpoints, listeners, routes, and what is
// gone is taken away last, in the opposite order. Listeners and routes wait until the client has asked for the endpoints
// of new clusters, for a while.
//
// A Server is safe for concurrent use. It never looks into resources, but for whether a cluster has endpoints of its own,
// never decides what a name means, and believes nothing that a node says of itself where the caller's proof says
// something else: that is the View's decision.
//
// To debug: Server.Status says who has what, and GRPC_GO_LOG_SEVERITY_LEVEL=info in a client's environment, or Envoy's
// config_dump, the other half.
package xds
