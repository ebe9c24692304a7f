package demoapp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// StreamMethod is a method of gRPC that answers with ?count= messages, one every ?interval=, and status 0.
const StreamMethod = "/demo.Demo/Stream"

const (
	grpcType    = "application/grpc"
	grpcStatus  = "Grpc-Status"
	grpcMessage = "Grpc-Message"
)

// grpcStream answers as gRPC's servers do: messages with a header of five bytes, and the status in trailers. It reads all of the
// request before it ends: net/http resets a request whose answer has ended first, and what has not come by then never does.
func (s *server) grpcStream(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	count, err := strconv.ParseUint(firstOf(q.Get("count"), "5"), 10, 32)
	interval, intervalErr := time.ParseDuration(firstOf(q.Get("interval"), "100ms"))
	w.Header().Set("Content-Type", grpcType)
	if err != nil || intervalErr != nil {
		w.Header().Set(grpcStatus, "3") // INVALID_ARGUMENT
		return
	}
	w.Header().Set("Trailer", grpcStatus)
	rc := http.NewResponseController(w)
	for i := range count {
		if i > 0 && !wait(r.Context(), interval) {
			return
		}
		text := fmt.Sprintf("message %d of %s", i, s.id.Pod)
		frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text)))
		if _, err := w.Write(append(frame, text...)); err != nil || rc.Flush() != nil {
			return
		}
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	w.Header().Set(grpcStatus, "0")
}

// messageStream is a request body of several messages, each of which is read by itself.
type messageStream struct {
	left  int
	frame []byte
	rest  []byte // of the message that is being read
}

func newMessageStream(count int, body string) *messageStream {
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body)))
	return &messageStream{left: count, frame: append(frame, body...)}
}

// Read implements io.Reader.
func (s *messageStream) Read(p []byte) (n int, err error) {
	if len(s.rest) == 0 {
		if s.left == 0 {
			return 0, io.EOF
		}
		s.left--
		s.rest = s.frame
	}
	n = copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// countMessages reads a body of gRPC to its end.
func countMessages(body io.Reader) (n int, err error) {
	for {
		var head [5]byte
		if _, err := io.ReadFull(body, head[:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return n, err
		}
		if _, err := io.CopyN(io.Discard, body, int64(binary.BigEndian.Uint32(head[1:]))); err != nil {
			return n, err
		}
		n++
	}
}
