package h1

import (
	"errors"
	"fmt"
)

// Error is a message of the peer that breaks a rule, or one of ours that must not be sent. The connection is of no
// further use, except to say so (Server.Refuse).
type Error struct {
	// Status is how to answer the client: 400, 408, 414, 431, 501 or 505 where its request is at fault, 502 where
	// a response is.
	Status int
	// Reason names the rule and the value.
	Reason string
}

// Error gives the reason as one line.
func (e *Error) Error() string { return "http/1.1: " + e.Reason }

// Statuses this package tells apart; net/http has them too, but would double the size of the sidecar.
const (
	statusContinue           = 100
	statusSwitchingProtocols = 101
	statusNoContent          = 204
	statusMultipleChoices    = 300
	statusNotModified        = 304
	statusBadRequest         = 400
	statusRequestTimeout     = 408
	statusURITooLong         = 414
	statusHeadTooLarge       = 431
	statusNotImplemented     = 501
	statusBadGateway         = 502
	statusVersion            = 505
)

func bad(reason string) error { return &Error{statusBadRequest, reason} }

func badf(format string, args ...any) error {
	return &Error{statusBadRequest, fmt.Sprintf(format, args...)}
}

// Errors of misuse and of endings. Match them with errors.Is.
var (
	// ErrAborted is the reason where Abort was given none.
	ErrAborted = errors.New("http/1.1: exchange aborted")
	// ErrUnfinished means that a handler returned without ending its response; the connection is reset.
	ErrUnfinished = errors.New("http/1.1: response was not ended")
	// ErrHeadSent means that a second final head was written.
	ErrHeadSent = errors.New("http/1.1: head was already sent")
	// ErrNoHead means that a body was written before its head.
	ErrNoHead = errors.New("http/1.1: body before head")
	// ErrBodyLength means that more or less was written than the head declared.
	ErrBodyLength = errors.New("http/1.1: body differs from its declared length")
	// ErrEnded means a write after End.
	ErrEnded = errors.New("http/1.1: message was already ended")
	// ErrNotReusable means that a connection cannot carry another exchange.
	ErrNotReusable = errors.New("http/1.1: connection cannot carry another exchange")
	// ErrClosedBeforeResponse is what every ClosedError is.
	ErrClosedBeforeResponse = errors.New("http/1.1: connection closed before any byte of a response")
)

// ClosedError means that an upstream connection ended before any byte of a response came. Where Reused is set the
// likely cause is that the upstream closed an idle connection at the moment it was used.
type ClosedError struct {
	// Reused says that the connection had carried an exchange before this one.
	Reused bool
	// Written says that at least one byte of this request was given to the kernel.
	Written bool
	// Err is what reading or writing reported.
	Err error
}

// Error gives the cause as one line.
func (e *ClosedError) Error() string {
	return fmt.Sprintf("%v (connection reused: %t, request bytes sent: %t): %v", ErrClosedBeforeResponse, e.Reused, e.Written, e.Err)
}

// Unwrap gives the cause.
func (e *ClosedError) Unwrap() error { return e.Err }

// Is reports whether target is ErrClosedBeforeResponse.
func (*ClosedError) Is(target error) bool { return target == ErrClosedBeforeResponse }
