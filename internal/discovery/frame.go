package discovery

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"fairlead.dev/fairlead/internal/net/grpcstream"
)

const (
	pathStream  = "/fairlead.v1.Discovery/Stream"
	pathSign    = "/fairlead.v1.Identity/Sign"
	pathHolders = "/fairlead.v1.Departure/Holders"
	pathObserve = "/fairlead.v1.Observation/Observe"

	headerSize = grpcstream.HeaderSize
	// maxMessage bounds one message of the server, in bytes. A resource of MaxBody fits with room to spare.
	maxMessage = 16 << 20
	// maxRequest bounds one message of a client, in bytes.
	maxRequest = 1 << 20
)

// Code is a gRPC status code.
type Code = grpcstream.Code

// The codes that Fairlead uses.
const (
	CodeOK                = grpcstream.CodeOK
	CodeInvalidArgument   = grpcstream.CodeInvalidArgument
	CodeDeadlineExceeded  = grpcstream.CodeDeadlineExceeded
	CodeResourceExhausted = grpcstream.CodeResourceExhausted
	CodeUnimplemented     = grpcstream.CodeUnimplemented
	CodeInternal          = grpcstream.CodeInternal
	CodeUnavailable       = grpcstream.CodeUnavailable
	CodeUnauthenticated   = grpcstream.CodeUnauthenticated
)

// StatusError is the status with which the other side ended a call.
type StatusError = grpcstream.StatusError

// statusOf finds the code for an error: the StatusError in it, else INTERNAL.
func statusOf(err error) *StatusError {
	var status *StatusError
	switch {
	case err == nil:
		return &StatusError{Code: CodeOK}
	case errors.As(err, &status):
		return status
	}
	return &StatusError{Code: CodeInternal, Message: err.Error()}
}

// frame puts the gRPC prefix before a message that append writes.
func frame(message interface{ append([]byte) []byte }) ([]byte, error) {
	b := message.append(make([]byte, headerSize, 512))
	return seal(b)
}

// seal fills in the prefix of b, whose first headerSize bytes are reserved for it.
func seal(b []byte) ([]byte, error) {
	if size := len(b) - headerSize; size > maxMessage {
		return nil, fmt.Errorf("message of %d bytes exceeds %d", size, maxMessage)
	}
	return grpcstream.Seal(b), nil
}

// readFrame reads one message of at most limit bytes.
func readFrame(r io.Reader, limit uint32) ([]byte, error) {
	return grpcstream.NewFrames(r, limit).Next()
}

// receivedStatus reads how the server ended the call, from the trailers or, for a call refused at once, the headers.
func receivedStatus(resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return &StatusError{Code: CodeUnavailable, Message: "HTTP status " + resp.Status}
	}
	for _, h := range []http.Header{resp.Trailer, resp.Header} {
		value := h.Get(grpcstream.HeaderStatus)
		if value == "" {
			continue
		}
		code, err := strconv.Atoi(value)
		if err != nil {
			return &StatusError{Code: CodeInternal, Message: "grpc-status " + strconv.Quote(value)}
		}
		if code == int(CodeOK) {
			return nil
		}
		message, err := url.PathUnescape(h.Get(grpcstream.HeaderMessage))
		if err != nil {
			message = h.Get(grpcstream.HeaderMessage)
		}
		return &StatusError{Code: Code(code), Message: message}
	}
	return io.ErrUnexpectedEOF
}
