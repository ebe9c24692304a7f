package upstream

import (
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
)

// originConn is a connection on which the proxy has begun TLS. crypto/tls takes an end of the TCP connection between two
// records for the end of the stream, as browsers do; but what is delimited by that end may then have been cut short by
// an attacker on the way (RFC 8446 §6.1, RFC 9112 §9.8), or by a server that was killed.
type originConn struct {
	*tls.Conn

	below *noticingEnd
}

// Read gives io.EOF only where the server has said goodbye (close_notify).
func (c *originConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == io.EOF && c.below.ended.Load() { //nolint:errorlint // an end is io.EOF itself
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// noticingEnd is the socket below TLS. A goodbye is read before the end of the socket, and nothing after it.
type noticingEnd struct {
	net.Conn

	ended atomic.Bool
}

// NetConn gives the socket.
func (c *noticingEnd) NetConn() net.Conn { return c.Conn }

// Read implements net.Conn.
func (c *noticingEnd) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == io.EOF { //nolint:errorlint // an end is io.EOF itself
		c.ended.Store(true)
	}
	return n, err
}
