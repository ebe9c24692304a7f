package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

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

// errUngoverned is why nobody is let in whose right to come plainly is not known: to err the other way would open a
// STRICT workload whenever the control plane is away.
var errUngoverned = errors.New("the control plane has not said yet whether this workload takes plain connections")

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

// misdirected says why a connection that the kernel redirected here is none to the workload. Whatever arrives at the pod
// is redirected: also what a neighbour on its network routes through it, which must not get further than the neighbour
// would alone.
func (i *inbound) misdirected(dst netip.AddrPort) (why telemetry.Refusal, ok bool) {
	switch {
	case !i.Self.Serves(dst.Addr()):
		return telemetry.ForeignAddress, true
	case ownPort(dst.Port()):
		return telemetry.OwnPort, true
	}
	return 0, false
}

// publicPort reports whether a port has pages of the sidecar that are for everybody.
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
	rec := call.OpaqueRecord(time.Now(), who, dst)
	rec.Flags, rec.Details, rec.Failure = "NR", "filter_chain_not_found", why.Error()
	i.Connection(who, dst)(rec)
}
