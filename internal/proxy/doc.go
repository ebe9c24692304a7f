// Package proxy is the data plane: the sidecar's listeners and what happens between them.
//
// In: plan resources through internal/discovery, certificates through internal/identity, connections from the kernel's
// interception. Out: the same calls, carried to the endpoint that the configuration says, over the mesh
// transport where the peer has a sidecar; one record per call to internal/telemetry.
//
// The path of a call, outbound (15001): accept → original destination → destination (subscribed on first use) →
// protocol (declared, or detected without a stall) → route → backend → endpoint → mesh stream or plain connection.
// Inbound (15008 for peers, 15006 for all other callers): accept → port of the workload → protocol → the app.
//
// This package has the doors: listeners, what they take and from whom (inbound.go, admit.go, outbound.go, named.go for
// hosts that have no address), the protocol (detect.go, vouched.go), codecs, and the pages. What goes on behind them has
// packages of its own, none of which knows this one: call (the road that each call takes), directory (what the control
// plane said), route (which rule matches, and what it does to a head), filter (what routes ask beyond that), lb (which
// endpoint), upstream (connections). New puts them together; what the directory tells besides answers comes to heed.
//
// Nothing that runs per request takes a lock longer than a slice append. Connections of this package's listeners are
// joined by Run, as is everything that they start.
//
// It links no Kubernetes code. To see what it knows, ask the admin port: /config_dump, /clusters, /listeners.
package proxy
