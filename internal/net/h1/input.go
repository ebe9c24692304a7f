package h1

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// input is the reading side of a connection: a buffer that exists only while there is something in it.
type input struct {
	*link
	pool   *Buffers
	prefix []byte
	buf    *buffer
	r, w   int
	// timed says that the deadline now set means what it says. Any other deadline is a left-over (of idling, or
	// of Shutdown coming a moment too late) and is cleared when it strikes. It, poll, first and interrupted are one word together: with
	// 8 bytes more a Server is of the next size of the allocator, which is 128 bytes of each connection that waits.
	timed bool
	poll  bool // tells try not to wait
	// first is what connections that are no plain sockets wait on.
	first [1]byte
	// interrupted says that reading is over before the message is, see interrupt.
	interrupted atomic.Bool
	// deadline is the one last set here.
	deadline time.Time

	// fd is the descriptor of a plain socket, nil for any other connection. got and readErr are what try, a
	// method value kept so that reading does not allocate, read last.
	fd      syscall.RawConn
	try     func(fd uintptr) bool
	ack     func(fd uintptr)
	got     int
	readErr error
}

func (in *input) init(l *link, o *Options) {
	in.link, in.pool = l, o.Buffers
	switch n := len(o.Prefix); {
	case n > BufferSize:
		in.prefix = bytes.Clone(o.Prefix)
	case n > 0:
		in.take()
		in.w = copy(in.buf[:], o.Prefix)
	}
	if in.fd = rawConn(l.conn); in.fd != nil {
		in.try, in.ack = in.tryRead, quickAck
	}
}

// acknowledge tells the kernel to acknowledge what came so far. Senders that write a head and its body apart, and have
// not switched off Nagle's algorithm, hold the body back until the head is acknowledged, which the kernel of a
// connection that was used before delays by 40 ms (RFC 1122 §4.2.3.2). Called once for a message of which something is
// missing when its head is there.
func (in *input) acknowledge() {
	if in.fd != nil {
		in.fd.Control(in.ack) //nolint:errcheck // it is only slower without
	}
}

func (in *input) buffered() int { return in.w - in.r }

// bytes are the buffered ones; they stay valid until fill or consume.
func (in *input) bytes() []byte {
	if in.buf == nil {
		return nil
	}
	return in.buf[in.r:in.w]
}

func (in *input) full() bool { return in.w-in.r == BufferSize }

func (in *input) consume(n int) { in.r += n }

// release gives an empty buffer back.
func (in *input) release() {
	if in.buf != nil && in.r == in.w {
		in.pool.put(in.buf)
		in.buf, in.r, in.w = nil, 0, 0
	}
}

// discard gives the buffer back with what is in it.
func (in *input) discard() {
	in.r = in.w
	in.release()
}

// fill waits for at least one more byte. The buffer must not be full.
func (in *input) fill() error {
	if in.r == in.w {
		in.r, in.w = 0, 0
	} else if in.w == BufferSize {
		in.w = copy(in.buf[:], in.buf[in.r:in.w])
		in.r = 0
	}
	for {
		n, err := in.read()
		if n > 0 {
			in.w += n
			return nil
		}
		if !in.leftover(err) {
			return in.cause(err)
		}
	}
}

func (in *input) read() (int, error) {
	switch {
	case len(in.prefix) > 0:
		in.take()
		return in.readPrefix(in.buf[in.w:]), nil
	case in.fd != nil:
		return in.readRaw()
	case in.buf == nil:
		// Wait on one byte rather than on a pooled buffer; the rest is read by the next fill.
		n, err := in.conn.Read(in.first[:])
		if n > 0 {
			in.take()
			in.buf[0] = in.first[0]
			return n, nil
		}
		return 0, orEOF(err)
	}
	n, err := in.conn.Read(in.buf[in.w:])
	if n > 0 {
		return n, nil
	}
	return 0, orEOF(err)
}

// readPrefix reads from the prefix, and lets go of its memory with the last byte.
func (in *input) readPrefix(p []byte) int {
	n := copy(p, in.prefix)
	if in.prefix = in.prefix[n:]; len(in.prefix) == 0 {
		in.prefix = nil
	}
	return n
}

// orEOF guards against connections that return 0, nil for ever.
func orEOF(err error) error {
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

func (in *input) take() {
	if in.buf == nil {
		in.buf = in.pool.get()
	}
}

// readRaw reads from the file descriptor and holds no buffer while there is nothing to read.
func (in *input) readRaw() (int, error) {
	in.got, in.readErr = 0, nil
	if err := in.fd.Read(in.try); err != nil {
		in.release()
		return 0, err
	}
	if in.poll && in.readErr != nil {
		return 0, in.readErr
	}
	if in.readErr != nil {
		in.release()
		return 0, &net.OpError{
			Op: "read", Net: in.conn.RemoteAddr().Network(), Source: in.conn.LocalAddr(), Addr: in.conn.RemoteAddr(), Err: in.readErr,
		}
	}
	if in.got == 0 {
		in.release()
		return 0, io.EOF
	}
	return in.got, nil
}

// tryFill is fill without waiting. It reports whether there was something; connections it cannot ask have nothing.
func (in *input) tryFill() bool {
	if in.fd == nil && len(in.prefix) == 0 || in.full() {
		return false
	}
	in.poll = true
	err := in.fill()
	in.poll = false
	return err == nil
}

// isSpent reports whether nothing has come that was not read, or no more than the end. It does not wait. Connections it cannot ask
// are never known to be.
func (in *input) isSpent() bool {
	if in.fd == nil || in.buffered() > 0 || len(in.prefix) > 0 {
		return false
	}
	in.poll = true
	err := in.fill()
	in.poll = false
	return errors.Is(err, errWouldBlock) || errors.Is(err, io.EOF)
}

// direct reads into p, past the buffer, which must be empty.
func (in *input) direct(p []byte) (int, error) {
	if len(in.prefix) > 0 {
		return in.readPrefix(p), nil
	}
	in.release()
	for {
		n, err := in.conn.Read(p)
		if n > 0 {
			return n, nil
		}
		if !in.leftover(err) {
			return 0, in.cause(orEOF(err))
		}
	}
}

// leftover clears a deadline that no read waits for any more and reports whether err came from one.
func (in *input) leftover(err error) bool {
	if in.timed || in.poll || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	if in.aborted() != nil {
		return false
	}
	return !in.interrupted.Load() && in.setDeadline(time.Time{}) == nil && !in.interrupted.Load()
}

// interrupt makes reads fail that would wait, those under way as well: what is waited for may never come. Only a lingering
// close reads after it. Safe from any goroutine.
func (in *input) interrupt() {
	in.interrupted.Store(true) // before the deadline: leftover looks again after clearing one
	_ = in.conn.SetReadDeadline(time.Unix(1, 0))
}

func (in *input) setDeadline(t time.Time) error {
	in.deadline = t
	return in.conn.SetReadDeadline(t)
}

// startTimer makes reads fail d from now, stopTimer takes that back.
func (in *input) startTimer(d time.Duration) error {
	in.timed = true
	return in.setDeadline(time.Now().Add(d))
}

func (in *input) stopTimer() error {
	if !in.timed {
		return nil
	}
	in.timed = false
	return in.setDeadline(time.Time{})
}
