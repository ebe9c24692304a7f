package h2

import (
	"encoding/binary"
	"errors"
)

// errDrained is the good end of a connection.
var errDrained = errors.New("h2: connection drained")

// drainPing is the payload of the PING that follows the first GOAWAY of a shutdown.
const drainPing = "drain\x00h2"

// ending is how a connection ends in order: from when on no stream is opened, what was said of that, and who waits for the
// last stream. What is not fixed is guarded by conn.mu.
type ending struct {
	c *conn // whose it is; fixed

	goAway   error // why the peer said GOAWAY, nil before it did
	draining bool  // no new streams; closes when the last one ends
	// announced and final are the two steps of a server's shutdown.
	announced, final bool
	farewell         Code // of the GOAWAY that ends it
	idle             chan struct{}
}

// canOpen tells why no stream can be opened, nil where one can. mu is held.
func (e *ending) canOpen() error {
	switch {
	case e.c.err != nil:
		return unsent(&closedError{e.c.err})
	case e.draining || e.c.streams.nextID > maxStreamID:
		return unsent(ErrGoAway)
	}
	return nil
}

// announce is the first step of a server's shutdown: a GOAWAY that names the last stream to be taken, and a PING whose answer says that the
// client has read it. mu is held.
func (e *ending) announce(last uint32, code Code, why string) {
	e.announced, e.draining = true, true
	out := e.c.out.control()
	out.b = appendGoAway(out.b, last, code, why)
	out.b = appendPing(out.b, 0, [8]byte([]byte(drainPing)))
	e.c.out.kick()
}

// confirm is the second step, when the PING is answered: every stream the client opened before it heard of the first has arrived. mu is held.
func (e *ending) confirm() {
	if e.final || !e.announced {
		return
	}
	e.final = true
	out := e.c.out.control()
	out.b = appendGoAway(out.b, e.c.streams.accepted, e.farewell, "")
	e.check()
}

// check ends a draining connection whose last stream is gone. mu is held.
func (e *ending) check() {
	if !e.draining || e.c.streams.active > 0 || e.c.server != nil && !e.final && e.c.err == nil {
		return
	}
	if e.idle != nil {
		close(e.idle)
		e.idle = nil
	}
	e.close()
}

// whenIdle is closed once no stream is left. mu is held and draining is set.
func (e *ending) whenIdle() <-chan struct{} {
	if e.idle == nil {
		e.idle = make(chan struct{})
	}
	idle := e.idle
	e.check()
	return idle
}

// close closes a connection that has nothing left to do, in a goroutine of its own. mu is held.
func (e *ending) close() {
	if e.c.out.dead || e.c.err != nil {
		return
	}
	e.c.fail(errDrained)
	e.c.wg.Go(func() {
		e.c.mu.Lock()
		out := e.c.out.buffer()
		out.b = appendGoAway(out.b, e.c.streams.accepted, e.farewell, "")
		e.c.out.flushAndWait()
		e.c.mu.Unlock()
		e.c.nc.Close()
	})
}

// onGoAway takes the frame that says that the peer takes no further stream.
func (e *ending) onGoAway(h frameHeader, p []byte) error {
	if h.id != 0 {
		return connError(CodeProtocol, "GOAWAY on a stream")
	}
	if len(p) < 8 {
		return connError(CodeFrameSize, "GOAWAY shorter than 8 bytes")
	}
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	last := binary.BigEndian.Uint32(p) & maxStreamID
	code := Code(binary.BigEndian.Uint32(p[4:]))
	e.receivedGoAway(last, code, string(p[8:min(len(p), 8+256)]))
	return e.c.costs.spend("GOAWAY frames")
}

// receivedGoAway handles the peer's GOAWAY: streams it has not seen fail and can be sent again. mu is held.
func (e *ending) receivedGoAway(last uint32, code Code, debug string) {
	cause := ErrGoAway
	if code != CodeNo {
		cause = &ConnError{Code: code, Remote: true, Detail: debug}
	}
	e.goAway = cause
	if e.c.server != nil {
		return
	}
	e.draining = true
	e.c.streams.each(func(s *stream) {
		if s.id > last {
			e.c.streams.close(s, notProcessed(cause))
		}
	})
	e.check()
}

// calm takes no more streams of this connection, and lets those that run finish: a connection between sidecars carries
// the requests of many apps, and those who did not cancel must not suffer from those who did. The client opens another
// connection, which costs it a handshake. mu is held.
func (e *ending) calm(why string) {
	e.c.costs.refuse(e.c.streams.active + lateStreams)
	e.farewell = CodeEnhanceYourCalm
	e.announce(e.c.streams.accepted, CodeEnhanceYourCalm, why)
}

// countCancel counts an exchange of ours that we threw away. Servers hold us to limits of their own, often by ending
// the connection with all that runs on it (nghttp2, Envoy, HAProxy), and here the cancellations of many callers meet.
// So a connection that has carried many is left in time, and ends with its last stream. mu is held.
func (e *ending) countCancel() {
	if !e.c.costs.cancels.take(1) {
		e.draining = true
	}
}
