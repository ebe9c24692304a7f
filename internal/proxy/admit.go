package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"

	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/call"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/telemetry"
)

// strictError says that a port takes connections of the mesh only. Its origin is the object that says so.
type strictError struct{ origin string }

func (e *strictError) Error() string {
	return "mutual TLS is required by " + e.origin + ", and the caller came without a sidecar"
}

// errUngoverned is why no caller is let in whose right to come plainly is not known: to err the other way would open a
// STRICT workload whenever the control plane is away.
var errUngoverned = errors.New("the control plane has not said yet whether this workload takes plain connections")

// arrival is what a caller asks for at one of the two doors.
type arrival struct {
	kind arrivalKind
	who  *call.Caller
	// to is what is called; came is the address that the connection came to where the kernel has not redirected it, which
	// is the workload's.
	to   netip.AddrPort
	came netip.Addr
}

// arrivalKind tells arrivals apart. The zero value is invalid.
type arrivalKind uint8

const (
	// meshRequest is a request of a peer.
	meshRequest arrivalKind = iota + 1
	// meshTunnel is an opaque connection of a peer.
	meshTunnel
	// plainConnection is a connection without mutual TLS, whatever it carries.
	plainConnection
	// peerConnection is one of a peer that has proved who it is at the app's own port, whatever it carries.
	peerConnection
)

// misdirectedError says that what is called is none of the workload's.
type misdirectedError struct {
	why telemetry.Refusal
	to  netip.AddrPort
}

func (e *misdirectedError) Error() string { return "not an address of this workload: " + e.to.String() }

// opaqueError says that a port takes no opaque connections.
type opaqueError struct{ why string }

func (e *opaqueError) Error() string { return e.why }

// authorize decides whether what has arrived goes on to the app: the one step that everything takes, at the mesh port and
// at the plain one, before anything of it goes on. The error says why not: a *misdirectedError, an *opaqueError, a
// *strictError, or errUngoverned. What is known of the port comes with connections, not with requests.
//
// Whatever arrives at the pod is redirected: also what a neighbour on its network routes through it, which must not get
// further than the neighbour would alone.
func (i *inbound) authorize(ctx context.Context, a arrival) (plan.InboundPort, error) {
	switch {
	case a.to.Addr() != a.came && !i.Self.Serves(a.to.Addr()):
		return plan.InboundPort{}, &misdirectedError{telemetry.ForeignAddress, a.to}
	case ownPort(a.to.Port()):
		return plan.InboundPort{}, &misdirectedError{telemetry.OwnPort, a.to}
	case a.kind == meshRequest:
		return plan.InboundPort{}, nil
	case a.kind == plainConnection:
		return i.admit(ctx, a.to.Port())
	case a.kind == peerConnection:
		return i.Self.Port(a.to.Port()), nil
	}
	port := i.Self.Port(a.to.Port())
	if why := refusesOpaque(port); why != "" {
		return port, &opaqueError{why}
	}
	return port, nil
}

// admit decides whether a plain connection to a port may be served, and gives what is known of the port.
func (i *inbound) admit(ctx context.Context, number uint16) (plan.InboundPort, error) {
	ctx, cancel := context.WithTimeout(ctx, directory.FirstUse)
	defer cancel()
	if !i.Self.AwaitPolicy(ctx) {
		return plan.InboundPort{}, errUngoverned
	}
	port := i.Self.Port(number)
	if i.refusesPlain(number) {
		return port, &strictError{origin: port.MTLSOrigin}
	}
	return port, nil
}

// publicPort reports whether a port has pages of the sidecar that are for every client.
func publicPort(p uint16) bool { return p == portMetrics || p == portReady || p == portPrometheus }

// shut resets a connection that was not admitted. There is no way to tell the caller why in a protocol that is not
// known yet, so the operator is told: by the log, the access log and the metrics.
func (i *inbound) shut(ctx context.Context, conn net.Conn, who *call.Caller, dst netip.AddrPort, why error) {
	call.NewRawTunnel(conn).Abort(why)
	level := slog.LevelDebug
	if i.Said.First(dst.Port(), why.Error()) {
		level = slog.LevelWarn
	}
	i.Log.LogAttrs(ctx, level, "plain connections refused",
		slog.Int("port", int(dst.Port())), slog.String("remote", who.Remote.String()), slog.Any("error", why))
	rec := call.OpaqueRecord(who, dst)
	rec.Flags, rec.Details, rec.Failure = "NR", "filter_chain_not_found", why.Error()
	i.Connection(who, rec)(call.Relayed{})
}
