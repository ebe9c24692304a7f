package call

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// Tunnel is one side of an opaque connection: a socket, or a CONNECT stream of the mesh transport.
type Tunnel interface {
	httpx.BodyReader
	httpx.BodyWriter
	// Abort breaks the tunnel so that the peer notices. Safe from any goroutine.
	Abort(reason error)
	// Close releases it, after both directions ended or were aborted.
	Close()
}

// RawTunnel is a socket.
type RawTunnel struct {
	conn    net.Conn
	aborted atomic.Bool
}

// NewRawTunnel makes a tunnel of a socket.
func NewRawTunnel(conn net.Conn) *RawTunnel { return &RawTunnel{conn: conn} }

// Remote is where the socket leads to.
func (t *RawTunnel) Remote() netip.AddrPort {
	if a, ok := t.conn.RemoteAddr().(*net.TCPAddr); ok {
		return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
	}
	return netip.AddrPort{}
}

// Read implements Tunnel.
func (t *RawTunnel) Read(p []byte) (int, error) { return t.conn.Read(p) }

// Write implements Tunnel.
func (t *RawTunnel) Write(p []byte) (int, error) { return t.conn.Write(p) }

// Ready implements Tunnel: what a socket has is not looked at.
func (*RawTunnel) Ready() bool { return false }

// Trailers implements Tunnel: there are none.
func (*RawTunnel) Trailers() *httpx.Fields { return nil }

// Flush implements Tunnel: nothing is held back.
func (*RawTunnel) Flush() error { return nil }

// End closes the write side, so that a peer that waits for the end of the input sees it.
func (t *RawTunnel) End(*httpx.Fields) error {
	if c, ok := t.conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// Abort resets the connection: a peer must not take a broken stream for a complete one.
func (t *RawTunnel) Abort(error) {
	if t.aborted.Swap(true) {
		return
	}
	netio.Reset(t.conn)
}

// Close implements Tunnel.
func (t *RawTunnel) Close() { t.conn.Close() }

// meshTunnel is a CONNECT stream (RFC 9113 §8.5) to a peer's sidecar.
type meshTunnel struct{ httpx.ClientExchange }

// openMeshTunnel asks the peer for a connection to addr, its workload's. The answer comes once the peer's sidecar has
// reached the app.
func openMeshTunnel(ctx context.Context, p *upstream.Peer, addr netip.AddrPort) (Tunnel, error) {
	ex, err := p.OpenTunnel(ctx, upstream.ConnectTimeout)
	if err != nil {
		return nil, err
	}
	var req httpx.Request
	req.Method, req.Authority, req.ContentLength = []byte("CONNECT"), []byte(addr.String()), -1
	err = ask(ctx, ex, &req, func(resp *httpx.Response) error {
		return &refusedError{status: resp.Status, why: string(resp.Fields.Get(ErrorField))}
	})
	if err != nil {
		return nil, err
	}
	return meshTunnel{ex}, nil
}

// refusedError is a peer's sidecar saying that it could not reach its app.
type refusedError struct {
	status int
	why    string
}

func (e *refusedError) Error() string {
	return "peer's sidecar answered CONNECT with " + strconv.Itoa(e.status) + " " + e.why
}

// Is makes a refusal of this kind [ErrRequestsOnly].
func (e *refusedError) Is(target error) bool {
	return target == ErrRequestsOnly && e.status == RequestsOnly
}

// RequestsOnly is how a peer's sidecar answers a CONNECT to a port that is declared as HTTP (RFC 9110 §15.5.6).
const RequestsOnly = 405

// ErrRequestsOnly tells that the workload was reached and carries HTTP at this port: an opaque connection to it is not to
// be had, and nothing is wrong with the endpoint.
var ErrRequestsOnly = errors.New("the port takes requests only")

// Relayed is what a finished pair of tunnels carried.
type Relayed struct {
	// received is what the client sent, sent what the server sent, in bytes.
	Received, Sent int64
	// err is why the pair ended other than by both sides closing.
	Err error
}

// Relay joins pairs of tunnels.
type Relay struct{ relayer *netio.Relayer }

// NewRelay returns a relay, which any number of pairs may use.
func NewRelay() (*Relay, error) {
	relayer, err := netio.NewRelayer(netio.RelayerOptions{})
	if err != nil {
		return nil, err
	}
	return &Relay{relayer}, nil
}

// Join copies both ways until both sides have ended, one of them broke, nothing moved for idle, or ctx ends. Both
// tunnels are closed when it returns. moved counts up meanwhile; nil where nobody looks.
func (o *Relay) Join(ctx context.Context, client, server Tunnel, idle time.Duration, moved *netio.Traffic) Relayed {
	r := o.relayer.WithIdle(idle).Relay(ctx, asStream(client), asStream(server), moved)
	client.Close()
	server.Close()
	return Relayed{Received: r.AToB, Sent: r.BToA, Err: r.Err}
}

// asStream is the tunnel as the relay takes it: sockets as themselves, so that the kernel can move the bytes.
func asStream(t Tunnel) netio.Stream {
	if raw, ok := t.(*RawTunnel); ok {
		if s, ok := raw.conn.(netio.Stream); ok {
			return s
		}
	}
	return tunnelStream{t}
}

// tunnelStream names a tunnel's methods as the relay calls them.
type tunnelStream struct{ Tunnel }

// CloseWrite ends the direction towards the tunnel's peer.
func (t tunnelStream) CloseWrite() error { return t.End(nil) }

// Close does nothing: the relay calls it to unblock a direction, which Abort has done before, and again at its end. A
// stream of the mesh must be released once, when neither direction uses it any more; join does that.
func (tunnelStream) Close() error { return nil }
