package proxy

import (
	"errors"
	"time"
)

// peerFailed is a try that reached the peer's sidecar and got no answer from its app; why is what the sidecar says
// in errorField.
func (r *requester) peerFailed(why string) error {
	if why == failedConnect {
		// The app is as gone as if it had refused us ourselves.
		r.endpoint.Refused(time.Now())
		err := errors.New("its sidecar is there, its app refuses connections")
		return &tryError{failure: notProcessed, err: connectError(r.backend, r.endpoint, err)}
	}
	return &tryError{failure: resetEarly, err: resetError(r.backend, r.endpoint, errors.New("its sidecar reports: "+why))}
}

// The values of errorField.
const (
	failedConnect = "connect" // the app was not reached
	failedReset   = "reset"   // the app broke off before it answered
)
