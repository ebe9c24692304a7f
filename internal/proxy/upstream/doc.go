// Package upstream is every connection that the sidecar opens and keeps: mesh connections to the sidecars of peers, and
// pools of plain ones, with TLS begun on behalf of the app where a DestinationRule says so.
//
// In: how to dial, and the workload's credentials. Out: a Set, which gives the holder of an endpoint a Way to it. Ways to
// the same target share connections; the last one released ends them.
//
// Everything is safe for concurrent use, and nothing is dialled or closed while a lock of this package is held that
// others wait for. It knows no endpoint, no route and no resource of the control plane: what is called, and why, is the
// caller's affair. Connections belong to goroutines of Options.Run, which the proxy joins.
//
// To see what a set holds, print Holdings.
package upstream
