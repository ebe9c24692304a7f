package h1

import (
	"net"
	"sync/atomic"
)

// link is what the two sides of a connection share.
type link struct {
	conn net.Conn
	// raw is set once the connection left HTTP: after 101, and after 2xx to CONNECT.
	raw atomic.Bool
	// reason is set once, by the first abort.
	reason atomic.Pointer[error]
}

// abort resets the connection. Where a body is delimited by the end of the connection an orderly close would make a
// cut-off message look complete, hence the reset. Safe from any goroutine.
func (l *link) abort(reason error) {
	if reason == nil {
		reason = ErrAborted
	}
	if !l.reason.CompareAndSwap(nil, &reason) {
		return
	}
	l.setLinger(0)
	// Below TLS: its Close would say goodbye, and could block on a peer that does not read.
	l.socket().Close()
}

// leaveHTTP notes that what follows on the connection is another protocol's, in which the end of the connection is the
// only one that there is: it must not look meant where the kernel closes for a process that was killed.
func (l *link) leaveHTTP() {
	l.raw.Store(true)
	l.setLinger(0)
}

// close ends the connection, in an orderly way unless it was aborted.
func (l *link) close() {
	if l.raw.Load() && l.aborted() == nil {
		l.setLinger(-1)
	}
	l.conn.Close()
}

// setLinger says what becomes of the connection when it is closed: reset with 0, ended with -1 (tcp(7), SO_LINGER).
func (l *link) setLinger(seconds int) {
	if tcp, ok := l.socket().(interface{ SetLinger(seconds int) error }); ok {
		_ = tcp.SetLinger(seconds) // it only fails on a connection that is gone
	}
}

// socket is the connection below TLS and other wrappings.
func (l *link) socket() net.Conn {
	conn := l.conn
	for {
		inner, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = inner.NetConn()
	}
}

// cause replaces err by the reason of an abort, where there was one.
func (l *link) cause(err error) error {
	if r := l.reason.Load(); r != nil && err != nil {
		return *r
	}
	return err
}

// aborted gives the reason of an abort, nil where there was none.
func (l *link) aborted() error {
	if r := l.reason.Load(); r != nil {
		return *r
	}
	return nil
}

// closeWrite ends our direction. A connection that cannot do that alone is closed.
func (l *link) closeWrite() error {
	if half, ok := l.conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return l.conn.Close()
}
