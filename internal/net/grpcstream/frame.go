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
	r        io.Reader
	limit    uint32
	inflater *inflater // nil where messages are not compressed
	cost     int       // of the message that was read last
	head     [HeaderSize]byte
	small    [64]byte // an acknowledgement of our own sidecars is 4 to 12 bytes
	b        []byte   // of the message under way, what has room: it grows with what arrives, not with what is announced
	read     int      // of the message under way, with its head
}

// NewFrames reads messages of at most limit bytes.
func NewFrames(r io.Reader, limit uint32) *Frames { return &Frames{r: r, limit: limit} }

// trusted is how much memory a message gets before any of it has come.
const trusted = 64 << 10

// Next reads one message. io.EOF means a clean end. Where the reader returns an error that is none, because nothing has come yet, Next may
// be called again, and goes on.
func (f *Frames) Next() ([]byte, error) {
	if f.read < HeaderSize {
		if err := f.fill(f.head[f.read:]); err != nil {
			return nil, err
		}
		if err := f.begin(); err != nil {
			return nil, err
		}
	}
	for size := int(f.size()); ; {
		if err := f.fill(f.b[f.read-HeaderSize:]); err != nil {
			return nil, err
		}
		if len(f.b) == size {
			break
		}
		longer := make([]byte, min(size, 2*len(f.b)))
		copy(longer, f.b)
		f.b = longer
	}
	b := f.b
	f.b, f.read = nil, 0
	f.cost = len(b)
	if f.head[0] == 0 {
		return b, nil
	}
	whole, err := f.inflate(b)
	f.cost = max(f.cost, len(whole))
	return whole, err
}

// Cost is how many bytes the last message had, compressed or not, whichever is more: the work that it has made.
func (f *Frames) Cost() int { return f.cost }

func (f *Frames) size() uint32 { return binary.BigEndian.Uint32(f.head[1:]) }

// begin looks at the head of a message.
func (f *Frames) begin() error {
	size := f.size()
	switch {
	case f.head[0] > 1:
		return &StatusError{CodeInternal, fmt.Sprintf("a message begins with %d in the place of its compressed flag, 0 or 1", f.head[0])}
	case size > f.limit:
		return &StatusError{CodeResourceExhausted, fmt.Sprintf("message of %d bytes exceeds %d", size, f.limit)}
	case int(size) <= len(f.small):
		f.b = f.small[:size]
	default:
		f.b = make([]byte, min(size, trusted))
	}
	return nil
}

// fill reads until p is full. An end is a clean one before the first byte of a message only.
func (f *Frames) fill(p []byte) error {
	for len(p) > 0 {
		n, err := f.r.Read(p)
		f.read += n
		if p = p[n:]; err == nil || len(p) == 0 {
			continue
		}
		if f.read > 0 {
			return noEOF(err)
		}
		return err
	}
	return nil
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
