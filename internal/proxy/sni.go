package proxy

import (
	"errors"
	"time"

	"fairlead.dev/fairlead/internal/net/netio"
)

// serverName reads as much of a client's greeting as it takes to know the name that it asks for (RFC 6066 §3), "" where
// the greeting is no TLS or has no name, or an error where it is not complete within the limit. Nothing is consumed.
func serverName(c *netio.PeekConn, limit time.Duration) (string, error) {
	bound := time.AfterFunc(limit, func() { c.Close() })
	defer bound.Stop()
	hello, _, err := clientHello(c)
	return string(hello.ServerName), err
}

// clientHello reads a client's greeting to its end; isHello is false where it is no TLS. The greeting is valid until the next
// read. Nothing is consumed.
func clientHello(c *netio.PeekConn) (hello netio.ClientHello, isHello bool, err error) {
	for {
		if len(c.Prefix()) > 0 {
			hello, err = netio.ParseClientHello(c.Prefix())
			if !errors.Is(err, netio.ErrShortHello) {
				return hello, err == nil, nil
			}
		}
		if _, err := c.Peek(); err != nil {
			if errors.Is(err, netio.ErrPeekLimit) {
				return netio.ClientHello{}, false, nil
			}
			return netio.ClientHello{}, false, err
		}
	}
}
