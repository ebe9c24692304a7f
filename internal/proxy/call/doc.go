// Package call carries calls: requests, and connections that are opaque, from a client to an endpoint or to the
// workload's own app.
//
// In: an exchange or a connection that a door of the proxy has taken, and a Side, which says what the two ends of a mesh
// differ in: Outbound for what the workload's app calls, Port for what others call of the workload. Out: the same call at
// the other end, the answer, and one Record for every sink.
//
// A Call is the road for requests (call.go): prepare, decide, then one attempt after another, and the end, always in this
// order. What it knows of the request at hand is zeroed for each; its memory is kept, so that one in steady state allocates
// nothing. exchange.go moves heads and bodies, upload.go those of requests that are still coming, judge.go says what a
// failed try was, retry.go whether it may be repeated, guard.go ends what no client waits for any more. The fields by which
// the two sidecars of a call tell each other something are in marks.go, spelling.go and peer_error.go. opaque.go and
// tunnel.go are for connections whose bytes mean nothing to the proxy.
//
// A Call belongs to one goroutine at a time; Outbound, Port and what they share may be used by many. It listens nowhere,
// knows no door, and asks the directory only for what a call needs now. To see what became of calls: the Record.
package call
