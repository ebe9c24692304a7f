package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"fairlead.dev/fairlead/internal/observe"
)

// stream is an answer of server-sent events (WHATWG HTML, section 9.2). It belongs to one goroutine.
type stream struct {
	s  *Server
	w  http.ResponseWriter
	rc *http.ResponseController
}

// stream begins the answer.
func (s *Server) stream(w http.ResponseWriter, _ *http.Request) (*stream, error) {
	if s.streams.Add(1) > maxStreams {
		s.streams.Add(-1)
		return nil, &observe.RefusalError{Status: http.StatusTooManyRequests, Message: fmt.Sprintf("%d pages follow the mesh already: close some", maxStreams/2)}
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := &stream{s: s, w: w, rc: http.NewResponseController(w)}
	if err := out.write([]byte("retry: 1000\n\n")); err != nil {
		out.close()
		return nil, err
	}
	return out, nil
}

func (o *stream) close() { o.s.streams.Add(-1) }

func (o *stream) write(b []byte) error {
	if err := o.rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := o.w.Write(b); err != nil {
		return err
	}
	return o.rc.Flush()
}

// event writes one event.
func (o *stream) event(name string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return o.write(fmt.Appendf(nil, "event: %s\ndata: %s\n\n", name, b))
}

// pump writes frames as they come, a few a second at most, until ctx ends or the browser is gone.
func (o *stream) pump(ctx context.Context, f *frames) {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		b := []byte(": ping\n\n")
		select {
		case <-ctx.Done():
			return
		case <-ping.C:
		case <-f.wake:
			b = f.take()
		}
		if err := o.write(b); err != nil || !wait(ctx, frameGap, nil) {
			return
		}
	}
}
