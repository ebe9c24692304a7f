package call

import (
	"errors"

	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// failureOutcome is what a try that failed before its answer says of the endpoint. Connections that ended before anything was
// written, and requests that the peer gave back, are how a healthy server goes away.
func failureOutcome(err error) lb.OutcomeKind {
	if errors.Is(err, errTimeout) {
		return lb.TimedOut
	}
	if errors.Is(err, h2.ErrPeerSilent) || errors.Is(err, upstream.ErrLost) {
		return lb.Refused // as gone as if it did not answer to a connection
	}
	failed := asTry(err)
	if failed == nil {
		return lb.Unknown
	}
	switch failed.failure {
	case notConnected:
		return lb.Refused
	case resetEarly:
		return lb.Reset
	case tryTimeout:
		return lb.TimedOut
	case unsent, disowned, turnedAway, badStatus, badGRPC, final:
	}
	return lb.Unknown
}

// isCut reports whether the endpoint broke off in the middle of its answer.
func isCut(err error) bool {
	var e *httpx.Error
	return errors.As(err, &e) && e.Reason == httpx.UpstreamCut
}
