package call

import (
	"errors"
	"strings"

	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/lb"
)

// peerFailed is a try that reached the peer's sidecar and got no answer from its app; why is what the sidecar says
// in errorField, cause what in causeField.
func (c *Call) peerFailed(t *destined, kind, cause string) error {
	why := kind
	if cause != "" {
		why += ": " + cause
	}
	switch kind {
	case FailedConnect:
		// The app is as gone as if it had refused us ourselves.
		c.outcome.Kind = lb.Refused
		err := errors.New("its sidecar is there, its app refuses connections")
		return &tryError{failure: disowned, err: t.failed(httpx.UpstreamConnectFailure, err)}
	case failedUnprocessed:
		how := disowned
		if c.resp.Fields.Get(httpx.LocalOverloadedField) != nil {
			how = turnedAway
		}
		err := errors.New("its sidecar reports that the app has not got the request (" + why + ")")
		return &tryError{failure: how, err: t.failed(httpx.UpstreamReset, err)}
	case FailedOverflow:
		// Of the outcome the status counts: the endpoint has too much to do.
		return &tryError{failure: turnedAway, err: t.failed(httpx.Overflow, errors.New("its sidecar reports: "+cause))}
	case failedTooLarge:
		return &httpx.Error{Reason: httpx.ResponseTooLarge, Detail: cause}
	}
	return &tryError{failure: resetEarly, err: t.failed(httpx.UpstreamReset, errors.New("its sidecar reports: "+why))}
}

// causeField says in words what errorField says in one: which rule the app's response breaks, for one.
const causeField = markPrefix + "cause"

// maxCause bounds it.
const maxCause = 300

// causeOf gives the innermost words about a request that the app did not answer.
func causeOf(err error) string {
	var e *httpx.Error
	if !errors.As(err, &e) {
		return ""
	}
	text := ""
	switch {
	case e.Err != nil:
		text = e.Err.Error()
	case e.Reason == httpx.ResponseTooLarge:
		text = e.Detail
	case e.Reason == httpx.Overloaded:
		text = e.Error()
	case e.Reason == httpx.Overflow:
		text = e.Detail
	}
	text = httpx.OneLine(text)
	return strings.ToValidUTF8(text[:min(len(text), maxCause)], "")
}

// The values of errorField. A caller's sidecar takes one that it does not know for failedReset.
const (
	FailedConnect     = "connect"     // the app was not reached
	FailedOverflow    = "overflow"    // a limit of the called sidecar turned the call away, and the app has not got it
	failedUnprocessed = "unprocessed" // the app has certainly not acted on the request
	failedTooLarge    = "too-large"   // the app's answer is more than a hop takes
	failedReset       = "reset"       // the app broke off before it answered, and may have acted on the request
)

// markOf gives the value of errorField for a request that the app did not answer, "" where there is nothing to say
// that the caller's sidecar could act on.
func markOf(err error) string {
	failed := asTry(err)
	if failed == nil {
		var e *httpx.Error
		if errors.As(err, &e) && e.Reason == httpx.ResponseTooLarge {
			return failedTooLarge
		}
		return ""
	}
	if e := (*httpx.Error)(nil); errors.As(failed.err, &e) && e.Reason == httpx.Overflow {
		return FailedOverflow
	}
	switch failed.failure {
	case notConnected:
		return FailedConnect
	case unsent, disowned, turnedAway:
		return failedUnprocessed
	case resetEarly:
		return failedReset
	case tryTimeout, badStatus, badGRPC, final:
	}
	return ""
}
