package discovery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// gRPC over HTTP/2, as far as it is needed here: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md

const (
	pathStream  = "/fairlead.v1.Discovery/Stream"
	pathSign    = "/fairlead.v1.Identity/Sign"
	pathHolders = "/fairlead.v1.Departure/Holders"
	pathObserve = "/fairlead.v1.Observation/Observe"
	contentType = "application/grpc+proto"

	headerSize = 5 // 1 byte "compressed", 4 bytes length
	// maxMessage bounds one message of the server, in bytes. A resource of MaxBody fits with room to spare.
	maxMessage = 16 << 20
	// maxRequest bounds one message of a client, in bytes.
	maxRequest = 1 << 20
)

// Code is a gRPC status code.
type Code int

// The codes that Fairlead uses.
const (
	CodeOK                Code = 0
	CodeInvalidArgument   Code = 3
	CodeDeadlineExceeded  Code = 4
	CodeResourceExhausted Code = 8
	CodeUnimplemented     Code = 12
	CodeInternal          Code = 13
	CodeUnavailable       Code = 14
	CodeUnauthenticated   Code = 16
)

// String gives gRPC's name of the code.
func (c Code) String() string {
	switch c {
	case CodeOK:
		return "OK"
	case CodeInvalidArgument:
		return "INVALID_ARGUMENT"
	case CodeDeadlineExceeded:
		return "DEADLINE_EXCEEDED"
	case CodeResourceExhausted:
		return "RESOURCE_EXHAUSTED"
	case CodeUnimplemented:
		return "UNIMPLEMENTED"
	case CodeInternal:
		return "INTERNAL"
	case CodeUnavailable:
		return "UNAVAILABLE"
	case CodeUnauthenticated:
		return "UNAUTHENTICATED"
	}
	return "code " + strconv.Itoa(int(c))
}

// StatusError is the status with which the other side ended a call.
type StatusError struct {
	Code    Code
	Message string
}

// Error gives "UNAUTHENTICATED: token expired".
func (e *StatusError) Error() string { return e.Code.String() + ": " + e.Message }

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
	size := len(b) - headerSize
	if size > maxMessage {
		return nil, fmt.Errorf("message of %d bytes exceeds %d", size, maxMessage)
	}
	binary.BigEndian.PutUint32(b[1:headerSize], uint32(size))
	return b, nil
}

// frames reads messages of at most limit bytes. One that is small lies in the memory of frames until the next is read.
type frames struct {
	r     io.Reader
	limit uint32
	head  [headerSize]byte
	small [64]byte // an acknowledgement is 4 to 12 bytes
}

// readFrame reads one message of at most limit bytes.
func readFrame(r io.Reader, limit uint32) ([]byte, error) {
	return (&frames{r: r, limit: limit}).next()
}

// next reads one message. io.EOF means a clean end. The memory grows with what arrives, not with what is announced.
func (f *frames) next() ([]byte, error) {
	r := f.r
	if _, err := io.ReadFull(r, f.head[:]); err != nil {
		return nil, err
	}
	if f.head[0] != 0 {
		return nil, &StatusError{CodeUnimplemented, "compressed messages are not supported"}
	}
	size := binary.BigEndian.Uint32(f.head[1:])
	if size > f.limit {
		return nil, &StatusError{CodeResourceExhausted, fmt.Sprintf("message of %d bytes exceeds %d", size, f.limit)}
	}
	const trusted = 64 << 10
	b := f.small[:min(int(size), len(f.small))]
	if int(size) > len(b) {
		b = make([]byte, min(size, trusted))
	}
	for read := 0; ; {
		n, err := io.ReadFull(r, b[read:])
		if err != nil {
			return nil, noEOF(err)
		}
		read += n
		if read == int(size) {
			return b, nil
		}
		longer := make([]byte, min(int(size), 2*read))
		copy(longer, b)
		b = longer
	}
}

// noEOF says that an end inside a message is not a clean one.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

const (
	headerStatus  = "Grpc-Status"
	headerMessage = "Grpc-Message"
)

// checkCall refuses what is no gRPC call, in HTTP's terms. True means go on.
func checkCall(w http.ResponseWriter, r *http.Request) bool {
	kind := r.Header.Get("Content-Type")
	switch {
	case r.ProtoMajor != 2:
		http.Error(w, "this port speaks gRPC over HTTP/2", http.StatusHTTPVersionNotSupported)
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "gRPC calls use POST", http.StatusMethodNotAllowed)
	case kind != "application/grpc" && !strings.HasPrefix(kind, "application/grpc+proto") && !strings.HasPrefix(kind, "application/grpc;"):
		http.Error(w, "the content type must be "+contentType, http.StatusUnsupportedMediaType)
	default:
		return true
	}
	return false
}

// setStatus writes the trailers that end a call. It is the last thing a handler does.
func setStatus(w http.ResponseWriter, status *StatusError) {
	w.Header().Set(http.TrailerPrefix+headerStatus, strconv.Itoa(int(status.Code)))
	if status.Message != "" {
		w.Header().Set(http.TrailerPrefix+headerMessage, url.PathEscape(status.Message))
	}
}

// receivedStatus reads how the server ended the call, from the trailers or, for a call refused at once, the headers.
func receivedStatus(resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return &StatusError{CodeUnavailable, "HTTP status " + resp.Status}
	}
	for _, h := range []http.Header{resp.Trailer, resp.Header} {
		value := h.Get(headerStatus)
		if value == "" {
			continue
		}
		code, err := strconv.Atoi(value)
		if err != nil {
			return &StatusError{CodeInternal, "grpc-status " + strconv.Quote(value)}
		}
		if code == int(CodeOK) {
			return nil
		}
		message, err := url.PathUnescape(h.Get(headerMessage))
		if err != nil {
			message = h.Get(headerMessage)
		}
		return &StatusError{Code(code), message}
	}
	return io.ErrUnexpectedEOF
}
