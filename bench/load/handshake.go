package main

import (
	"crypto/tls"
	"net"
	"time"
)

// handshakes makes a connection with mutual TLS for each request, without a session of an earlier one: what the server's half of
// a pair pays for a peer that is new. The answer says that the server has verified the client: by TLS 1.3 a client is done before.
func (g *generator) handshakes(int) error {
	// The server's name is not verified: the client's time is nobody's.
	config := &tls.Config{
		Certificates: []tls.Certificate{g.certificate}, InsecureSkipVerify: true, ServerName: "peer", //nolint:gosec // see above
		MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, CurvePreferences: []tls.CurveID{tls.X25519},
	}
	buf := make([]byte, 8192)
	return g.repeat(func() error {
		c, err := net.Dial("tcp", g.addr)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return err
		}
		return g.exchange(tls.Client(c, config), buf)
	})
}
