package netio

import "net"

// Bottom gives the socket below TLS and other wrappings.
func Bottom(conn net.Conn) net.Conn {
	for wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok; wrapped, ok = conn.(interface{ NetConn() net.Conn }) {
		conn = wrapped.NetConn()
	}
	return conn
}

// Reset breaks a connection, also below TLS, so that its peer cannot take what it has got for all there is.
func Reset(conn net.Conn) {
	conn = Bottom(conn)
	if tcp, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		tcp.SetLinger(0) //nolint:errcheck // the socket is being thrown away
	}
	conn.Close()
}
