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

	small *buffer // while the connection is quiet; nil between the turns of one that is polled
	large *buffer
	buf   []byte // the one in use
	r, w  int    // buf[r:w] is not consumed
	need  int    // how many bytes the next step wants to see behind r
	quiet int
	// later is the error of reads that do not wait; nil where they do.
	later error
	// frames counts those of the last read.
	frames int

	// The DATA frame (or one to skip) in the middle of which we are.
	body    frameHeader
	left    int // of its payload, without padding
	padding int // still to skip
	inBody  bool
	discard bool
	begun   bool // the client's preface came (server)
	greeted bool // the peer's SETTINGS came
}

func (in *reader) init(c *conn) {
	in.c = c
	in.equip(c.pool)
}

// equip gives the reader the buffer of quiet connections.
func (in *reader) equip(p *Pool) {
	if in.small == nil {
		in.small = p.getIdle()
	}
	in.buf = in.small.b
}

func (in *reader) release(p *Pool) {
	if in.large != nil {
		p.putRead(in.large)
		in.large = nil
	}
	if in.small != nil {
		p.idle.Put(in.small)
		in.small = nil
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
		in.large, in.buf = nil, in.small.b
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
		in.equip(in.c.pool)
	}
	in.noteBuffer()
	return in.c.nc.SetReadDeadline(time.Time{})
}

// readLoop reads and dispatches until the connection ends. It never writes.
func (in *reader) readLoop() error {
	for {
		err := in.digest()
		if err == nil {
			err = in.fill(in.need)
		}
		if err != nil {
			return in.cut(err)
		}
	}
}

// turnReads is how many reads a connection that is polled has before others come first.
const turnReads = 16

// turn is readLoop for a connection whose reads do not wait: it returns when nothing more has come, or with more, when others are to
// come first.
func (in *reader) turn() (more bool, err error) {
	if in.buf == nil {
		in.equip(in.c.pool)
	}
	for range turnReads {
		if err := in.fill(in.need); errors.Is(err, in.later) {
			if in.r == in.w {
				in.release(in.c.pool)
			}
			in.c.heads.rest()
			return false, nil
		} else if err != nil {
			return false, in.cut(err)
		}
		if err := in.digest(); err != nil {
			return false, in.cut(err)
		}
	}
	return true, nil
}

// digest handles everything that has arrived, and has what is to be said to that written.
func (in *reader) digest() error {
	err := in.dispatchBuffered()
	if in.c.server != nil {
		in.c.server.startBatch(err)
		in.c.server.tellArrivals()
	}
	if in.frames >= yieldAfter {
		runtime.Gosched() // the next read may not have to wait, and other connections have waited
	}
	in.frames = 0
	if err != nil {
		return err
	}
	return in.c.out.kickFlush()
}

// cut tells an end in the middle of something.
func (in *reader) cut(err error) error {
	if errors.Is(err, io.EOF) && (in.r < in.w || in.inBody || in.c.heads.open) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// preface takes the client's first bytes, as far as they have come.
func (in *reader) preface() error {
	if n := min(in.w, len(preface)); string(in.buf[:n]) != preface[:n] {
		return connError(CodeProtocol, "not HTTP/2: wrong connection preface")
	}
	if in.w >= len(preface) {
		in.r, in.begun = len(preface), true
	}
	return nil
}

// dispatchBuffered handles everything that has arrived and notes how many bytes the next step needs.
func (in *reader) dispatchBuffered() error {
	if in.c.server != nil && !in.begun {
		in.need = len(preface)
		if err := in.preface(); err != nil || !in.begun {
			return err
		}
	}
	return in.dispatchFrames()
}

// dispatchFrames is dispatchBuffered behind the preface.
func (in *reader) dispatchFrames() error {
	for {
		if in.inBody {
			if err := in.bodyBytes(); err != nil {
				return err
			}
			if in.need = 1; in.inBody {
				return nil
			}
		}
		have := in.w - in.r
		if in.need = frameHeaderLen; have < in.need {
			return nil
		}
		in.frames++
		h := parseFrameHeader(in.buf[in.r:])
		if err := in.checkFrame(h); err != nil {
			return err
		}
		if in.need = h.needs(); have < in.need {
			return nil
		}
		if h.streams() {
			if err := in.bodyFrame(h); err != nil {
				return err
			}
			continue
		}
		payload := in.buf[in.r+frameHeaderLen : in.r+frameHeaderLen+h.length]
		in.r += frameHeaderLen + h.length
		if err := in.c.dispatch(h, payload); err != nil {
			return err
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
