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
// What a route asks beyond that is a filter each (package filter), what a DestinationRule says of endpoints is package
// lb's. One file each have mirror.go (how a copy is sent), dns_endpoints.go (endpoints given by name), original.go (calls
// that go where the app dialled), named.go (hosts that have no address), grpc.go (the proxy's own answers to gRPC). admit.go decides who may come in plainly, guard.go ends requests whose time is up or whose client has
// gone, outage.go keeps a control plane that is away from making every first use wait.
//
// Ownership: table is written by the discovery client's goroutine and by resolvers of endpoint names, and read under a read
// lock once per connection; compiled destinations and pickers are immutable; peers and pools have a mutex each. Nothing
// that runs per request takes a lock longer than a slice append. Endpoints, shards and groups live as long as a backend
// in force holds them (endpoints.go), peers and pools as long as an endpoint, or a caller's connection (caller.go).
//
// It links no Kubernetes code. To see what it knows, ask the admin port: /config_dump, /clusters, /listeners.
package proxy
