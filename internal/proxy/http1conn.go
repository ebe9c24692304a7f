package proxy

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/proxy/call"
)

// parkAfter is how long a connection without a request keeps its goroutine, whose stack is two thirds of what it takes.
const parkAfter = 2 * time.Second

// http1Conn is a keep-alive connection until it ends. It is served by one goroutine at a time, and by none while it waits for
// long: nil stands for one that has ended.
type http1Conn struct {
	http1Service

	server *h1.Server
	guard  call.Guard // of the exchanges
	raw    syscall.RawConn
	leave  []func() // what is to be done when it has ended

	mu     sync.Mutex
	ending bool        // it has been told to end, and is not to wait without a goroutine; guarded by mu, as the next
	spot   *netio.Spot // where it waits, or waited last
}

// serve handles the requests of a keep-alive connection until it ends, or has waited for so long for the next one that it is to be
// parked. When draining or ended is given, the request at hand is the last one, or the next one where it comes soon; once notice
// is, the first one that is answered is, and an idle connection waits for that until ended. The codec
// gets the socket itself, whose first bytes were looked at, because it knows how to wait on one without holding a buffer.
func (h *http1Service) serve(ctx context.Context, client *netio.PeekConn) *http1Conn {
	c := &http1Conn{http1Service: *h}
	o := h1.Options{
		Buffers: h.buffers, Prefix: client.Prefix(), Draining: h.draining.Given(), Ended: h.notice.Given(),
		IdleTimeout: h.limits.idle(), MaxHeadBytes: h.limits.head(),
	}
	if s, ok := client.NetConn().(interface{ Unbuffered() syscall.RawConn }); ok && h.lot != nil {
		c.raw, o.Patience = s.Unbuffered(), h.lot.After
	}
	c.server = h1.NewServer(client.NetConn(), o)
	client.Release()
	stop := ending{h.draining, h.ended}.then(ctx, func(ctx context.Context) {
		if !h.draining.IsGiven() || call.Pause(ctx, h.idles) {
			c.server.Shutdown()
			c.wake()
		}
	})
	left := h.clients.Enter(netio.Bottom(client), &c.guard)
	// Closing the connection when ctx ends wakes neither a handler that waits for its upstream nor what is parked.
	cut := context.AfterFunc(ctx, func() {
		c.guard.End(context.Cause(ctx))
		c.wake()
	})
	c.leave = append(make([]func(), 0, 4), func() {
		cut()
		left()
		c.guard.Rest()
		stop()
		c.server.Close()
	})
	return c.run()
}

// run handles requests until the connection has ended, or nothing has come for so long that it should be parked.
func (c *http1Conn) run() *http1Conn {
	for {
		ex, err := c.server.Next()
		if errors.Is(err, h1.ErrQuiet) {
			return c
		}
		if err != nil {
			c.refuse(err)
			for _, leave := range c.leave {
				leave()
			}
			return nil
		}
		r := c.lend(&c.guard)
		c.handle(r, ex)
		c.back(r)
	}
}

// finally has leave called when the connection has ended, behind what it itself has to do then: at once where it has.
func (c *http1Conn) finally(leave func()) *http1Conn {
	if c == nil {
		leave()
		return nil
	}
	c.leave = append(c.leave, leave)
	return c
}

// follow serves the connection for as long as there is something to do, and leaves it to the lot when it waits.
func (c *http1Conn) follow() {
	for c != nil && !c.park() {
		c = c.run()
	}
}

// park has the connection go on in another goroutine when there is something to do. It reports false where it has to wait in
// this one.
func (c *http1Conn) park() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return false
	}
	c.spot = c.lot.Park(c.raw, c.server.IdleUntil(), c.resume)
	return c.spot != nil
}

func (c *http1Conn) resume() { c.run().follow() }

// wake has a connection that is to end go on.
func (c *http1Conn) wake() {
	c.mu.Lock()
	c.ending = true
	spot := c.spot
	c.mu.Unlock()
	if spot != nil {
		spot.Wake()
	}
}
