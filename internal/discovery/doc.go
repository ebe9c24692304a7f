// Package discovery is the control channel: plan resources as bytes, and the conversation in which a proxy subscribes to
// names and hears of changes. Server and client are both here, so that neither can drift from the other.
//
// On the server, a Source gives the encoded answer for a name and calls Server.Changed when answers are new; out go
// HTTP/2 streams (gRPC framing, messages of api/fairlead/v1) and Server.Status. In the proxy, Client.Subscribe takes
// names for good, Client.Use and Client.Await on a lease that use renews, and the Handler that Run is given gets Updates from one
// goroutine.
//
// Both sides always agree on what the client has: a stream is in order, the client holds exactly what was sent and
// not removed, and at a new stream it says what it holds. A change is the difference to that. Versions are hashes of
// the bytes, so any replica continues where another one stopped. A client that is slow gets the newest state when it
// is ready, never a queue. A refused resource leaves its previous version in force and is shown in the status.
//
// A pod that ends asks by Client.Holders who has not acknowledged yet that it does; the server answers from what its streams
// hold, and ServerOptions.Departing says which resources those are.
//
// Beside a conversation there may be a Link: messages in both directions whose meaning is not this package's. It is how the
// control plane asks a sidecar what it sees (package observe).
//
// Server and Client are safe for concurrent use. The client never forgets because the control plane is away, and a
// snapshot file carries its state across restarts. The package never reads the model, never decides what a name
// means, and never links protobuf's reflection: the sidecar has no memory for it.
//
// What resources look like is written once, in schema.go and, of workloads, schema_workload.go: it encodes, decodes, and prints
// the contract for others, api/fairlead/v1/resource.proto, from which the tests make protobuf's own messages to compare with.
//
// A conversation has no goroutine on the server, and its connection none: acknowledgements are read by who reads the connection, other requests by
// one that ends when nothing more has come (intake), and responses are written by a few for all (turns.Crew). A client that
// dies or stalls is noticed by the connection's PING, or by the time that a message may take; its context ends then, and stream.finish
// joins who reads and who writes before it forgets the stream.
//
// To debug: Server.Status and Client.Versions say who has what; ServerOptions.Trace sees every message; the bytes are
// ordinary protobuf, so any gRPC client with the .proto files can listen.
package discovery
