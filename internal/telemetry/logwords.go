package telemetry

import (
	"strings"

	"fairlead.dev/fairlead/internal/model"
)

// longFlags are Envoy's words for its response flags (envoy source/common/stream_info/utility.h).
var longFlags = map[string]string{
	"UH": "NoHealthyUpstream", "UF": "UpstreamConnectionFailure", "UO": "UpstreamOverflow", "NR": "NoRouteFound",
	"URX": "UpstreamRetryLimitExceeded", "NC": "NoClusterFound", "DT": "DurationTimeout", "DC": "DownstreamConnectionTermination",
	"LH": "FailedLocalHealthCheck", "UT": "UpstreamRequestTimeout", "LR": "LocalReset", "UR": "UpstreamRemoteReset",
	"UC": "UpstreamConnectionTermination", "DI": "DelayInjected", "FI": "FaultInjected", "RL": "RateLimited",
	"UAEX": "UnauthorizedExternalService", "SI": "StreamIdleTimeout", "DPE": "DownstreamProtocolError", "UPE": "UpstreamProtocolError",
	"UMSDR": "UpstreamMaxStreamDurationReached", "OM": "OverloadManagerTerminated", "DF": "DnsResolutionFailed", "IH": "InvalidEnvoyRequestHeaders",
}

// appendLongFlags appends the words of flags, and those without one as they are.
func appendLongFlags(b []byte, flags string) []byte {
	if flags == "" {
		return append(b, '-')
	}
	for i, more := 0, true; more; i++ {
		var flag string
		flag, flags, more = strings.Cut(flags, ",")
		if i > 0 {
			b = append(b, ',')
		}
		if long := longFlags[flag]; long != "" {
			flag = long
		}
		b = append(b, flag...)
	}
	return b
}

// appendGRPC appends the name of a gRPC status: OK, DeadlineExceeded, or DEADLINE_EXCEEDED where the form is SNAKE_STRING. What is no
// status is written as it is.
func appendGRPC(b []byte, r *Record, form string) []byte {
	n, ok := grpcNumber(r)
	switch {
	case !ok:
		return append(b, r.GRPCStatus...)
	case int(n) >= len(grpcNames):
		return append(b, r.GRPCStatus...)
	case n == 0:
		return append(b, "OK"...)
	case form == "SNAKE_STRING" && n == 1:
		return append(b, "CANCELLED"...)
	case form != "SNAKE_STRING":
		return append(b, grpcNames[n]...)
	}
	for i, c := range []byte(grpcNames[n]) {
		if 'A' <= c && c <= 'Z' {
			if i > 0 {
				b = append(b, '_')
			}
		} else {
			c -= 'a' - 'A'
		}
		b = append(b, c)
	}
	return b
}

// grpcNames are in the order of their numbers, as Envoy writes them.
var grpcNames = [...]string{ //nolint:gochecknoglobals // a table that never changes
	"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied", "ResourceExhausted",
	"FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated",
}

// identity gives a SPIFFE ID that one end of the mesh's hop has proved to the other: the upstream of a caller's sidecar, the
// downstream of the called one's. The way between a sidecar and its own app has none.
func (p *logPart) identity(r *Record) string {
	switch p.Op { //nolint:exhaustive // the others are no identities
	case model.OpUpstreamPeerID, model.OpUpstreamLocalID:
		if r.Reporter != Source {
			return ""
		}
	default:
		if r.Reporter != Destination {
			return ""
		}
	}
	if p.Op == model.OpUpstreamLocalID || p.Op == model.OpDownstreamLocalID {
		return r.Own
	}
	return r.Proven
}
