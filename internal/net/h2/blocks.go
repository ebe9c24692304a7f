package h2

import (
	"encoding/binary"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// maxInterim is how many 1xx heads may wait for their reader.
const maxInterim = 16

// heads reads header blocks and brings them to their streams. It belongs to the reading goroutine.
type heads struct {
	c *conn // whose it is; fixed

	dec     decoder
	head    headReader
	scratch httpx.Response // head being decoded; its memory is swapped into the stream

	block  []byte      // one that spans frames
	first  frameHeader // of its HEADERS
	frames uint32      // CONTINUATION frames of it so far
	open   bool        // it has not ended
}

func (hs *heads) init(c *conn) {
	hs.c, hs.dec, hs.head.limit = c, newDecoder(), c.opts.MaxHeaderList
	hs.head.anyAuthority = c.opts.AnyAuthority
}

// rest gives memory back that only heads need, of which the next may not come for hours.
func (hs *heads) rest() {
	if !hs.open {
		hs.dec.huff, hs.block = [2][]byte{}, nil
		hs.scratch = httpx.Response{}
	}
}

// onHeaders takes the first part of a header block, which nearly always is all of it.
func (hs *heads) onHeaders(h frameHeader, p []byte) error {
	if h.id == 0 {
		return connError(CodeProtocol, "HEADERS on stream 0")
	}
	p, err := stripHeaders(h, p)
	if err != nil {
		return err
	}
	if h.has(flagEndHeaders) {
		return hs.onBlock(h, p)
	}
	hs.first, hs.open, hs.frames = h, true, 0
	hs.block = append(hs.block[:0], p...)
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

func (hs *heads) onContinuation(h frameHeader, p []byte) error {
	hs.frames++
	if hs.frames > maxContinuations || len(hs.block)+len(p) > hs.maxBlock() {
		return connError(CodeEnhanceYourCalm, "header block too large")
	}
	hs.block = append(hs.block, p...)
	if !h.has(flagEndHeaders) {
		return nil
	}
	hs.open = false
	err := hs.onBlock(hs.first, hs.block)
	hs.block = nil // rare enough not to keep
	return err
}

// onBlock takes a complete header block.
func (hs *heads) onBlock(h frameHeader, block []byte) error {
	switch {
	case hs.c.server == nil:
		hs.head.reset(sectionResponse, &hs.scratch.Fields)
	case h.id%2 == 0:
		return connError(CodeProtocol, "HEADERS on an even stream")
	case h.id > hs.c.streams.highest:
		return hs.c.server.newStream(h, block)
	default:
		hs.head.reset(sectionTrailers, &hs.scratch.Fields)
	}
	if err := hs.dec.decode(block, &hs.head); err != nil {
		return err
	}
	hs.c.mu.Lock()
	defer hs.c.mu.Unlock()
	s := hs.c.streams.get(h.id)
	if s == nil {
		return hs.c.streams.checkGone(h)
	}
	if rule, code := hs.deliver(s, h); rule != "" {
		err := streamError(code, rule)
		if hs.head.tooLarge {
			err = headTooLarge(hs.head.size, hs.head.limit)
		}
		return hs.c.streams.blame(s, code, err)
	}
	if h.has(flagEndStream) && s.recvHead && !s.closed {
		return hs.c.streams.ended(s)
	}
	return nil
}

// deliver gives the decoded block to its stream as a response head or as trailers, and returns the rule it breaks.
// mu is held.
func (hs *heads) deliver(s *stream, h frameHeader) (string, Code) {
	switch {
	case s.recvEnd:
		return "HEADERS after END_STREAM", CodeStreamClosed
	case hs.head.tooLarge:
		return "header list too large", CodeEnhanceYourCalm
	case hs.head.bad != "":
		return hs.head.bad, CodeProtocol
	case s.recvHead:
		return hs.deliverTrailers(s, h), CodeProtocol
	}
	return hs.deliverResponse(s, h), CodeProtocol
}

func (hs *heads) deliverTrailers(s *stream, h frameHeader) string {
	switch {
	case !h.has(flagEndStream):
		return "trailers without END_STREAM"
	case hs.head.pseudo != 0:
		return "pseudo-header field in trailers"
	}
	s.trailers, hs.scratch.Fields = hs.scratch.Fields, s.trailers
	s.hasTrailers = true
	return ""
}

func (hs *heads) deliverResponse(s *stream, h frameHeader) string {
	r, end := &hs.scratch, h.has(flagEndStream)
	r.Version, r.Status, r.Upgrade, r.ContentLength = httpx.HTTP2, hs.head.status, nil, hs.head.length
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
	case s.tunnel && r.Status < 300 && !takeMark(r):
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
func takeMark(r *httpx.Response) bool {
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

// maxBlock is how large a header block may be on the wire. Up to here an over-long list costs its stream only.
func (hs *heads) maxBlock() int { return 4 * hs.c.opts.MaxHeaderList }
