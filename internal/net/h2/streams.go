package h2

import (
	"cmp"
	"encoding/binary"
	"time"
)

// streams are those of a connection: those that are open, by number, and what is remembered of others. What is not said to
// be of the reading goroutine is guarded by conn.mu.
type streams struct {
	table

	c *conn // whose they are; fixed

	active   int    // in the hands of callers or handlers
	nextID   uint32 // of ours (client)
	accepted uint32 // largest that was given to a handler (server)

	highest uint32 // of the peer's (server); of the reading goroutine
	past    past   // of the peer's, those that are gone (server)
}

func (ss *streams) init(c *conn) { ss.c, ss.nextID = c, 1 }

// close ends the stream on the wire's side: it is forgotten, and its owner's calls return err where they would
// still need the peer. mu is held.
func (ss *streams) close(s *stream, err error) {
	s.closed = true
	ss.del(s)
	if s.werr == nil {
		s.werr = err
	}
	if s.rerr == nil && !s.recvEnd {
		s.rerr = err
	}
	s.wakeBoth()
	if s.arrivals != nil && s.watcher != nil { // nobody waits in Read, to whom this would show
		s.watcher.Gone(s.turn, err)
	}
}

// lose is close for a stream that the peer has given up, be it by ending the connection. mu is held.
func (ss *streams) lose(s *stream, err error) {
	ss.close(s, err)
	if s.arrivals == nil && s.watcher != nil {
		s.watcher.Gone(s.turn, err)
	}
}

// reset tells the peer that the stream is over. mu is held; the caller has the frame flushed.
func (ss *streams) reset(s *stream, code Code, err error) {
	if s.closed || s.id == 0 {
		return
	}
	ss.c.out.reset(s.id, code)
	if !s.recvEnd {
		ss.c.costs.strays += max(0, s.recvWindow)
	}
	if ss.c.server != nil && s.recvEnd {
		ss.past.add(endedStream(s.id))
	}
	ss.close(s, err)
	if ss.c.server == nil {
		ss.c.ending.countCancel()
	}
}

// blame resets a stream because of a rule that its peer broke. mu is held.
func (ss *streams) blame(s *stream, code Code, err error) error {
	ss.reset(s, code, err)
	return ss.c.charge(1)
}

// reject resets a stream by number, known or not.
func (ss *streams) reject(id uint32, code Code, rule string) error {
	ss.c.mu.Lock()
	defer ss.c.mu.Unlock()
	if s := ss.get(id); s != nil {
		return ss.blame(s, code, streamError(code, rule))
	}
	ss.c.out.reset(id, code)
	return ss.c.charge(1)
}

// onReset takes the end of a stream from the peer.
func (ss *streams) onReset(h frameHeader, p []byte) error {
	if len(p) != 4 {
		return connError(CodeFrameSize, "RST_STREAM not 4 bytes long")
	}
	ss.c.mu.Lock()
	defer ss.c.mu.Unlock()
	s := ss.get(h.id)
	if s == nil {
		return ss.checkIdle(h)
	}
	if ss.c.server != nil {
		ss.past.add(resetStream(s.id))
	}
	answered := s.sentEnd
	ss.lose(s, &ResetError{Code: Code(binary.BigEndian.Uint32(p)), Remote: true})
	if answered {
		return nil // only the rest of the request is given up, which the response made superfluous
	}
	return ss.c.charge(1)
}

// checkIdle refuses a frame on a stream that has never been opened. On one that is closed, frames may still
// have been in flight; they are ignored. mu is held.
func (ss *streams) checkIdle(h frameHeader) error {
	opened := h.id%2 == 1 && h.id < ss.nextID
	if ss.c.server != nil {
		opened = h.id%2 == 1 && h.id <= ss.highest && !ss.past.wasSkipped(h.id)
	}
	if opened {
		return nil
	}
	return connError(CodeProtocol, "frame on an idle stream")
}

// checkGone is checkIdle for HEADERS and DATA, which cannot have been in flight where the client itself had
// ended the stream. mu is held.
func (ss *streams) checkGone(h frameHeader) error {
	if err := ss.checkIdle(h); err != nil {
		return err
	}
	if ss.c.server == nil {
		return nil
	}
	gone, ok := ss.past.find(h.id)
	if !ok {
		return nil
	}
	if h.typ == frameHeaders && !gone.reset() {
		return connError(CodeStreamClosed, "HEADERS on a stream that both sides have ended")
	}
	ss.c.out.reset(h.id, CodeStreamClosed)
	return ss.c.charge(1)
}

// beginData accounts for a DATA frame before its payload, n bytes without padding, and tells whether a stream
// wants it. mu is held.
func (ss *streams) beginData(h frameHeader, n int) (take bool, err error) {
	if !ss.c.inflow.take(h.length) {
		return false, connError(CodeFlowControl, "peer overruns the connection window")
	}
	if n == 0 && !h.has(flagEndStream) {
		if err := ss.c.costs.spend("empty DATA frames"); err != nil {
			return false, err
		}
	}
	s := ss.get(h.id)
	if s == nil {
		if err := cmp.Or(ss.checkGone(h), ss.c.costs.stray(h)); err != nil {
			return false, err
		}
		ss.c.inflow.credit(alone)
		return false, nil
	}
	if rule, code := s.checkData(h, n); rule != "" {
		ss.c.inflow.credit(alone)
		return false, ss.blame(s, code, streamError(code, rule))
	}
	s.recvWindow -= int64(h.length)
	s.arrived += int64(n)
	if extra := h.length - n; extra > 0 {
		s.giveBack(extra)
	}
	return true, nil
}

// checkData says which rule a DATA frame with n bytes of body breaks, "" for none.
func (s *stream) checkData(h frameHeader, n int) (string, Code) {
	switch {
	case s.recvEnd:
		return "DATA after END_STREAM", CodeStreamClosed
	case !s.recvHead:
		return "DATA before the response", CodeProtocol
	case int64(h.length) > s.recvWindow:
		return "peer overruns the stream window", CodeFlowControl
	case s.declared >= 0 && s.arrived+int64(n) > s.declared:
		return "more DATA than content-length", CodeProtocol
	}
	return "", CodeNo
}

// data delivers a piece of a DATA frame. mu is held.
func (ss *streams) data(id uint32, p []byte) {
	s := ss.get(id)
	if s == nil || s.rerr != nil { // closed while the frame was arriving
		return
	}
	if ss.makeRoom(s) {
		return
	}
	if s.queue.n < shedQueue && s.queue.n+len(p) >= shedQueue {
		s.behind = time.Now()
	}
	s.queue.write(ss.c.pool, p)
	ss.c.inflow.hold(len(p))
	s.wakeReader()
	ss.note(s)
}

// ended handles the end of the peer's message. mu is held.
func (ss *streams) ended(s *stream) error {
	if s.declared >= 0 && s.arrived != s.declared {
		return ss.blame(s, CodeProtocol, streamError(CodeProtocol, "less DATA than content-length"))
	}
	s.recvEnd = true
	ss.checkDone(s)
	s.wakeReader()
	ss.note(s)
	return nil
}

// checkDone forgets a stream that both sides have ended. mu is held.
func (ss *streams) checkDone(s *stream) {
	if s.recvEnd && s.sentEnd && !s.closed {
		s.closed = true
		ss.del(s)
		ss.c.costs.cancels.give()
		if ss.c.server != nil {
			ss.past.add(endedStream(s.id))
		}
	}
}

// read takes what has come for a stream. mu is held.
func (ss *streams) read(s *stream, p []byte) int {
	c := ss.c
	if s.queue.n >= shedQueue {
		s.behind = time.Now()
	}
	n := s.queue.read(c.pool, p)
	c.inflow.read(n)
	s.giveBack(n)
	return n
}
