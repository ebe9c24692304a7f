package grpcstream

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

const (
	// ContentType is that of messages in protobuf.
	ContentType = "application/grpc+proto"
	// HeaderSize is how many bytes come before each message: 1 byte "compressed", 4 bytes length.
	HeaderSize = 5
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

// Seal fills in the prefix of b, whose first HeaderSize bytes are reserved for it.
func Seal(b []byte) []byte {
	b[0] = 0
	binary.BigEndian.PutUint32(b[1:HeaderSize], uint32(len(b)-HeaderSize))
	return b
}

// Frames reads messages. One that is small lies in the memory of Frames until the next is read.
type Frames struct {
	r     io.Reader
	limit uint32
	head  [HeaderSize]byte
	small [64]byte // an acknowledgement of our own sidecars is 4 to 12 bytes
}

// NewFrames reads messages of at most limit bytes.
func NewFrames(r io.Reader, limit uint32) *Frames { return &Frames{r: r, limit: limit} }

// Next reads one message. io.EOF means a clean end. The memory grows with what arrives, not with what is announced.
func (f *Frames) Next() ([]byte, error) {
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

// The fields that say how a call ended.
const (
	HeaderStatus  = "Grpc-Status"
	HeaderMessage = "Grpc-Message"
)

// CheckCall refuses what is no gRPC call, in HTTP's terms. True means go on.
func CheckCall(w http.ResponseWriter, r *http.Request) bool {
	kind := r.Header.Get("Content-Type")
	switch {
	case r.ProtoMajor != 2:
		http.Error(w, "this port speaks gRPC over HTTP/2", http.StatusHTTPVersionNotSupported)
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "gRPC calls use POST", http.StatusMethodNotAllowed)
	case kind != "application/grpc" && !strings.HasPrefix(kind, ContentType) && !strings.HasPrefix(kind, "application/grpc;"):
		http.Error(w, "the content type must be "+ContentType, http.StatusUnsupportedMediaType)
	default:
		return true
	}
	return false
}

// SetStatus writes the trailers that end a call. It is the last thing a handler does.
func SetStatus(w http.ResponseWriter, status *StatusError) {
	w.Header().Set(http.TrailerPrefix+HeaderStatus, strconv.Itoa(int(status.Code)))
	if status.Message != "" {
		w.Header().Set(http.TrailerPrefix+HeaderMessage, url.PathEscape(status.Message))
	}
}
