package h2

import (
	"errors"
	"io"
	"os"
	"runtime"
	"time"
)

const (
	idleReadLen   = 1 << 10
	quietReads    = 8       // so many small reads in a row, and the large buffer goes back
	maxControlLen = 1 << 16 // of frames that must be whole in memory, other than header blocks
	yieldAfter    = 64      // so many frames in one read, and others come first
)

// reader cuts the byte stream into frames. DATA is handed on as it comes; other frames are gathered whole.
type reader struct {
	small []byte // while the connection is quiet
	large *buffer
	buf   []byte // the one in use
	r, w  int    // buf[r:w] is not consumed
	quiet int
	// frames counts those of the last read.
	frames int

	// The DATA frame (or one to skip) in the middle of which we are.
	body      frameHeader
	left      int // of its payload, without padding
	padding   int // still to skip
	inBody    bool
	discard   bool
	header    []byte // a header block that spans frames
	blocks    int    // CONTINUATION frames of it so far
	block     frameHeader
	inHeaders bool
	greeted   bool // the peer's SETTINGS came
}

func newReader() reader {
	small := make([]byte, idleReadLen)
	return reader{small: small, buf: small}
}

func (r *reader) release(p *Pool) {
	if r.large != nil {
		p.putRead(r.large)
		r.large = nil
	}
	r.buf, r.r, r.w = nil, 0, 0
}

// room makes sure that n bytes fit in the buffer behind r, choosing the buffer by how busy the connection is.
func (r *reader) room(p *Pool, n int) {
	rest := r.buf[r.r:r.w]
	switch {
	case n > len(r.buf):
		next := p.getRead()
		if n > len(next.b) {
			next = &buffer{b: make([]byte, n)}
		}
		copy(next.b, rest)
		if r.large != nil {
			p.putRead(r.large)
		}
		r.large, r.buf = next, next.b
	case r.large != nil && len(rest) == 0 && r.quiet >= quietReads:
		p.putRead(r.large)
		r.large, r.buf = nil, r.small
	default:
		copy(r.buf, rest)
	}
	r.r, r.w = 0, len(rest)
}

// fill reads once; need is how many bytes the next step wants to see behind r.
func (c *conn) fill(need int) error {
	in := &c.in
	if in.r+need > len(in.buf) || in.r == in.w {
		in.room(c.pool, need)
	}
	n, err := c.nc.Read(in.buf[in.w:])
	if n > 0 {
		c.life.received.Add(1)
		defer c.noteBuffer()
		in.w += n
		switch {
		case in.w == len(in.buf) && in.large == nil:
			in.room(c.pool, readBufferLen) // more than the small one holds
			in.quiet = 0
		case n < idleReadLen:
			in.quiet++
		default:
			in.quiet = 0
		}
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && c.life.shrinking.Swap(false) {
		return c.shrink()
	}
	return err
}

// noteBuffer tells tick what there is to give back.
func (c *conn) noteBuffer() {
	if held := c.in.large != nil; held != c.life.large.Load() {
		c.life.large.Store(held)
	}
}

// shrink gives the large buffer of a connection back that has fallen silent. Reading goes on with the small one.
func (c *conn) shrink() error {
	if c.in.r == c.in.w {
		c.in.release(c.pool)
		c.in.buf = c.in.small
	}
	c.noteBuffer()
	return c.nc.SetReadDeadline(time.Time{})
}

// readLoop reads and dispatches until the connection ends. It never writes.
func (c *conn) readLoop() error {
	if c.server != nil {
		if err := c.readPreface(); err != nil {
			return err
		}
	}
	for {
		need, err := c.dispatchBuffered()
		if c.server != nil {
			c.server.startBatch(err)
		}
		if c.in.frames >= yieldAfter {
			runtime.Gosched() // the next read may not have to wait, and other connections have waited
		}
		c.in.frames = 0
		if err == nil {
			err = c.out.kickFlush()
		}
		if err == nil {
			err = c.fill(need)
		}
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) && (c.in.r < c.in.w || c.in.inBody || c.in.inHeaders) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
}

func (c *conn) readPreface() error {
	for c.in.w < len(preface) {
		if err := c.fill(len(preface)); err != nil {
			return err
		}
		if n := min(c.in.w, len(preface)); string(c.in.buf[:n]) != preface[:n] {
			return connError(CodeProtocol, "not HTTP/2: wrong connection preface")
		}
	}
	c.in.r = len(preface)
	return nil
}

// dispatchBuffered handles everything that has arrived and returns how many bytes the next step needs.
func (c *conn) dispatchBuffered() (need int, err error) {
	in := &c.in
	for {
		if in.inBody {
			if err := c.bodyBytes(); err != nil {
				return 0, err
			}
			if in.inBody {
				return 1, nil
			}
		}
		have := in.w - in.r
		if have < frameHeaderLen {
			return frameHeaderLen, nil
		}
		in.frames++
		h := parseFrameHeader(in.buf[in.r:])
		if err := c.checkFrame(h); err != nil {
			return 0, err
		}
		if need := h.needs(); have < need {
			return need, nil
		}
		if h.streams() {
			if err := c.bodyFrame(h); err != nil {
				return 0, err
			}
			continue
		}
		payload := in.buf[in.r+frameHeaderLen : in.r+frameHeaderLen+h.length]
		in.r += frameHeaderLen + h.length
		if err := c.dispatch(h, payload); err != nil {
			return 0, err
		}
	}
}

// streams tells whether the payload is handed on as it comes: that of DATA, and that of a type we do not know.
func (h frameHeader) streams() bool {
	return h.typ == frameData || h.typ > frameContinuation && h.typ != frameMetadata
}

// needs is how many bytes of the frame must be there before it can be handled.
func (h frameHeader) needs() int {
	switch {
	case !h.streams():
		return frameHeaderLen + h.length
	case h.typ == frameData && h.has(flagPadded) && h.length > 0:
		return frameHeaderLen + 1 // the length of the padding
	}
	return frameHeaderLen
}

// checkFrame refuses what is wrong with a frame by its header alone.
func (c *conn) checkFrame(h frameHeader) error {
	in := &c.in
	switch {
	case h.length > c.opts.MaxFrame:
		return connError(CodeFrameSize, "frame above SETTINGS_MAX_FRAME_SIZE")
	case !in.greeted && (h.typ != frameSettings || h.has(flagAck)):
		return connError(CodeProtocol, "first frame is not SETTINGS")
	case in.inHeaders && (h.typ != frameContinuation || h.id != in.block.id):
		return connError(CodeProtocol, "header block interrupted")
	case !in.inHeaders && h.typ == frameContinuation:
		return connError(CodeProtocol, "CONTINUATION without HEADERS")
	case h.length > maxControlLen && h.typ != frameData && h.typ != frameHeaders && h.typ <= frameContinuation:
		return connError(CodeEnhanceYourCalm, "control frame too large")
	case h.typ == frameHeaders && h.length > c.maxBlock():
		return connError(CodeEnhanceYourCalm, "header block too large")
	}
	return nil
}

// maxBlock is how large a header block may be on the wire. Up to here an over-long list costs its stream only.
func (c *conn) maxBlock() int { return 4 * c.opts.MaxHeaderList }

// bodyFrame handles a frame whose payload is not gathered, as far as it has arrived: DATA, or one of a type we do not
// know.
func (c *conn) bodyFrame(h frameHeader) error {
	c.in.r += frameHeaderLen
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.beginBody(h); err != nil {
		return err
	}
	return c.continueBody()
}

// bodyBytes goes on with such a frame.
func (c *conn) bodyBytes() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.continueBody()
}

// beginBody reads the start of the frame. mu is held.
func (c *conn) beginBody(h frameHeader) error {
	in := &c.in
	in.body, in.left, in.padding, in.inBody, in.discard = h, h.length, 0, true, true
	if h.typ != frameData {
		return c.costs.spend("frames of unknown types")
	}
	if h.id == 0 {
		return connError(CodeProtocol, "DATA on stream 0")
	}
	if h.has(flagPadded) {
		if h.length == 0 {
			return connError(CodeFrameSize, "padded DATA without padding length")
		}
		in.padding = int(in.buf[in.r])
		in.r++
		in.left--
		if in.padding > in.left {
			return connError(CodeProtocol, "padding longer than DATA")
		}
		in.left -= in.padding
	}
	take, err := c.beginData(h, in.left)
	in.discard = !take
	return err
}

// continueBody hands on what has arrived of the payload. mu is held.
func (c *conn) continueBody() error {
	in := &c.in
	n := min(in.left, in.w-in.r)
	if n > 0 && !in.discard {
		c.data(in.body.id, in.buf[in.r:in.r+n])
		c.inflow.credit()
	}
	in.r += n
	if in.left -= n; in.left > 0 {
		return nil
	}
	n = min(in.padding, in.w-in.r)
	in.r += n
	if in.padding -= n; in.padding > 0 {
		return nil
	}
	in.inBody = false
	if in.body.typ == frameData && in.body.has(flagEndStream) && !in.discard {
		if s := c.streams.get(in.body.id); s != nil {
			return c.receivedEnd(s)
		}
	}
	return nil
}
