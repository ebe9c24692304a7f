package h2

import (
	"cmp"
	"encoding/binary"
	"time"
)

// drainPing is the payload of the PING that follows the first GOAWAY of a shutdown.
const drainPing = "drain\x00h2"

// dispatch handles a frame that is whole in memory.
func (c *conn) dispatch(h frameHeader, p []byte) error {
	switch h.typ {
	case frameHeaders:
		return c.heads.onHeaders(h, p)
	case frameContinuation:
		return c.heads.onContinuation(h, p)
	case framePriority:
		return c.onPriority(h, p)
	case frameReset:
		return c.onReset(h, p)
	case frameSettings:
		return c.settings.onSettings(h, p)
	case framePushPromise:
		return connError(CodeProtocol, "PUSH_PROMISE, which is not enabled")
	case framePing:
		return c.onPing(h, p)
	case frameGoAway:
		return c.onGoAway(h, p)
	case frameWindowUpdate:
		return c.onWindowUpdate(h, p)
	case frameMetadata:
		return c.settings.onMetadata(h, p)
	case frameData: // handled as it arrives
	}
	return nil
}

func (c *conn) onPriority(h frameHeader, p []byte) error {
	switch {
	case h.id == 0:
		return connError(CodeProtocol, "PRIORITY on stream 0")
	case len(p) != 5:
		if err := c.rejectStream(h.id, CodeFrameSize, "PRIORITY not 5 bytes long"); err != nil {
			return err
		}
	case binary.BigEndian.Uint32(p)&maxStreamID == h.id:
		if err := c.rejectStream(h.id, CodeProtocol, "stream depends on itself"); err != nil {
			return err
		}
	}
	return c.costs.spend("PRIORITY frames")
}

func (c *conn) onPing(h frameHeader, p []byte) error {
	if h.id != 0 {
		return connError(CodeProtocol, "PING on a stream")
	}
	if len(p) != 8 {
		return connError(CodeFrameSize, "PING not 8 bytes long")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.has(flagAck) {
		if string(p) == drainPing {
			c.drainAcked()
		}
		return c.costs.spend("PING acknowledgements")
	}
	out := c.out.control()
	out.b = appendPing(out.b, flagAck, [8]byte(p))
	return c.costs.spend("PING frames")
}

func (c *conn) onGoAway(h frameHeader, p []byte) error {
	if h.id != 0 {
		return connError(CodeProtocol, "GOAWAY on a stream")
	}
	if len(p) < 8 {
		return connError(CodeFrameSize, "GOAWAY shorter than 8 bytes")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	last := binary.BigEndian.Uint32(p) & maxStreamID
	code := Code(binary.BigEndian.Uint32(p[4:]))
	c.receivedGoAway(last, code, string(p[8:min(len(p), 8+256)]))
	return c.costs.spend("GOAWAY frames")
}

func (c *conn) onWindowUpdate(h frameHeader, p []byte) error {
	if len(p) != 4 {
		return connError(CodeFrameSize, "WINDOW_UPDATE not 4 bytes long")
	}
	n := int64(binary.BigEndian.Uint32(p) & maxWindow)
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.id == 0 {
		if n == 0 {
			return connError(CodeProtocol, "WINDOW_UPDATE of 0")
		}
		if c.out.window += n; c.out.window > maxWindow {
			return connError(CodeFlowControl, "connection window above 2^31-1")
		}
		c.out.wakeNext()
		return c.costs.payUpdate(n)
	}
	s := c.streams.get(h.id)
	if s == nil {
		return cmp.Or(c.checkIdleStream(h), c.costs.payUpdate(n))
	}
	switch {
	case n == 0:
		return c.blame(s, CodeProtocol, streamError(CodeProtocol, "WINDOW_UPDATE of 0"))
	case s.sendWindow+n > maxWindow:
		return c.blame(s, CodeFlowControl, streamError(CodeFlowControl, "stream window above 2^31-1"))
	}
	s.sendWindow += n
	s.wakeWriter()
	return c.costs.payUpdate(n)
}

func (c *conn) onReset(h frameHeader, p []byte) error {
	if len(p) != 4 {
		return connError(CodeFrameSize, "RST_STREAM not 4 bytes long")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams.get(h.id)
	if s == nil {
		return c.checkIdleStream(h)
	}
	if c.server != nil {
		c.past.add(goneStream{id: s.id, reset: true})
	}
	answered := s.sentEnd
	c.lose(s, &ResetError{Code: Code(binary.BigEndian.Uint32(p)), Remote: true})
	if answered {
		return nil // only the rest of the request is given up, which the response made superfluous
	}
	return c.charge(1)
}

// checkIdleStream refuses a frame on a stream that has never been opened. On one that is closed, frames may still
// have been in flight; they are ignored. mu is held.
func (c *conn) checkIdleStream(h frameHeader) error {
	opened := h.id%2 == 1 && h.id < c.nextID
	if c.server != nil {
		opened = h.id%2 == 1 && h.id <= c.highest && !c.past.wasSkipped(h.id)
	}
	if opened {
		return nil
	}
	return connError(CodeProtocol, "frame on an idle stream")
}

// checkGoneStream is checkIdleStream for HEADERS and DATA, which cannot have been in flight where the client itself had
// ended the stream. mu is held.
func (c *conn) checkGoneStream(h frameHeader) error {
	if err := c.checkIdleStream(h); err != nil {
		return err
	}
	if c.server == nil {
		return nil
	}
	gone, ok := c.past.find(h.id)
	if !ok {
		return nil
	}
	if h.typ == frameHeaders && !gone.reset {
		return connError(CodeStreamClosed, "HEADERS on a stream that both sides have ended")
	}
	c.out.reset(h.id, CodeStreamClosed)
	return c.charge(1)
}

// beginData accounts for a DATA frame before its payload, n bytes without padding, and tells whether a stream
// wants it. mu is held.
func (c *conn) beginData(h frameHeader, n int) (take bool, err error) {
	if !c.inflow.take(h.length) {
		return false, connError(CodeFlowControl, "peer overruns the connection window")
	}
	if n == 0 && !h.has(flagEndStream) {
		if err := c.costs.spend("empty DATA frames"); err != nil {
			return false, err
		}
	}
	s := c.streams.get(h.id)
	if s == nil {
		if err := cmp.Or(c.checkGoneStream(h), c.costs.stray(h)); err != nil {
			return false, err
		}
		c.inflow.credit()
		return false, nil
	}
	if rule, code := s.checkData(h, n); rule != "" {
		c.inflow.credit()
		return false, c.blame(s, code, streamError(code, rule))
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
func (c *conn) data(id uint32, p []byte) {
	s := c.streams.get(id)
	if s == nil || s.rerr != nil { // closed while the frame was arriving
		return
	}
	if c.makeRoom(s) {
		return
	}
	if s.queue.n < shedQueue && s.queue.n+len(p) >= shedQueue {
		s.behind = time.Now()
	}
	s.queue.write(c.pool, p)
	c.inflow.hold(len(p))
	s.wakeReader()
}

// receivedEnd handles the end of the peer's message. mu is held.
func (c *conn) receivedEnd(s *stream) error {
	if s.declared >= 0 && s.arrived != s.declared {
		return c.blame(s, CodeProtocol, streamError(CodeProtocol, "less DATA than content-length"))
	}
	s.recvEnd = true
	c.checkDone(s)
	s.wakeReader()
	return nil
}

// checkDone forgets a stream that both sides have ended. mu is held.
func (c *conn) checkDone(s *stream) {
	if s.recvEnd && s.sentEnd && !s.closed {
		s.closed = true
		c.streams.del(s)
		c.costs.cancels.give()
		if c.server != nil {
			c.past.add(goneStream{id: s.id})
		}
	}
}

// rejectStream resets a stream by number, known or not.
func (c *conn) rejectStream(id uint32, code Code, rule string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams.get(id); s != nil {
		return c.blame(s, code, streamError(code, rule))
	}
	c.out.reset(id, code)
	return c.charge(1)
}
