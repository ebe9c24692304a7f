package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/net/netio"
)

// pageConnections is how many connections the pages that are open to every client may have, all their ports together. The
// kubelet and a handful of scrapers need about ten.
const pageConnections = 100

// pageRoom bounds the connections of the pages. They do not count against the limit of what clients of the app have open,
// so that neither takes the other's room. Whoever comes is let in, the kubelet with its probes cannot be told from others
// before it has asked: where there is no room another connection goes instead (least).
type pageRoom struct {
	most    int
	refused func(context.Context, net.Conn)

	mu   sync.Mutex
	open map[*pageConn]struct{} // guarded by mu
	held map[netip.Addr]int     // guarded by mu; how many of open are of an address
}

func newPageRoom(most int, refused func(context.Context, net.Conn)) *pageRoom {
	return &pageRoom{most: most, refused: refused, open: make(map[*pageConn]struct{}, most), held: make(map[netip.Addr]int)}
}

// pageUse is what a connection to a page is doing, the least worth first.
type pageUse uint8

const (
	pageAwaits pageUse = iota // a whole request
	pageTells                 // being answered, with metrics for instance
	pageProbes                // being answered, a probe
)

// pageConn is a connection to a page.
type pageConn struct {
	net.Conn
	room  *pageRoom
	from  netip.Addr
	leave func()
	use   pageUse   // guarded by room.mu
	since time.Time // guarded by room.mu; of use
}

// NetConn gives the connection inside.
func (c *pageConn) NetConn() net.Conn { return c.Conn }

// Close implements net.Conn.
func (c *pageConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// enter takes a connection in.
func (r *pageRoom) enter(ctx context.Context, conn net.Conn) *pageConn {
	c := &pageConn{Conn: conn, room: r, since: time.Now()}
	if at, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		c.from = at.AddrPort().Addr().Unmap()
	}
	c.leave = sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.remove(c)
	})
	r.mu.Lock()
	var least *pageConn
	if len(r.open) >= r.most {
		least = r.least()
		r.remove(least)
	}
	r.open[c] = struct{}{}
	r.held[c.from]++
	r.mu.Unlock()
	if least != nil {
		r.refused(ctx, least)
		netio.Reset(least)
	}
	return c
}

// least is the connection that goes for another one: of the address that has the most, so that a crowd takes the room of
// its own; there one that is not being answered before one that reads a page, and that before a probe; the oldest of
// those. Where the crowd comes from the kubelet's own address, its probes still outlive what only waits or reads.
func (r *pageRoom) least() *pageConn {
	var least *pageConn
	var most int // that the address of least has
	for c := range r.open {
		switch n := r.held[c.from]; {
		case n > most:
			least, most = c, n
		case n < most:
		case c.use < least.use, c.use == least.use && c.since.Before(least.since):
			least = c
		}
	}
	return least
}

// remove takes a connection out, with r.mu held. It may be out already.
func (r *pageRoom) remove(c *pageConn) {
	if _, in := r.open[c]; !in {
		return
	}
	delete(r.open, c)
	r.held[c.from]--
	if r.held[c.from] == 0 {
		delete(r.held, c.from)
	}
}

// turn notes what a connection is doing from now on.
func (c *pageConn) turn(use pageUse) {
	c.room.mu.Lock()
	defer c.room.mu.Unlock()
	c.use, c.since = use, time.Now()
}

// roomy takes connections into a room as they are accepted.
type roomy struct {
	net.Listener
	ctx  context.Context //nolint:containedctx // of the server that accepts
	room *pageRoom
}

// Accept implements net.Listener.
func (l *roomy) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.room.enter(l.ctx, conn), nil
}

// pageKey is where a request's context has its connection.
type pageKey struct{}

// serve answers what comes to l until ctx ends.
func (r *pageRoom) serve(l net.Listener, h http.Handler) func(context.Context) error {
	noted := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if c, ok := req.Context().Value(pageKey{}).(*pageConn); ok {
			use := pageTells
			if admin.IsProbe(req.URL.Path) {
				use = pageProbes
			}
			c.turn(use)
			defer c.turn(pageAwaits)
		}
		h.ServeHTTP(w, req)
	})
	return func(ctx context.Context) error {
		s := newPageServer(noted)
		s.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, pageKey{}, c) }
		return serveHTTP(ctx, s, &roomy{l, ctx, r})
	}
}

func newPageServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
}

// pageServer answers what comes to l until ctx ends, for clients of the pod itself.
func pageServer(l net.Listener, h http.Handler) func(context.Context) error {
	return func(ctx context.Context) error { return serveHTTP(ctx, newPageServer(h), l) }
}

// serveHTTP runs a small server until ctx ends.
func serveHTTP(ctx context.Context, s *http.Server, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { s.Close() }) //nolint:errcheck // it has nothing to report
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
