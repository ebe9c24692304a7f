package proxy

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// peer is another workload's sidecar, reached on its mesh port. Requests share one connection; opaque streams have
// their own, so that bulk data does not stand in front of requests.
type peer struct {
	key       peerKey
	http, tcp *link
	used      atomic.Int64
	users     int // endpoints, guarded by upstreams.mu
}

func newPeer(u *upstreams, k peerKey) *peer {
	dial := func(ctx context.Context) (*meshConn, error) { return u.mesh(ctx, k.ip, k.identity) }
	return &peer{key: k, http: &link{dial: dial, run: u.run}, tcp: &link{dial: dial, run: u.run}}
}

func (p *peer) touch() { p.used.Store(time.Now().UnixNano()) }

// closeIdle closes connections that carried nothing for so long; it reports whether none is left.
func (p *peer) closeIdle(now time.Time, after time.Duration) bool {
	a, b := p.http.closeIdle(now, after), p.tcp.closeIdle(now, after)
	return a && b && p.used.Load() < now.Add(-after).UnixNano()
}

// abandon ends dials under way: the endpoint is gone, and nobody may be there to refuse them.
func (p *peer) abandon() {
	p.http.abandon()
	p.tcp.abandon()
}

func (p *peer) close() {
	p.http.close()
	p.tcp.close()
}

// meshConn is an HTTP/2 connection and what it runs on.
type meshConn struct {
	*h2.Client
	conn net.Conn

	opened uint32 // streams when closeIdle last looked; its alone

	// tenure ends when the certificate of the server does, at expires; nil where it showed none.
	tenure  *tenure
	expires time.Time
}

// run serves the connection until it ends. It takes no more streams once its tenure is over.
func (c *meshConn) run(ctx context.Context) {
	if c.tenure != nil {
		defer c.tenure.until(c.expires).leave()
		defer onDrain(ctx, nil, c.tenure.ended, func(context.Context) { c.GoAway() })()
	}
	c.Run(ctx) //nolint:errcheck // every stream that the end cut off reports it
}

// link keeps HTTP/2 connections to one place: one, and more only while every one has as many streams as the peer
// allows.
type link struct {
	dial func(context.Context) (*meshConn, error)
	run  func(func(context.Context))

	conns atomic.Pointer[[]*meshConn]
	used  atomic.Int64

	mu      sync.Mutex
	dialing *dialing                // the dial under way, nil when there is none
	cancel  context.CancelCauseFunc // ends that dial; nil before it has begun
	closed  bool
}

// dialing is a dial that several callers wait for.
type dialing struct {
	done chan struct{}
	conn *meshConn
	err  error
}

// maxLinkConns bounds the connections of a link; a peer that allows 100 streams a connection still takes 1600.
const maxLinkConns = 16

// open starts a stream, dialling where there is no connection that takes one. timeout bounds the dial.
func (l *link) open(ctx context.Context, timeout time.Duration) (*h2.Stream, error) {
	if s := l.tryOpen(); s != nil {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for range maxLinkConns {
		if s := l.tryOpen(); s != nil {
			return s, nil
		}
		if err := l.connect(ctx); err != nil {
			return nil, err
		}
	}
	return nil, errBusy
}

// errEndpointLeft means that discovery took the endpoint away before there was a connection to it.
var errEndpointLeft = errors.New("the endpoint has left")

// errBusy means that every connection to a peer is full.
var errBusy = errors.New("every connection to the peer has as many streams as it allows")

func (l *link) tryOpen() *h2.Stream {
	conns := l.conns.Load()
	if conns == nil {
		return nil
	}
	for _, c := range *conns {
		if s, err := c.Open(); err == nil {
			return s
		}
	}
	return nil
}

// connect waits for one more connection. Callers share the dial; it is bounded by the dialler's timeout, not by any
// caller's context, because others wait for it too.
func (l *link) connect(ctx context.Context) error {
	l.mu.Lock()
	d := l.dialing
	if l.closed {
		l.mu.Unlock()
		return errEndpointLeft
	}
	if d == nil {
		d = &dialing{done: make(chan struct{})}
		l.dialing = d
		l.run(func(ctx context.Context) { l.establish(ctx, d) })
	}
	l.mu.Unlock()
	select {
	case <-d.done:
		return d.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// establish dials, publishes the connection, and serves it until it ends.
func (l *link) establish(ctx context.Context, d *dialing) {
	dialCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l.mu.Lock()
	l.cancel = cancel
	l.mu.Unlock()
	d.conn, d.err = l.dial(dialCtx)
	if d.err != nil && errors.Is(context.Cause(dialCtx), errEndpointLeft) {
		d.err = errEndpointLeft
	}
	l.mu.Lock()
	l.dialing, l.cancel = nil, nil
	if d.err == nil && l.closed {
		d.conn.conn.Close()
		d.err = errEndpointLeft
	}
	if d.err == nil {
		l.replace(func(conns []*meshConn) []*meshConn { return append(conns, d.conn) })
		l.used.Store(time.Now().UnixNano())
	}
	l.mu.Unlock()
	close(d.done)
	if d.err != nil {
		return
	}
	d.conn.run(ctx)
	l.mu.Lock()
	l.replace(func(conns []*meshConn) []*meshConn { return without(conns, d.conn) })
	l.mu.Unlock()
}

// replace publishes a changed copy of the connections; the caller holds mu.
func (l *link) replace(change func([]*meshConn) []*meshConn) {
	var next []*meshConn
	if old := l.conns.Load(); old != nil {
		next = append(next, *old...)
	}
	next = change(next)
	l.conns.Store(&next)
}

func without(conns []*meshConn, c *meshConn) []*meshConn {
	out := conns[:0]
	for _, o := range conns {
		if o != c {
			out = append(out, o)
		}
	}
	return out
}

// closeIdle lets connections go that carried nothing for so long. Whether a request came since the last look is told by
// the count of streams, so that requests need not note the time. It reports whether no connection is in use.
func (l *link) closeIdle(now time.Time, after time.Duration) bool {
	conns := l.conns.Load()
	if conns == nil || len(*conns) == 0 {
		return true
	}
	busy := false
	for _, c := range *conns { // all of them, so that each is compared with the last look
		opened := c.Opened()
		busy = busy || c.Active() > 0 || opened != c.opened
		c.opened = opened
	}
	if busy {
		l.used.Store(now.UnixNano())
		return false
	}
	if l.used.Load() >= now.Add(-after).UnixNano() {
		return false
	}
	for _, c := range *conns {
		c.GoAway() // and not at once: a request may be about to take it
	}
	return true
}

func (l *link) abandon() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cancel != nil {
		l.cancel(errEndpointLeft)
	}
}

// closeWhenIdle takes no new streams; connections end with the last one they carry.
func (l *link) closeWhenIdle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if conns := l.conns.Load(); conns != nil {
		for _, c := range *conns {
			c.GoAway()
		}
	}
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if conns := l.conns.Load(); conns != nil {
		for _, c := range *conns {
			c.conn.Close()
		}
	}
}

// pool keeps connections to one address that is not behind a sidecar: an app, or an endpoint outside the mesh.
type pool struct {
	addr   netip.AddrPort
	policy poolPolicy
	dial   poolDialer
	users  int // endpoints, guarded by upstreams.mu
	// h2 carries HTTP/2 with prior knowledge (h2c) to apps that speak it.
	h2 *link

	buffers *h1.Buffers

	mu   sync.Mutex
	idle []*appConn // last in, first out: the rest can grow old and be closed
	over bool       // nothing is kept any more
}

// appConn is one HTTP/1.1 connection.
type appConn struct {
	*h1.Client
	conn  net.Conn
	since time.Time // when it went idle
	// carried counts exchanges.
	carried uint32
}

// poolDialer opens a connection; alpn is what it will carry where TLS is begun on it ("" for bytes).
type poolDialer func(ctx context.Context, alpn string) (net.Conn, error)

func newPool(u *upstreams, k poolKey) *pool {
	p := &pool{addr: k.addr, policy: k.policy, buffers: u.buffers}
	dial := u.plain
	if k.app {
		dial = u.app
	}
	p.dial = func(ctx context.Context, alpn string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, cmp.Or(k.policy.connect, connectTimeout))
		defer cancel()
		conn, err := dial(ctx, k.addr)
		if err != nil {
			return nil, err
		}
		return p.policy.tls.secure(ctx, conn, alpn)
	}
	p.h2 = &link{run: u.run, dial: func(ctx context.Context) (*meshConn, error) {
		conn, err := p.dial(ctx, "h2")
		if err != nil {
			return nil, err
		}
		return &meshConn{Client: h2.NewClient(conn, h2.Options{Pool: u.h2pool}), conn: conn}, nil
	}}
	return p
}

// maxIdle bounds the idle connections kept per address.
const maxIdle = 256

// origin says where a connection may come from.
type origin uint8

const (
	pooled origin = iota + 1 // an idle one, or a new one where there is none
	fresh                    // a new one
)

// get gives a connection.
func (p *pool) get(ctx context.Context, from origin) (*appConn, error) {
	if from == pooled {
		if c := p.reuse(); c != nil {
			return c, nil
		}
	}
	conn, err := p.dial(ctx, "http/1.1")
	if err != nil {
		return nil, err
	}
	return &appConn{Client: h1.NewClient(conn, h1.Options{Buffers: p.buffers}), conn: conn}, nil
}

// reuse gives an idle connection that its server has not closed meanwhile, nil where there is none.
func (p *pool) reuse() *appConn {
	for {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 {
			p.mu.Unlock()
			return nil
		}
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		if !c.Stale() {
			return c
		}
		c.Close()
	}
}

// put takes a connection back after its exchange was closed.
func (p *pool) put(c *appConn) {
	c.carried++
	if !c.Reusable() || p.policy.perConn > 0 && c.carried >= p.policy.perConn {
		c.conn.Close()
		return
	}
	c.since = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || len(p.idle) >= maxIdle {
		c.conn.Close()
		return
	}
	p.idle = append(p.idle, c)
}

// close lets go of every idle connection; those in use follow when they are put back.
func (p *pool) close() {
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	p.closeIdle(time.Now(), -time.Hour)
	p.h2.closeWhenIdle()
}

func (p *pool) closeIdle(now time.Time, after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.idle[:0]
	for _, c := range p.idle {
		if c.since.Before(now.Add(-after)) {
			c.conn.Close()
			continue
		}
		kept = append(kept, c)
	}
	clear(p.idle[len(kept):])
	p.idle = kept
	p.h2.closeIdle(now, after)
}

// isEmpty reports whether the pool keeps no connection.
func (p *pool) isEmpty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := p.h2.conns.Load()
	return len(p.idle) == 0 && (conns == nil || len(*conns) == 0)
}

// openHTTP2 starts a stream to an app that speaks HTTP/2 with prior knowledge.
func (p *pool) openHTTP2(ctx context.Context, timeout time.Duration) (httpx.ClientExchange, error) {
	return p.h2.open(ctx, timeout)
}
