// Command control measures a control plane alone: N synthetic sidecars, which are the real client of the native channel
// in one process, each with ten destinations of a mesh of a thousand Services with twenty endpoints, and endpoints that
// change.
//
// In: a fairlead-controller that reads manifests from a directory. Events are files that are replaced, so a figure begins
// where a user's edit does: notice, decode, compile, send, apply. Out: for each N, from the event to the last sidecar
// that has applied it (p50, p99), the controller's CPU and bytes on the wire for each event and sidecar, the same for
// events at a rate, and memory for each sidecar.
//
// -clusters N has the control plane read the manifests of N clusters, each with all of the Services and endpoints of its own
// for each; events change endpoints of the others. Also out: how long it takes to serve and to know all clusters, the CPU for
// that, and its memory, live and in all.
//
// -variant NAME=FILE runs another build of the controller beside, event for event in turn: a busy machine slows both.
// Controller and clients share the processors, so latencies hold the clients' own work of decoding.
package main
