package proxy

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/call"
	"fairlead.dev/fairlead/internal/proxy/directory"
)

// Detection decides what a connection carries without making client or server wait. Where the client speaks first, its first
// bytes tell. A client of a server-first protocol (MySQL, SMTP, …) stays silent until the server has greeted it, so
// the server is dialled at once and both sides are watched: the side that speaks first decides. What is detected is kept per
// port, so that the extra connection is made once, not per call.

// quietBefore is how long a client of a port known to carry HTTP may stay silent before its server is dialled all the
// same: a keep-alive client that connects early, or a port that carries both.
const quietBefore = 200 * time.Millisecond

// detector watches one connection.
type detector struct {
	client *netio.PeekConn
	claim  netio.Claim
	limit  time.Duration // see sniff
	dial   func(context.Context) (call.Tunnel, error)
	// known is what earlier connections to the same port were detected to be (a netio.Detected), 0 while there is none.
	known *atomic.Uint32
	// isPeer reports whether TLS is a peer's, and for the sidecar; nil where none is. Where it is, detect returns errPeer.
	isPeer func(netio.ClientHello) bool

	cancel  context.CancelFunc
	dialled chan struct{} // closed when server and err are set
	server  *greetedTunnel
	err     error

	mu      sync.Mutex
	decided bool // the client's side has decided: its read must not be interrupted any more
}

// detected is what came of it. For an opaque connection server is the tunnel to use, or err why there is none.
type detected struct {
	protocol netio.Detected
	server   call.Tunnel
	err      error
}

// detect returns what the connection carries. It returns an error of its own only where the client is gone, or is a peer.
func (d *detector) detect(ctx context.Context) (detected, error) {
	var wait time.Duration
	if v := netio.Detected(d.known.Load()); v == netio.HTTP1 || v == netio.HTTP2 {
		wait = quietBefore
	}
	ctx, d.cancel = context.WithCancel(ctx)
	d.dialled = make(chan struct{})
	var joined sync.WaitGroup
	joined.Go(func() { d.speculate(ctx, wait) })

	protocol, err := sniff(d.client, d.claim, d.limit)
	if err == nil && protocol == netio.TLS && d.isPeer != nil {
		err = d.askHello()
	}
	interrupted := errors.Is(err, os.ErrDeadlineExceeded)
	d.settle()
	gone := err != nil && !interrupted
	isHTTP := err == nil && (protocol == netio.HTTP1 || protocol == netio.HTTP2)
	if gone || isHTTP {
		d.cancel()
		d.abandon(&joined)
	}
	if errors.Is(err, errPeer) {
		return detected{}, err
	}
	if gone {
		return detected{}, call.DownstreamError(err)
	}
	if isHTTP {
		d.known.Store(uint32(protocol))
		return detected{protocol: protocol}, nil
	}
	// Opaque: the tunnel is used, and its first read goes on in the speculation's goroutine until it is taken over.
	<-d.dialled
	if failed := d.err; failed != nil {
		d.cancel()
		joined.Wait()
		return detected{protocol: netio.Opaque, err: failed}, nil //nolint:nilerr // the client's side was interrupted, which is no error
	}
	d.known.Store(uint32(netio.Opaque))
	d.server.release = func() { d.cancel(); joined.Wait() }
	return detected{protocol: netio.Opaque, server: d.server}, nil
}

// askHello returns errPeer where the client's TLS is a peer's. A client that says no more than the beginning of it is none.
func (d *detector) askHello() error {
	bound := time.AfterFunc(d.limit, func() { d.client.Close() })
	defer bound.Stop()
	hello, ok, err := clientHello(d.client)
	switch {
	case err == nil && ok && d.isPeer(hello):
		return errPeer
	case errors.Is(err, io.EOF):
		return nil
	}
	return err
}

// abandon ends a speculation that was not needed; its context was cancelled.
func (d *detector) abandon(joined *sync.WaitGroup) {
	<-d.dialled
	if d.server != nil {
		d.server.Abort(errNotNeeded)
	}
	joined.Wait()
	if d.server != nil {
		d.server.Close()
	}
}

// sniff reads from the client until its protocol is plain. A client that has said all it has to say, in fewer bytes than
// a request line takes, speaks no HTTP; it may still wait for an answer ("echo hello | nc").
//
// Whatever has begun must become plain within the limit, as a request head must end. On a port that is declared
// HTTP, where only the client can speak first, that bounds its silence too.
func sniff(c *netio.PeekConn, claim netio.Claim, limit time.Duration) (netio.Detected, error) {
	var bound *time.Timer
	defer func() {
		if bound != nil {
			bound.Stop()
		}
	}()
	for {
		if v := claim.Sniff(c.Prefix()); v != netio.NeedMore {
			return v, nil
		}
		if bound == nil && (claim == netio.Declared || len(c.Prefix()) > 0) {
			bound = time.AfterFunc(limit, func() { c.Close() })
		}
		_, err := c.Peek()
		switch {
		case errors.Is(err, io.EOF) && len(c.Prefix()) > 0 && claim != netio.Declared:
			return netio.Opaque, nil
		case err != nil:
			return netio.NeedMore, err
		}
	}
}

// claimOf is what the configuration says of a port whose protocol is not declared: rules with an origin are a user's.
func claimOf(c *directory.Destination) netio.Claim {
	if slices.ContainsFunc(c.Plan.Routes, func(r plan.Route) bool { return r.Origin != "" }) {
		return netio.Routed
	}
	return netio.Unclaimed
}

// settle says that the client's side has decided and makes its socket readable again.
func (d *detector) settle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.decided = true
	d.client.SetReadDeadline(time.Time{}) //nolint:errcheck // a closed socket says so at the next read
}

// interrupt makes the client's side decide now, unless it has.
func (d *detector) interrupt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.decided {
		d.client.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // as above
	}
}

// speculate dials the server and waits for its first bytes, or its end: either way the connection is not HTTP.
func (d *detector) speculate(ctx context.Context, wait time.Duration) {
	quiet := time.NewTimer(wait)
	defer quiet.Stop()
	select {
	case <-quiet.C:
	case <-ctx.Done():
		d.err = ctx.Err()
		close(d.dialled)
		return
	}
	server, err := d.dial(ctx)
	if err != nil {
		d.err = err
		close(d.dialled)
		if errors.Is(err, call.ErrRequestsOnly) { // only the client can speak first
			quiet.Reset(d.limit)
			select {
			case <-quiet.C:
			case <-ctx.Done():
			}
		}
		d.interrupt()
		return
	}
	d.server = &greetedTunnel{Tunnel: server, first: make(chan greeting, 1)}
	close(d.dialled)
	g, spoke := greet(server)
	d.server.first <- g
	if spoke {
		d.interrupt()
	}
}

// greet reads a server's first bytes, as many as it takes to tell whether they decide the protocol. Those of an HTTP
// server do not: it has yet to hear a request.
func greet(server io.Reader) (g greeting, spoke bool) {
	buf := make([]byte, greetingSize)
	for g.err == nil {
		var n int
		n, g.err = server.Read(buf[len(g.bytes):])
		g.bytes = buf[:len(g.bytes)+n]
		switch netio.SpeaksHTTP(g.bytes) {
		case netio.HTTP1, netio.HTTP2:
			return g, false
		case netio.Opaque, netio.TLS:
			return g, true
		case netio.NeedMore:
		}
	}
	return g, true
}

// errNotNeeded ends a connection that was dialled in case the server speaks first.
var errNotNeeded = errors.New("connection dialled for protocol detection was not needed")

const greetingSize = 4 << 10

// greeting is the outcome of the first read from a server.
type greeting struct {
	bytes []byte
	err   error
}

// greetedTunnel is a server's tunnel whose first read was begun during detection.
type greetedTunnel struct {
	call.Tunnel
	first   chan greeting
	taken   bool
	left    greeting
	release func() // joins the detection
}

// Read gives the greeting first.
func (t *greetedTunnel) Read(p []byte) (int, error) {
	if !t.taken {
		t.left = <-t.first
		t.taken = true
	}
	if len(t.left.bytes) > 0 {
		n := copy(p, t.left.bytes)
		t.left.bytes = t.left.bytes[n:]
		return n, nil
	}
	if t.left.err != nil {
		return 0, t.left.err
	}
	return t.Tunnel.Read(p)
}

// Close waits for the detection's goroutine, which the end of the tunnel has unblocked.
func (t *greetedTunnel) Close() {
	if t.release != nil {
		t.release()
	}
	t.Tunnel.Close()
}
