package upstream

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/net/h2"
)

// link keeps HTTP/2 connections to one place: one, and more only while every one has as many streams as the peer
// allows.
type link struct {
	dial func(context.Context) (*meshConn, error)
	run  func(func(context.Context))
	// most bounds the connections, 0 is for maxLinkConns. Those older than oldest take no more streams; 0 is for none.
	most   int
	oldest time.Duration
	// doubt is called when isSilent may have changed; nil where nobody asks.
	doubt func()

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
	slow bool // nothing has come of it for a while; guarded by link.mu
}

// maxLinkConns bounds the connections of a link; a peer that allows 100 streams a connection still takes 1600.
const maxLinkConns = 16

// linkConns is how many connections a link may have where each carries so many streams at most, 0 for as many as its peer
// takes: so many that the setting does not bound how much is under way.
func linkConns(streams uint32) int {
	if streams == 0 {
		return 0
	}
	return max(maxLinkConns, maxLinkStreams/int(streams))
}

// maxLinkStreams is what a link with connections of few streams carries at least.
const maxLinkStreams = 2048

// open starts a stream, dialling where there is no connection that takes one. timeout bounds the dial.
func (l *link) open(ctx context.Context, timeout time.Duration) (*h2.Stream, error) {
	if s := l.tryOpen(); s != nil {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for range max(l.most, maxLinkConns) {
		if s := l.tryOpen(); s != nil {
			return s, nil
		}
		if err := l.connect(ctx); err != nil {
			return nil, err
		}
	}
	return nil, errBusy
}

// ErrLeft means that discovery took the endpoint away before there was a connection to it.
var ErrLeft = errors.New("the endpoint has left")

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
		return ErrLeft
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
	watched := l.watchDial(d)
	if d.conn, d.err = l.dial(dialCtx); d.err == nil {
		d.conn.born = time.Now()
	}
	if d.err != nil && errors.Is(context.Cause(dialCtx), ErrLeft) {
		d.err = ErrLeft
	}
	l.mu.Lock()
	l.dialing, l.cancel = nil, nil
	late := d.err == nil && l.closed
	if late {
		d.err = ErrLeft
	}
	if d.err == nil {
		l.replace(func(conns []*meshConn) []*meshConn { return append(conns, d.conn) })
		l.used.Store(time.Now().UnixNano())
	}
	l.mu.Unlock()
	watched()
	close(d.done)
	if late {
		d.conn.conn.Close() // nothing was sent on it
	}
	if d.err != nil {
		return
	}
	d.conn.run(ctx)
	l.mu.Lock()
	l.replace(func(conns []*meshConn) []*meshConn { return without(conns, d.conn) })
	l.mu.Unlock()
	if l.doubt != nil {
		l.doubt()
	}
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
		seen := c.opened.Swap(opened)
		busy = busy || c.Active() > 0 || opened != seen
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

// abandon ends the dial under way.
func (l *link) abandon() {
	l.mu.Lock()
	cancel := l.cancel
	l.mu.Unlock()
	if cancel != nil {
		cancel(ErrLeft)
	}
}

// retire has the connections of now take no new streams; each ends with the last one it carries. Who comes later dials.
func (l *link) retire() {
	if conns := l.conns.Load(); conns != nil {
		for _, c := range *conns {
			c.GoAway()
		}
	}
}

// retireOld has connections that are too old take no new streams.
func (l *link) retireOld(now time.Time) {
	conns := l.conns.Load()
	if conns == nil {
		return
	}
	for _, c := range *conns {
		if now.Sub(c.born) >= l.oldest {
			c.GoAway()
		}
	}
}

// closeWhenIdle takes no new streams; connections end with the last one they carry.
func (l *link) closeWhenIdle() {
	for _, c := range l.shut() {
		c.GoAway()
	}
}

func (l *link) close() {
	for _, c := range l.shut() {
		c.conn.Close() // every stream on it reports the end
	}
}

// shut has the link take no more connections and gives those that it has.
func (l *link) shut() []*meshConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if conns := l.conns.Load(); conns != nil {
		return *conns
	}
	return nil
}

// isEmpty reports whether there is no connection.
func (l *link) isEmpty() bool {
	conns := l.conns.Load()
	return conns == nil || len(*conns) == 0
}
