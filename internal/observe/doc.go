// Package observe is the observation channel: what the control plane asks sidecars about the calls that they carry, and what
// they answer. Both ends are here, so that neither can drift from the other.
//
// In a sidecar, a [Tap] is a sink of calls, told by [telemetry.Record], that keeps what somebody has asked for, and an [Agent]
// speaks to the control plane over a [Link]. In the control plane, a [Hub] has the links of the sidecars that are connected
// to this replica, [Hub.Tap] asks them, and [API] lets the fairlead command do so. Every replica speaks for its own sidecars;
// the command asks all of them.
//
// Nothing is sent that was not asked for, save a summary every ten seconds and at the end, whose content is not this package's. While
// nobody taps, a call costs a sidecar one atomic load. While somebody does, the filter decides in the sidecar, and what
// passes is copied into a ring of fixed size; what finds no room, or comes faster than was asked for, is counted, and the
// counts go where the events go. Bodies are never seen. Values of header fields are sent only where they were asked for,
// those that are secrets only where that was asked for too, by who may.
//
// Everything may be used from any goroutine. To debug: what the command prints on standard error names replicas and pods;
// messages are those of api/fairlead/v1/observe.proto.
package observe
