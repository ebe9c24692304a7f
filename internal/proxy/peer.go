package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/proxy/call"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// Envoys, and apps that use gRPC's own xDS, are peers without our transport: they call the app's own port by mutual TLS, as
// Istio's sidecars do. Their identity is verified as on the mesh port, what is inside is served as a plain connection is, and no
// mark of a sidecar is believed or given.

// helloTime bounds how long a STRICT port waits for the greeting of a client that may be such a peer.
const helloTime = 3 * time.Second

// isPeer reports whether a connection that begins as TLS is a peer's. Where a plain connection would not be let in, or the port is
// declared to carry HTTP, which the app cannot do inside a TLS of its own, it can be nothing else; where it would be, the greeting
// must say so: TLS that is the app's own goes to the app.
func (c *capturedConn) isPeer(hello netio.ClientHello) bool {
	switch {
	case c.records != nil || c.port.MTLS == model.MTLSDisable || publicPort(c.dst.Port()):
		return false
	case c.refusesPlain(c.dst.Port()) || refusesOpaque(c.port) != "":
		return true
	}
	return hello.OffersAny(identity.IsIstio) || strings.HasPrefix(string(hello.ServerName), "outbound_.")
}

// beginsTLS reports whether the client of a port that takes peers only begins as one.
func (c *capturedConn) beginsTLS() bool {
	c.client.SetReadDeadline(time.Now().Add(helloTime)) //nolint:errcheck // a closed socket says so at the next read
	defer c.client.SetReadDeadline(time.Time{})         //nolint:errcheck // as above
	hello, ok, err := clientHello(c.client)
	return err == nil && ok && c.isPeer(hello)
}

// sniffPeer gives errPeer where the client of a port at which clients speak first is a peer.
func (c *capturedConn) sniffPeer() error {
	if c.records != nil {
		return nil
	}
	bound := time.AfterFunc(c.limits.detection(), func() { c.client.Close() })
	defer bound.Stop()
	hello, ok, err := clientHello(c.client)
	if err == nil && ok && c.isPeer(hello) {
		return errPeer
	}
	return err
}

// awaitWord dials the app of a port that carries no HTTP, and waits until the app or the client speaks: the client may be a peer
// (then the error is errPeer), and an app that speaks first must not wait for it. Nothing is taken out of the app's socket, so
// that the kernel can move the bytes.
func (c *capturedConn) awaitWord(ctx context.Context) (detected, error) {
	found := detected{protocol: netio.Opaque}
	conn, err := c.way.dial(ctx)
	if err != nil {
		found.err = err
		return found, nil //nolint:nilerr // the app is not reached, which is an answer
	}
	found.server = call.NewRawTunnel(conn)
	socket, ok := conn.(syscall.Conn)
	if c.records != nil || c.port.MTLS == model.MTLSDisable || !ok {
		return found, nil
	}
	var mu sync.Mutex // guards decided: the client's read must not be interrupted any more
	var decided bool
	var spoken sync.WaitGroup
	spoken.Go(func() {
		if netio.AwaitReadable(socket) != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if !decided {
			c.client.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // a closed socket says so at the next read
		}
	})
	hello, isHello, err := clientHello(c.client)
	peer := err == nil && isHello && c.isPeer(hello)
	mu.Lock()
	decided = true
	c.client.SetReadDeadline(time.Time{}) //nolint:errcheck // as above
	mu.Unlock()
	conn.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // as above
	spoken.Wait()
	conn.SetReadDeadline(time.Time{}) //nolint:errcheck // as above
	if peer {
		c.server = found.server
		return found, errPeer
	}
	return found, nil // what else has come of it the relay finds out
}

// servePeer finishes a peer's handshake and carries what its TLS holds.
func (c *capturedConn) servePeer(ctx context.Context) *http1Conn {
	socket := netio.Bottom(c.client)
	state, err := c.handshake(ctx)
	if err != nil {
		if c.server != nil {
			c.server.Abort(err)
		}
		socket.Close()
		return nil
	}
	c.tenure = upstream.NewTenure(socket, c.grace).Until(identity.PeerExpiry(state))
	going, _ := c.carry(ctx) // a peer inside a peer's TLS is the app's own
	return going.finally(func() {
		c.tenure.Leave()
		if c.server != nil {
			c.server.Close() // an opaque connection has nothing else that ends it
		}
	})
}

// handshake makes c what the peer's TLS holds, and the caller who it has proved to be.
func (c *capturedConn) handshake(ctx context.Context) (*tls.ConnectionState, error) {
	address, socket := c.peer(), netio.Bottom(c.client)
	if err := c.turn(ctx, socket, address); err != nil {
		return nil, err
	}
	c.records = h2.NewRecordCoalescer(c.client, c.h2pool)
	secured := tls.Server(recorded{c.records}, c.foreign)
	hctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := secured.HandshakeContext(hctx); err != nil {
		c.refusals.peer(ctx, c.who.Remote.String(), err)
		return nil, err
	}
	state := secured.ConnectionState()
	id, err := identity.PeerID(&state)
	if err != nil {
		return nil, err // cannot happen: the handshake verified it
	}
	c.who.Identity = id.String()
	c.who.Forwarded = c.ClientCert(&state, c.who.Identity)
	c.Name(c.who, id)
	c.client = c.peeks.Wrap(secured)
	if err := c.turn(ctx, socket, c.peer()); err != nil {
		if errors.Is(err, errManyWait) {
			c.charge(c.who.Remote, address) // handshakes are not for nothing
		}
		return nil, err
	}
	c.port, err = c.authorize(ctx, arrival{kind: peerConnection, who: c.who, to: c.dst})
	return &state, err
}

// recorded is a coalescer that says what it stands on, so that a connection over it can be reset.
type recorded struct{ *h2.RecordCoalescer }

// NetConn gives the connection below.
func (r recorded) NetConn() net.Conn { return r.Conn }
