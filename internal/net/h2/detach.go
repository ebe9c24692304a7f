package h2

import (
	"errors"
	"io"
	"slices"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// Arrivals is told that something has come for a stream.
type Arrivals interface {
	// Arrived says that Read may find something, or the end. It is called by the goroutine that reads the connection, which holds no
	// lock: it must not wait. It may be called when the stream has been released, too.
	Arrived()
}

// Detach has the stream go on, without a goroutine, when its handler returns, which is one of [Options.Begin] and says so then. From now
// on to is told when something comes, where a reader that waits would be woken; for what has come already the caller looks itself. That
// the stream is broken off, by whichever side, is told to who watches. The owner calls Release once, in the end. The memory of heads is given back.
func (s *ServerStream) Detach(to Arrivals) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.arrivals = to
	s.c.out.enc.slots = nil // 2 KiB that only heads need, of which the next may not come for hours
	s.request.Fields, s.request.Method, s.request.Scheme, s.request.Authority, s.request.Path = httpx.Fields{}, nil, nil, nil, nil
}

// Release is for a stream that was detached what its handler's return is for others: one that has not ended is reset, and nothing of it
// may be touched any more.
func (s *ServerStream) Release() { s.finish(CodeInternal) }

// ErrLater is what a read that does not wait returns where nothing has come.
var ErrLater = errors.New("nothing has come")

// ReadNow is Read, but does not wait: not for the client, nor for the socket.
func (s *ServerStream) ReadNow(p []byte) (int, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	switch {
	case s.queue.n > 0:
		n := s.c.streams.read(&s.stream, p)
		s.c.out.kick() // not flush: the goroutine that reads the connection never writes
		return n, nil
	case s.rerr != nil:
		return 0, s.rerr
	case s.recvEnd:
		return 0, io.EOF
	}
	return 0, ErrLater
}

// note has the owner of a detached stream told that something has come. It belongs to the reading goroutine; mu is held.
func (ss *streams) note(s *stream) {
	if s.arrivals != nil && !slices.Contains(ss.c.server.arrived, s.arrivals) {
		ss.c.server.arrived = append(ss.c.server.arrived, s.arrivals)
	}
}

// tellArrivals tells the owners of detached streams what has come in the last read. Owners, and not streams, are what is noted: a stream
// that was released meanwhile may be that of another connection.
func (sv *Server) tellArrivals() {
	for i, to := range sv.arrived {
		sv.arrived[i] = nil
		to.Arrived()
	}
	sv.arrived = sv.arrived[:0]
}
