package h1

import (
	"math/bits"
	"net"
	"strconv"
	"sync/atomic"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// mode is how a body is framed on the way out.
type mode uint8

const (
	modeNone    mode = iota // no head yet
	modeEnded               // the message is complete
	modeDiscard             // there must be no body: to HEAD, in 204 and 304
	modeLength
	modeChunked
	modeUntilClose
)

const (
	// chunkHead is the room kept for the size line of an open chunk: four digits are enough for a buffer.
	chunkHead = len("ffff\r\n")
	lastChunk = "0\r\n\r\n"
)

// output is the writing side of a connection. What it writes is gathered in a pooled buffer; what does not fit
// leaves together with the buffer in one writev.
type output struct {
	*link
	pool *Buffers
	buf  *buffer
	r, w int
	mode mode
	left int64 // of modeLength
	// chunk is where the open chunk's size line starts, -1 where none is open.
	chunk int
	err   error
	// touched says that bytes were handed to the connection in this exchange.
	touched atomic.Bool
	// gather says that the connection has writev. Others, TLS above all, get as few and as full writes as possible.
	gather bool

	vec    net.Buffers
	parts  [3][]byte
	digits [20]byte // a number, or a chunk size and CRLF
}

func (o *output) init(l *link, pool *Buffers) {
	o.link, o.pool, o.chunk = l, pool, -1
	switch l.conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		o.gather = true
	}
}

// reset prepares for the next message.
func (o *output) reset() {
	o.mode, o.left, o.chunk, o.err = modeNone, 0, -1, nil
	o.touched.Store(false)
	o.discard()
}

func (o *output) discard() {
	if o.buf != nil {
		o.pool.put(o.buf)
	}
	o.buf, o.r, o.w, o.chunk = nil, 0, 0, -1
}

// begin sets the framing of the body that follows a head.
func (o *output) begin(m mode, length int64) {
	o.mode, o.left = m, length
}

// room makes sure that n more bytes fit, n being small.
func (o *output) room(n int) {
	if o.buf == nil {
		o.buf = o.pool.get()
		o.r, o.w = 0, 0
	}
	if BufferSize-o.w < n {
		o.send()
		o.r, o.w = 0, 0
	}
}

// put and putString write parts of heads, sending whenever the buffer is full. Errors stick.
func (o *output) put(b []byte) {
	for len(b) > 0 {
		o.room(1)
		n := copy(o.buf[o.w:], b)
		o.w += n
		b = b[n:]
	}
}

func (o *output) putString(s string) {
	for s != "" {
		o.room(1)
		n := copy(o.buf[o.w:], s)
		o.w += n
		s = s[n:]
	}
}

func (o *output) putInt(n int64) { o.put(strconv.AppendInt(o.digits[:0], n, 10)) }

// send hands the buffered bytes to the connection; the buffer's memory stays.
func (o *output) send() {
	if o.err == nil && o.r < o.w {
		o.touched.Store(true)
		_, err := o.conn.Write(o.buf[o.r:o.w])
		o.fail(err)
	}
	o.r = o.w
}

func (o *output) fail(err error) {
	if err != nil && o.err == nil {
		o.err = o.cause(err)
	}
}

// flush sends what is buffered and gives the buffer back.
func (o *output) flush() error {
	if o.buf != nil {
		o.closeChunk()
		o.send()
		o.discard()
	}
	return o.err
}

// Write adds to the body.
func (o *output) Write(p []byte) (int, error) {
	if err := o.writable(int64(len(p))); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	switch o.mode {
	case modeNone, modeEnded: // writable let it pass: raw
		return o.writeThrough(p)
	case modeDiscard:
		return len(p), nil
	case modeChunked:
		o.writeChunked(p)
	case modeLength, modeUntilClose:
		o.left -= int64(len(p))
		o.writePlain(p)
	}
	if o.err != nil {
		return 0, o.err
	}
	return len(p), nil
}

func (o *output) writable(n int64) error {
	if err := o.aborted(); err != nil {
		return err
	}
	switch {
	case o.err != nil:
		return o.err
	case o.mode == modeLength && n > o.left:
		return ErrBodyLength
	case o.mode == modeNone && !o.raw.Load():
		return ErrNoHead
	case o.mode == modeEnded && !o.raw.Load():
		return ErrEnded
	}
	return nil
}

// writeThrough carries raw bytes, which have no flush of their own to wait for.
func (o *output) writeThrough(p []byte) (int, error) {
	n, err := o.conn.Write(p)
	o.fail(err)
	return n, o.err
}

func (o *output) writePlain(p []byte) {
	o.room(0)
	if len(p) <= BufferSize-o.w {
		o.w += copy(o.buf[o.w:], p)
		return
	}
	o.sendAll(p, nil)
}

// writeChunked gathers small writes in one chunk, so that a body written in pieces does not pay for each.
func (o *output) writeChunked(p []byte) {
	const tail = len("\r\n") + len(lastChunk)
	o.room(0)
	if o.chunk < 0 && len(p)+chunkHead+tail <= BufferSize-o.w {
		o.chunk = o.w
		o.w += chunkHead
	}
	if o.chunk >= 0 && len(p)+tail <= BufferSize-o.w {
		o.w += copy(o.buf[o.w:], p)
		return
	}
	o.closeChunk()
	size := strconv.AppendUint(o.digits[:0], uint64(len(p)), 16)
	o.put(append(size, "\r\n"...))
	o.sendAll(p, o.digits[len(size):len(size)+2])
}

// closeChunk writes the size line of the open chunk. The line is as short as it can be, so what lies before it moves
// up: that is at most a head.
func (o *output) closeChunk() {
	if o.chunk < 0 {
		return
	}
	start := o.chunk
	o.chunk = -1
	size := o.w - start - chunkHead
	digits := (bits.Len(uint(size)) + 3) / 4
	slack := chunkHead - digits - len("\r\n")
	copy(o.buf[o.r+slack:], o.buf[o.r:start])
	o.r += slack
	line := strconv.AppendUint(o.buf[start+slack:start+slack], uint64(size), 16)
	copy(o.buf[start+slack+len(line):], "\r\n")
	o.w += copy(o.buf[o.w:], "\r\n")
}

// sendAll sends the buffer and p, at once where the connection can do that. tail may stay in the buffer.
func (o *output) sendAll(p, tail []byte) {
	if !o.gather {
		o.sendInTurn(p)
		o.put(tail)
		return
	}
	if o.err == nil {
		o.touched.Store(true)
		o.parts = [3][]byte{o.buf[o.r:o.w], p, tail}
		o.vec = o.parts[:]
		if o.r == o.w {
			o.vec = o.vec[1:]
		}
		if len(tail) == 0 {
			o.vec = o.vec[:len(o.vec)-1]
		}
		_, err := o.vec.WriteTo(o.conn)
		o.parts = [3][]byte{}
		o.fail(err)
	}
	o.discard()
}

// sendInTurn fills the buffer up, sends it, and sends the rest of p unless that fits the buffer. Where nothing waits in the
// buffer, p leaves without being copied.
func (o *output) sendInTurn(p []byte) {
	if o.r < o.w {
		n := copy(o.buf[o.w:], p)
		o.w += n
		p = p[n:]
		o.send()
	}
	o.r, o.w = 0, 0
	if len(p) < BufferSize {
		o.w = copy(o.buf[:], p)
		return
	}
	if o.err == nil {
		o.touched.Store(true)
		_, err := o.conn.Write(p)
		o.fail(err)
	}
}

// Flush sends what is buffered.
func (o *output) Flush() error {
	if err := o.aborted(); err != nil {
		return err
	}
	return o.flush()
}

// over reports whether the body is complete, so that what follows a switch of protocols is raw.
func (o *output) over() bool {
	return o.mode == modeNone || o.mode == modeEnded || o.mode == modeLength && o.left == 0
}

// end finishes the message and flushes.
func (o *output) end(trailers *httpx.Fields) error {
	if err := o.aborted(); err != nil {
		return err
	}
	switch o.mode {
	case modeNone, modeEnded:
		return o.flush()
	case modeLength:
		if o.left != 0 {
			o.abort(ErrBodyLength)
			return ErrBodyLength
		}
	case modeChunked:
		o.endChunks(trailers)
	case modeDiscard, modeUntilClose:
	}
	o.mode = modeEnded
	return o.flush()
}

func (o *output) endChunks(trailers *httpx.Fields) {
	o.closeChunk()
	if trailers == nil || trailers.Len() == 0 {
		o.putString(lastChunk)
		return
	}
	if err := checkFields(trailers); err != nil {
		o.fail(err)
		o.abort(err)
		return
	}
	o.putString("0\r\n")
	putFields(o, trailers)
	o.putString("\r\n")
}
