package h2

import (
	"errors"
	"fmt"
)

// Code is an error code on the wire, RFC 9113 §7.
type Code uint32

// The error codes.
const (
	CodeNo Code = iota
	CodeProtocol
	CodeInternal
	CodeFlowControl
	CodeSettingsTimeout
	CodeStreamClosed
	CodeFrameSize
	CodeRefusedStream
	CodeCancel
	CodeCompression
	CodeConnect
	CodeEnhanceYourCalm
	CodeInadequateSecurity
	CodeHTTP11Required
)

// String gives the name of the standard.
func (c Code) String() string {
	names := [...]string{
		"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
		"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
		"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
	}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("code %#x", uint32(c))
}

// What a caller can do something about; match with errors.Is.
var (
	// ErrClosed: the connection has ended. Take another one.
	ErrClosed = errors.New("h2: connection closed")
	// ErrGoAway: the connection takes no new streams. Take another one; streams already open go on.
	ErrGoAway = errors.New("h2: connection is going away")
	// ErrTooManyStreams: as many streams are open as the peer allows. Take another connection.
	ErrTooManyStreams = errors.New("h2: peer allows no more concurrent streams")
	// ErrNotProcessed: the peer has not acted on the request (RFC 9113 §8.7); it can be sent again elsewhere.
	ErrNotProcessed = errors.New("h2: request was not processed")
	// ErrUnsent is the ErrNotProcessed of a request of which not a byte was written.
	ErrUnsent = fmt.Errorf("%w: not sent", ErrNotProcessed)
	// ErrHeadTooLarge: a header list is longer than its receiver takes (SETTINGS_MAX_HEADER_LIST_SIZE).
	ErrHeadTooLarge = errors.New("h2: header list too large")
	// ErrNoExtendedConnect: the peer cannot carry an upgraded protocol (RFC 8441). Use HTTP/1.1 for this request.
	ErrNoExtendedConnect = errors.New("h2: peer does not support extended CONNECT (RFC 8441)")
	// ErrUpgradeIgnored: an upgrade was asked for over extended CONNECT and the answer is a plain success, which
	// RFC 8441 cannot express to this peer.
	ErrUpgradeIgnored = errors.New("h2: upgrade ignored with a 2xx, which extended CONNECT cannot carry")
	// ErrPeerSilent: nothing came from the peer any more, not even the answer to a PING, or what its kernel owes to ours.
	ErrPeerSilent = errors.New("h2: the peer gives no sign of life")
	// ErrBodyLength: the body written is not as long as the head declared.
	ErrBodyLength = errors.New("h2: body does not match the declared content-length")

	errMisuse = errors.New("h2: message written out of order (head first, nothing after End)")
	errShort  = errors.New("h2: stream reset: no memory for a body that is not read")
)

// ResetError is the end of one stream before its time.
type ResetError struct {
	Code Code
	// Remote is true where the peer sent the reset, false where it broke a rule and we did.
	Remote bool
	// Detail says which rule was broken; empty where the peer gave none.
	Detail string
}

// Error names the side, the code and the rule.
func (e *ResetError) Error() string {
	switch {
	case e.Remote:
		return "h2: stream reset by peer: " + e.Code.String()
	case e.Detail != "":
		return "h2: stream reset: " + e.Code.String() + ": " + e.Detail
	}
	return "h2: stream reset: " + e.Code.String()
}

// Is makes REFUSED_STREAM from the peer match [ErrNotProcessed].
func (e *ResetError) Is(target error) bool {
	return target == ErrNotProcessed && e.Remote && e.Code == CodeRefusedStream
}

// ConnError is the end of a connection: a GOAWAY with an error code, ours or the peer's. It matches [ErrClosed].
type ConnError struct {
	Code   Code
	Remote bool
	Detail string
}

// Error names the side, the code and the rule or the peer's debug text.
func (e *ConnError) Error() string {
	who := "h2: connection error: "
	if e.Remote {
		who = "h2: peer closed the connection: "
	}
	if e.Detail == "" {
		return who + e.Code.String()
	}
	return who + e.Code.String() + ": " + e.Detail
}

// Is makes every connection error match [ErrClosed].
func (*ConnError) Is(target error) bool { return target == ErrClosed }

// closedError is ErrClosed with its cause.
type closedError struct{ cause error }

func (e *closedError) Error() string      { return ErrClosed.Error() + ": " + e.cause.Error() }
func (e *closedError) Unwrap() error      { return e.cause }
func (*closedError) Is(target error) bool { return target == ErrClosed }

// headTooLarge says by how much.
func headTooLarge(size, limit int) error {
	return fmt.Errorf("%w: %d bytes, at most %d are taken", ErrHeadTooLarge, size, limit)
}

func connError(code Code, d string) error { return &ConnError{Code: code, Detail: d} }
func notProcessed(cause error) error      { return fmt.Errorf("%w: %w", ErrNotProcessed, cause) }
func unsent(cause error) error            { return fmt.Errorf("%w: %w", ErrUnsent, cause) }
func streamError(c Code, d string) error  { return &ResetError{Code: c, Detail: d} }

// codeOf is the code to send for an abort: that of a reset passed on from another hop, or CANCEL.
func codeOf(reason error) Code {
	var reset *ResetError
	if errors.As(reason, &reset) && reset.Code != CodeNo {
		return reset.Code
	}
	return CodeCancel
}
