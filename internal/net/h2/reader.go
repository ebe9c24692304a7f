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

// reader cuts the byte stream into frames. DATA is handed on as it comes; other frames are gathered whole. It belongs to the
// reading goroutine.
type reader struct {
	c *conn // whose it is; fixed

	small []byte // while the connection is quiet
	large *buffer
	buf   []byte // the one in use
	r, w  int    // buf[r:w] is not consumed
	quiet int
	// frames counts those of the last read.
	frames int

	// The DATA frame (or one to skip) in the middle of which we are.
	body    frameHeader
	left    int // of its payload, without padding
	padding int // still to skip
	inBody  bool
	discard bool
	greeted bool // the peer's SETTINGS came
}

func (in *reader) init(c *conn) {
	in.c, in.small = c, make([]byte, idleReadLen)
	in.buf = in.small
}

func (in *reader) release(p *Pool) {
	if in.large != nil {
		p.putRead(in.large)
		in.large = nil
	}
	in.buf, in.r, in.w = nil, 0, 0
}

// room makes sure that n bytes fit in the buffer behind r, choosing the buffer by how busy the connection is.
func (in *reader) room(p *Pool, n int) {
	rest := in.buf[in.r:in.w]
	switch {
	case n > len(in.buf):
		next := p.getRead()
		if n > len(next.b) {
			next = &buffer{b: make([]byte, n)}
		}
		copy(next.b, rest)
		if in.large != nil {
			p.putRead(in.large)
		}
		in.large, in.buf = next, next.b
	case in.large != nil && len(rest) == 0 && in.quiet >= quietReads:
		p.putRead(in.large)
		in.large, in.buf = nil, in.small
	default:
		copy(in.buf, rest)
	}
	in.r, in.w = 0, len(rest)
}

// fill reads once; need is how many bytes the next step wants to see behind r.
func (in *reader) fill(need int) error {
	if in.r+need > len(in.buf) || in.r == in.w {
		in.room(in.c.pool, need)
	}
	n, err := in.c.nc.Read(in.buf[in.w:])
	if n > 0 {
		in.c.life.received.Add(1)
		in.c.quiet.heard()
		defer in.noteBuffer()
		in.w += n
		switch {
		case in.w == len(in.buf) && in.large == nil:
			in.room(in.c.pool, readBufferLen) // more than the small one holds
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
	if errors.Is(err, os.ErrDeadlineExceeded) && in.c.life.shrinking.Swap(false) {
		return in.shrink()
	}
	return err
}

// noteBuffer tells tick what there is to give back.
func (in *reader) noteBuffer() {
	if held := in.large != nil; held != in.c.life.large.Load() {
		in.c.life.large.Store(held)
	}
}

// shrink gives the large buffer of a connection back that has fallen silent. Reading goes on with the small one.
func (in *reader) shrink() error {
	if in.r == in.w {
		in.release(in.c.pool)
		in.buf = in.small
	}
	in.noteBuffer()
	return in.c.nc.SetReadDeadline(time.Time{})
}

// readLoop reads and dispatches until the connection ends. It never writes.
func (in *reader) readLoop() error {
	if in.c.server != nil {
		if err := in.readPreface(); err != nil {
			return err
		}
	}
	for {
		need, err := in.dispatchBuffered()
		if in.c.server != nil {
			in.c.server.startBatch(err)
			in.c.server.tellArrivals()
		}
		if in.frames >= yieldAfter {
			runtime.Gosched() // the next read may not have to wait, and other connections have waited
		}
		in.frames = 0
		if err == nil {
			err = in.c.out.kickFlush()
		}
		if err == nil {
			err = in.fill(need)
		}
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) && (in.r < in.w || in.inBody || in.c.heads.open) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
}

func (in *reader) readPreface() error {
	for in.w < len(preface) {
		if err := in.fill(len(preface)); err != nil {
			return err
		}
		if n := min(in.w, len(preface)); string(in.buf[:n]) != preface[:n] {
			return connError(CodeProtocol, "not HTTP/2: wrong connection preface")
		}
	}
	in.r = len(preface)
	return nil
}

// dispatchBuffered handles everything that has arrived and returns how many bytes the next step needs.
func (in *reader) dispatchBuffered() (need int, err error) {
	for {
		if in.inBody {
			if err := in.bodyBytes(); err != nil {
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
		if err := in.checkFrame(h); err != nil {
			return 0, err
		}
		if need := h.needs(); have < need {
			return need, nil
		}
		if h.streams() {
			if err := in.bodyFrame(h); err != nil {
				return 0, err
			}
			continue
		}
		payload := in.buf[in.r+frameHeaderLen : in.r+frameHeaderLen+h.length]
		in.r += frameHeaderLen + h.length
		if err := in.c.dispatch(h, payload); err != nil {
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
func (in *reader) checkFrame(h frameHeader) error {
	switch {
	case h.length > in.c.opts.MaxFrame:
		return connError(CodeFrameSize, "frame above SETTINGS_MAX_FRAME_SIZE")
	case !in.greeted && (h.typ != frameSettings || h.has(flagAck)):
		return connError(CodeProtocol, "first frame is not SETTINGS")
	case in.c.heads.open && (h.typ != frameContinuation || h.id != in.c.heads.first.id):
		return connError(CodeProtocol, "header block interrupted")
	case !in.c.heads.open && h.typ == frameContinuation:
		return connError(CodeProtocol, "CONTINUATION without HEADERS")
	case h.length > maxControlLen && h.typ != frameData && h.typ != frameHeaders && h.typ <= frameContinuation:
		return connError(CodeEnhanceYourCalm, "control frame too large")
	case h.typ == frameHeaders && h.length > in.c.heads.maxBlock():
		return connError(CodeEnhanceYourCalm, "header block too large")
	}
	return nil
}

// bodyFrame handles a frame whose payload is not gathered, as far as it has arrived: DATA, or one of a type we do not
// know.
func (in *reader) bodyFrame(h frameHeader) error {
	in.r += frameHeaderLen
	in.c.mu.Lock()
	defer in.c.mu.Unlock()
	if err := in.beginBody(h); err != nil {
		return err
	}
	return in.continueBody()
}

// bodyBytes goes on with such a frame.
func (in *reader) bodyBytes() error {
	in.c.mu.Lock()
	defer in.c.mu.Unlock()
	return in.continueBody()
}

// beginBody reads the start of the frame. mu is held.
func (in *reader) beginBody(h frameHeader) error {
	in.body, in.left, in.padding, in.inBody, in.discard = h, h.length, 0, true, true
	if h.typ != frameData {
		return in.c.costs.spend("frames of unknown types")
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
	take, err := in.c.streams.beginData(h, in.left)
	in.discard = !take
	return err
}

// continueBody hands on what has arrived of the payload. mu is held.
func (in *reader) continueBody() error {
	n := min(in.left, in.w-in.r)
	if n > 0 && !in.discard {
		in.c.streams.data(in.body.id, in.buf[in.r:in.r+n])
		in.c.inflow.credit(alone)
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
		if s := in.c.streams.get(in.body.id); s != nil {
			return in.c.streams.ended(s)
		}
	}
	return nil
}
