package netio

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
)

const (
	// peekSize is the first size of a prefix: a request line and most ClientHellos fit.
	peekSize = 2 << 10
	// PeekLimit is the most that a prefix can hold: the longest ClientHello, in two records.
	PeekLimit = maxHello + handshakeHeader + 2*recordHeader
)

// ErrPeekLimit means that PeekLimit bytes were looked at and more are wanted.
var ErrPeekLimit = errors.New("the prefix is full")

// PeekConn is a connection whose first bytes can be looked at before they are read. Until the prefix has been read it
// costs its buffer; afterwards only the wrapper is left, and copying from it is copying from the connection inside.
//
// One goroutine may call Peek and Read, another one Write.
type PeekConn struct {
	net.Conn
	// prefix is what was looked at and not read yet, a part of buf.
	prefix []byte
	buf    []byte
	pool   *PeekBuffers // of buf, nil for none
}

// NewPeekConn wraps c. It reads nothing yet.
func NewPeekConn(c net.Conn) *PeekConn { return &PeekConn{Conn: c} }

// PeekBuffers are the buffers of connections that give them back. The zero value is ready. Safe for concurrent use.
type PeekBuffers struct{ pool sync.Pool }

// Wrap makes a PeekConn of c whose buffer is one of these.
func (b *PeekBuffers) Wrap(c net.Conn) *PeekConn { return &PeekConn{Conn: c, pool: b} }

func (b *PeekBuffers) get() []byte {
	if b != nil {
		if buf, ok := b.pool.Get().(*[peekSize]byte); ok {
			return buf[:]
		}
	}
	return make([]byte, peekSize)
}

// Prefix gives the bytes looked at so far and not read. They are valid until the next Peek or Read.
func (p *PeekConn) Prefix() []byte { return p.prefix }

// Release gives the buffer back, with the bytes that were looked at: nobody may hold what Prefix and Peek have given, or read them here.
func (p *PeekConn) Release() {
	if p.pool != nil && len(p.buf) == peekSize {
		p.pool.pool.Put((*[peekSize]byte)(p.buf))
	}
	p.prefix, p.buf = nil, nil
}

// Peek reads once from the connection and gives all bytes looked at so far, valid until the next Peek or Read. It
// gives them with an error as well: that of the connection, io.EOF, or ErrPeekLimit. Deadlines are the connection's.
func (p *PeekConn) Peek() ([]byte, error) {
	if len(p.prefix) >= PeekLimit {
		return p.prefix, ErrPeekLimit
	}
	p.makeRoom()
	used := len(p.prefix)
	n, err := p.Conn.Read(p.buf[used:])
	p.prefix = p.buf[:used+n]
	return p.prefix, err
}

// makeRoom puts the prefix at the start of a buffer with space behind it.
func (p *PeekConn) makeRoom() {
	size := len(p.buf)
	if len(p.prefix) == size {
		size = min(max(2*size, peekSize), PeekLimit)
	}
	if size > len(p.buf) {
		var buf []byte
		if size == peekSize {
			buf = p.pool.get()
		} else {
			buf = make([]byte, size)
		}
		copy(buf, p.prefix)
		p.buf = buf
		return
	}
	copy(p.buf, p.prefix)
}

// Read gives the prefix first.
func (p *PeekConn) Read(b []byte) (int, error) {
	if len(p.prefix) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.prefix)
	p.consumed(n)
	return n, nil
}

func (p *PeekConn) consumed(n int) {
	if p.prefix = p.prefix[n:]; len(p.prefix) == 0 {
		p.prefix, p.buf = nil, nil
	}
}

// WriteTo writes the prefix and then all that follows; where both ends are TCP the kernel moves the rest (splice).
func (p *PeekConn) WriteTo(w io.Writer) (int64, error) {
	written, err := p.flushPrefix(w)
	if err != nil {
		return written, err
	}
	n, err := io.Copy(w, p.Conn)
	return written + n, err
}

func (p *PeekConn) flushPrefix(w io.Writer) (int64, error) {
	if len(p.prefix) == 0 {
		return 0, nil
	}
	n, err := w.Write(p.prefix)
	p.consumed(n)
	return int64(n), err
}

// ReadFrom hands over to the connection inside, which knows how to splice.
func (p *PeekConn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(p.Conn, r) }

// CloseWrite sends a FIN and leaves the other direction open.
func (p *PeekConn) CloseWrite() error {
	c, ok := p.Conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("close the write side of a %T: %w", p.Conn, errors.ErrUnsupported)
	}
	return c.CloseWrite()
}

// SyscallConn gives the socket of the connection inside. Bytes of the prefix are no longer in it.
func (p *PeekConn) SyscallConn() (syscall.RawConn, error) {
	c, ok := p.Conn.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("socket of a %T: %w", p.Conn, errors.ErrUnsupported)
	}
	return c.SyscallConn()
}

// NetConn gives the connection inside.
func (p *PeekConn) NetConn() net.Conn { return p.Conn }
