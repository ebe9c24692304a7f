// Package proxy is the data plane: the sidecar's listeners and what happens between them.
//
// In: plan resources through internal/discovery, certificates through internal/identity, connections from the kernel's
// interception. Out: the same calls, carried to the endpoint that the configuration says, over the mesh
// transport where the peer has a sidecar; one record per call to internal/telemetry.
//
// The path of a call, outbound (15001): accept → original destination → destination (subscribed on first use) →
// protocol (declared, or detected without a stall) → route → backend → endpoint → mesh stream or plain connection.
// Inbound (15008 for peers, 15006 for everybody else): accept → port of the workload → protocol → the app.
//
// What a route asks beyond that is a filter each (package filter). One file each have mirror.go (how a copy is sent),
// original.go (calls that go where the app dialled), named.go (hosts that have no address), grpc.go (the proxy's own
// answers to gRPC). admit.go decides who may come in plainly, guard.go ends requests whose time is up or whose client has
// gone.
//
// What a call needs to know and to use has packages of its own, none of which knows this one: directory (what the
// control plane said), route (which rule matches, and what it does to a head), lb (which endpoint), upstream
// (connections). New puts them together; what the directory tells besides answers comes to heed.
//
// Nothing that runs per request takes a lock longer than a slice append. Connections of this package's listeners are
// joined by Run, as is everything that they start.
//
// It links no Kubernetes code. To see what it knows, ask the admin port: /config_dump, /clusters, /listeners.
package proxy
