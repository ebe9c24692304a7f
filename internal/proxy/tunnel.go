package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/proxy/httpx"
)

// tunnel is one side of an opaque connection: a socket, or a CONNECT stream of the mesh transport.
type tunnel interface {
	httpx.BodyReader
	httpx.BodyWriter
	// Abort breaks the tunnel so that the peer notices. Safe from any goroutine.
	Abort(reason error)
	// Close releases it, after both directions ended or were aborted.
	Close()
}

// rawTunnel is a socket.
type rawTunnel struct {
	conn    net.Conn
	aborted atomic.Bool
}

func newRawTunnel(conn net.Conn) *rawTunnel { return &rawTunnel{conn: conn} }

func (t *rawTunnel) Read(p []byte) (int, error)  { return t.conn.Read(p) }
func (t *rawTunnel) Write(p []byte) (int, error) { return t.conn.Write(p) }
func (*rawTunnel) Ready() bool                   { return false }
func (*rawTunnel) Trailers() *httpx.Fields       { return nil }
func (*rawTunnel) Flush() error                  { return nil }

// End closes the write side, so that a peer that waits for the end of the input sees it.
func (t *rawTunnel) End(*httpx.Fields) error {
	if c, ok := t.conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// Abort resets the connection: a peer must not take a broken stream for a complete one.
func (t *rawTunnel) Abort(error) {
	if t.aborted.Swap(true) {
		return
	}
	conn := t.conn
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = wrapped.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0) //nolint:errcheck // the socket is being thrown away
	}
	conn.Close()
}

func (t *rawTunnel) Close() { t.conn.Close() }

// meshTunnel is a CONNECT stream (RFC 9113 §8.5) to a peer's sidecar.
type meshTunnel struct{ httpx.ClientExchange }

// openMeshTunnel asks the peer for a connection to addr, its workload's. The answer comes once the peer's sidecar has
// reached the app.
func openMeshTunnel(ctx context.Context, p *peer, addr netip.AddrPort) (tunnel, error) {
	ex, err := p.tcp.open(ctx, connectTimeout)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { ex.Abort(context.Cause(ctx)) })
	defer stop()
	var req httpx.Request
	req.Method, req.Authority, req.ContentLength = []byte("CONNECT"), []byte(addr.String()), -1
	err = ex.Send(&req)
	if err == nil {
		err = ex.Flush()
	}
	var resp httpx.Response
	if err == nil {
		err = ex.Receive(&resp)
	}
	if err == nil && (resp.Status < 200 || resp.Status > 299) {
		err = &refusedError{status: resp.Status, why: string(resp.Fields.Get(errorField))}
	}
	if err != nil {
		ex.Abort(err)
		ex.Close()
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

// relay is what a finished pair of tunnels carried.
type relayed struct {
	// received is what the client sent, sent what the server sent.
	received, sent int64
	err            error
}

// join copies both ways until both sides have ended, one of them broke, or nothing moved for idle. Both tunnels are
// closed when it returns.
func join(client, server tunnel, idle time.Duration) relayed {
	var r relayed
	watch := watchIdle(idle, func() {
		client.Abort(errIdle)
		server.Abort(errIdle)
	})
	defer watch.stop()
	down := make(chan error, 1)
	go func() {
		n, err := pump(client, server, watch)
		r.sent = n
		down <- err
	}()
	n, err := pump(server, client, watch)
	r.received = n
	r.err = errors.Join(err, <-down)
	client.Close()
	server.Close()
	return r
}

// errIdle is why a connection that nothing moved on is cut.
var errIdle = errors.New("idle timeout")

// pump copies src to dst and passes on how src ended: an end as an end, a break as a break.
func pump(dst, src tunnel, watch *idleWatch) (int64, error) {
	buf := make([]byte, pumpBuffer)
	var total int64
	for {
		n, err := src.Read(buf)
		if n > 0 {
			total += int64(n)
			watch.touch()
			if _, werr := dst.Write(buf[:n]); werr != nil {
				src.Abort(werr)
				return total, werr
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return total, ignoreClosed(dst.End(nil))
		case err != nil:
			dst.Abort(err)
			return total, err
		}
		if !src.Ready() {
			if err := dst.Flush(); err != nil {
				src.Abort(err)
				return total, err
			}
		}
	}
}

// pumpBuffer is large enough that a bulk transfer spends its time copying, not in system calls.
const pumpBuffer = 64 << 10

// ignoreClosed drops what happens when the peer is gone before its write side could be closed: it asked for no more.
func ignoreClosed(err error) error {
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return nil
	}
	return err
}

// idleWatch calls a function once nothing was touched for a while. One timer per connection, re-armed when it fires:
// touching costs one store.
type idleWatch struct {
	after time.Duration
	last  atomic.Int64
	timer *time.Timer
	over  func()
}

func watchIdle(after time.Duration, over func()) *idleWatch {
	w := &idleWatch{after: after, over: over}
	w.touch()
	w.timer = time.AfterFunc(after, w.check)
	return w
}

func (w *idleWatch) touch() { w.last.Store(time.Now().UnixNano()) }

func (w *idleWatch) check() {
	left := w.after - time.Since(time.Unix(0, w.last.Load()))
	if left <= 0 {
		w.over()
		return
	}
	w.timer.Reset(left)
}

func (w *idleWatch) stop() { w.timer.Stop() }
