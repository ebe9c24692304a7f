package h2

import (
	"cmp"
	"encoding/binary"
)

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
		return c.streams.onReset(h, p)
	case frameSettings:
		return c.settings.onSettings(h, p)
	case framePushPromise:
		return connError(CodeProtocol, "PUSH_PROMISE, which is not enabled")
	case framePing:
		return c.onPing(h, p)
	case frameGoAway:
		return c.ending.onGoAway(h, p)
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
		if err := c.streams.reject(h.id, CodeFrameSize, "PRIORITY not 5 bytes long"); err != nil {
			return err
		}
	case binary.BigEndian.Uint32(p)&maxStreamID == h.id:
		if err := c.streams.reject(h.id, CodeProtocol, "stream depends on itself"); err != nil {
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
			c.ending.confirm()
		}
		return c.costs.spend("PING acknowledgements")
	}
	out := c.out.control()
	out.b = appendPing(out.b, flagAck, [8]byte(p))
	return c.costs.spend("PING frames")
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
		return cmp.Or(c.streams.checkIdle(h), c.costs.payUpdate(n))
	}
	switch {
	case n == 0:
		return c.streams.blame(s, CodeProtocol, streamError(CodeProtocol, "WINDOW_UPDATE of 0"))
	case s.sendWindow+n > maxWindow:
		return c.streams.blame(s, CodeFlowControl, streamError(CodeFlowControl, "stream window above 2^31-1"))
	}
	s.sendWindow += n
	s.wakeWriter()
	return c.costs.payUpdate(n)
}
