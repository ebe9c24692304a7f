package h2

import (
	"encoding/binary"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// maxInterim is how many 1xx heads may wait for their reader.
const maxInterim = 16

// onHeaders takes the first part of a header block, which nearly always is all of it.
func (c *conn) onHeaders(h frameHeader, p []byte) error {
	if h.id == 0 {
		return connError(CodeProtocol, "HEADERS on stream 0")
	}
	p, err := stripHeaders(h, p)
	if err != nil {
		return err
	}
	if h.has(flagEndHeaders) {
		return c.onBlock(h, p)
	}
	c.in.block, c.in.inHeaders, c.in.blocks = h, true, 0
	c.in.header = append(c.in.header[:0], p...)
	return nil
}

// stripHeaders removes padding and priority, RFC 9113 §6.2.
func stripHeaders(h frameHeader, p []byte) ([]byte, error) {
	padding := 0
	if h.has(flagPadded) {
		if len(p) == 0 {
			return nil, connError(CodeFrameSize, "padded HEADERS without padding length")
		}
		padding, p = int(p[0]), p[1:]
	}
	if h.has(flagPriority) {
		if len(p) < 5 {
			return nil, connError(CodeFrameSize, "HEADERS too short for its priority")
		}
		if binary.BigEndian.Uint32(p)&maxStreamID == h.id {
			return nil, connError(CodeProtocol, "stream depends on itself")
		}
		p = p[5:]
	}
	if padding > len(p) {
		return nil, connError(CodeProtocol, "padding longer than HEADERS")
	}
	return p[:len(p)-padding], nil
}

func (c *conn) onContinuation(h frameHeader, p []byte) error {
	in := &c.in
	in.blocks++
	if in.blocks > maxContinuations || len(in.header)+len(p) > c.maxBlock() {
		return connError(CodeEnhanceYourCalm, "header block too large")
	}
	in.header = append(in.header, p...)
	if !h.has(flagEndHeaders) {
		return nil
	}
	in.inHeaders = false
	err := c.onBlock(in.block, in.header)
	in.header = nil // rare enough not to keep
	return err
}

// onBlock takes a complete header block.
func (c *conn) onBlock(h frameHeader, block []byte) error {
	switch {
	case c.server == nil:
		c.head.reset(sectionResponse, &c.scratch.Fields)
	case h.id%2 == 0:
		return connError(CodeProtocol, "HEADERS on an even stream")
	case h.id > c.highest:
		return c.server.newStream(h, block)
	default:
		c.head.reset(sectionTrailers, &c.scratch.Fields)
	}
	if err := c.dec.decode(block, &c.head); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams.get(h.id)
	if s == nil {
		return c.checkGoneStream(h)
	}
	if rule, code := c.deliver(s, h); rule != "" {
		err := streamError(code, rule)
		if c.head.tooLarge {
			err = headTooLarge(c.head.size, c.head.limit)
		}
		return c.blame(s, code, err)
	}
	if h.has(flagEndStream) && s.recvHead && !s.closed {
		return c.receivedEnd(s)
	}
	return nil
}

// deliver gives the decoded block to its stream as a response head or as trailers, and returns the rule it breaks.
// mu is held.
func (c *conn) deliver(s *stream, h frameHeader) (string, Code) {
	switch {
	case s.recvEnd:
		return "HEADERS after END_STREAM", CodeStreamClosed
	case c.head.tooLarge:
		return "header list too large", CodeEnhanceYourCalm
	case c.head.bad != "":
		return c.head.bad, CodeProtocol
	case s.recvHead:
		return c.deliverTrailers(s, h), CodeProtocol
	}
	return c.deliverResponse(s, h), CodeProtocol
}

func (c *conn) deliverTrailers(s *stream, h frameHeader) string {
	switch {
	case !h.has(flagEndStream):
		return "trailers without END_STREAM"
	case c.head.pseudo != 0:
		return "pseudo-header field in trailers"
	}
	s.trailers, c.scratch.Fields = c.scratch.Fields, s.trailers
	s.hasTrailers = true
	return ""
}

func (c *conn) deliverResponse(s *stream, h frameHeader) string {
	r, end := &c.scratch, h.has(flagEndStream)
	r.Version, r.Status, r.Upgrade, r.ContentLength = httpx.HTTP2, c.head.status, nil, c.head.length
	if r.Status < 200 {
		if rule := checkInterim(s, r.Status, end); rule != "" {
			return rule
		}
		r.ContentLength = 0
		s.pushHead(r)
		return ""
	}
	s.recvHead = true
	switch {
	case s.tunnel && r.Status < 300 && !c.takeMark(r):
		s.declared, r.ContentLength = -1, -1
		if len(s.protocol) > 0 {
			r.Status = 101
			r.Upgrade = r.Fields.Block(r.Fields.AppendBlock(s.protocol), len(s.protocol))
		}
	case s.headRequest || r.Status == 204 || r.Status == 304:
		s.declared = 0 // what the head says is the length that another request would get, or nothing
		if r.Status == 204 {
			r.ContentLength = 0
		}
	default:
		s.declared = r.ContentLength
		if end {
			r.ContentLength = max(r.ContentLength, 0)
		}
	}
	s.pushHead(r)
	return ""
}

// takeMark removes the mark of a 2xx that is not an agreement to upgrade, and tells whether it was there.
func (*conn) takeMark(r *httpx.Response) bool {
	if r.Fields.Get(plainSuccess) == nil {
		return false
	}
	r.Fields.Del(plainSuccess)
	return true
}

func checkInterim(s *stream, status int, end bool) string {
	switch {
	case status == 0:
		return ":status missing"
	case status == 101: // RFC 9113 §8.6
		return "status 101"
	case end:
		return "END_STREAM on a 1xx head"
	case s.waitingHeads >= maxInterim:
		return "too many 1xx heads"
	}
	return ""
}
