package demoapp

import (
	"encoding/binary"
	"fmt"
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

// grpcStream answers as gRPC's servers do: messages with a header of five bytes, and the status in trailers.
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
	w.Header().Set(grpcStatus, "0")
}
