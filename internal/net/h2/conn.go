package h2

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// conn is what both ends of a connection have in common: its life, and its parts. A part has its own fields and the methods
// that work on them; it lies in the connection by value and knows it, for the parts share one lock.
type conn struct {
	// Fixed after construction.
	nc     net.Conn
	opts   Options
	pool   *Pool
	server *Server // nil for a client

	// Owned by the reading goroutine.
	in    reader // frames
	heads heads  // header blocks

	// wg counts every goroutine started but handlers.
	wg sync.WaitGroup
	// unfollow takes follow back; set by it.
	unfollow func() bool

	mu sync.Mutex
	// All below is guarded by mu.
	err      error    // why the connection ended, nil while it lives
	out      output   // what is to be written, and who writes it
	inflow   inflow   // what the peer may send
	streams  streams  // those that are open, and what is remembered of others
	settings settings // what the ends have told each other
	costs    costs    // what the peer has cost
	life     liveness // whether the peer is there
	quiet    silence  // whether it may not be (client)
	ending   ending   // how the connection ends in order
}

func (c *conn) init(nc net.Conn, o Options) {
	c.nc, c.opts, c.pool = nc, o, o.Pool
	c.in.init(c)
	c.heads.init(c)
	c.out.init(c)
	c.life.c, c.quiet.c, c.ending.c = c, c, c
	c.costs = newCosts(o.Abused)
	c.settings.init(c)
	c.inflow = newInflow(o.Pool.Budget, &c.out, o.ConnWindow)
	c.streams.init(c)
	o.Pool.Budget.enter(c)
}

// greet puts the connection's first frames into the buffer. Nothing is written before run: it is the first flusher.
func (c *conn) greet() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.flushing = true
	out := c.out.buffer()
	b := out.b
	if c.server == nil {
		b = append(b, preface...)
	}
	at := len(b)
	b = appendFrameHeader(b, frameHeader{typ: frameSettings})
	if c.server == nil {
		b = appendSetting(b, settingEnablePush, 0)
	} else {
		b = appendSetting(b, settingMaxStreams, uint32(c.opts.MaxConcurrentStreams))
		b = appendSetting(b, settingExtendedConnect, 1)
	}
	b = appendSetting(b, settingInitialWindow, uint32(c.settings.streamStart()))
	b = appendSetting(b, settingMaxFrame, uint32(c.opts.MaxFrame))
	b = appendSetting(b, settingMaxHeaderList, uint32(c.opts.MaxHeaderList))
	putFrameLength(b[at:], len(b)-at-frameHeaderLen)
	if len(c.opts.Metadata) > 0 {
		b = appendFrameHeader(b, frameHeader{length: len(c.opts.Metadata), typ: frameMetadata})
		b = append(b, c.opts.Metadata...)
	}
	out.b = b
}

// run is the life of a connection: it greets, reads until something ends it, and joins what was started.
func (c *conn) run(ctx context.Context) error {
	c.follow(ctx)
	err := c.shake(ctx)
	if err == nil {
		err = c.in.readLoop()
	}
	return c.join(err)
}

// follow has the connection end with ctx.
func (c *conn) follow(ctx context.Context) {
	c.wg.Add(1)
	c.unfollow = context.AfterFunc(ctx, func() {
		c.mu.Lock()
		c.fail(ctx.Err())
		c.out.dead = true
		c.mu.Unlock()
		c.nc.Close()
		c.wg.Done()
	})
}

// join ends a connection whose reading has ended, and returns when everything has.
func (c *conn) join(err error) error {
	c.finish(err)
	if c.unfollow() {
		c.wg.Done()
	}
	c.wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(c.err, io.EOF) || errors.Is(c.err, errDrained) {
		return nil
	}
	return c.err
}

// shake shakes hands, and writes what has been buffered so far.
func (c *conn) shake(ctx context.Context) error {
	var err error
	// Not left to the first Write: it may be corked.
	if t, ok := c.nc.(interface {
		HandshakeContext(ctx context.Context) error
	}); ok {
		err = t.HandshakeContext(ctx)
	}
	c.mu.Lock()
	if err != nil {
		c.fail(err)
		c.out.dead = true
	} else if c.opts.PingAfter > 0 {
		c.life.start()
	}
	c.out.drain()
	c.mu.Unlock()
	return err
}

// finish ends the connection because reading did: streams fail, the peer is told, the socket is closed.
func (c *conn) finish(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail(err)
	var ce *ConnError
	if errors.As(c.err, &ce) && !ce.Remote {
		if ce.Code == CodeEnhanceYourCalm || ce.Code == CodeFlowControl {
			c.costs.tell()
		}
		if !c.out.dead {
			c.sayGoodbye(ce)
		}
	}
	c.out.dead = true
	c.life.stop()
	c.quiet.stop()
	c.mu.Unlock()
	c.nc.Close()
	c.mu.Lock()
	for c.out.flushing { // no writer may be touching the socket when Run returns
		c.out.flushed.Wait()
	}
	c.out.drop()
	c.in.release(c.pool)
	c.inflow.reset()
	c.pool.Budget.leave(c)
}

// sayGoodbye sends GOAWAY with the error, giving a peer that does not read one second.
func (c *conn) sayGoodbye(ce *ConnError) {
	out := c.out.buffer()
	last := c.streams.accepted
	out.b = appendGoAway(out.b, last, ce.Code, ce.Detail)
	if err := c.nc.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return
	}
	c.out.flushAndWait()
}

// fail records why the connection ended and fails every stream. Only the first reason counts. mu is held.
func (c *conn) fail(err error) {
	if c.err != nil {
		return
	}
	var remote *ConnError
	if errors.Is(err, io.EOF) && errors.As(c.ending.goAway, &remote) {
		err = c.ending.goAway
	}
	c.err = err
	c.ending.draining = true
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // a good end for the connection is none for a stream on it
	}
	c.streams.each(func(s *stream) {
		var cause error = &closedError{err}
		if s.headInBuffer() {
			cause = unsent(cause)
		}
		c.streams.lose(s, cause)
	})
	if c.server == nil {
		c.out.drop() // what streams were told was not sent must not be sent by the farewell
	}
	for s := c.out.waiting.head; s != nil; s = c.out.waiting.head { // streams not opened yet
		s.wakeBoth()
	}
	c.settings.settled.Broadcast()
	c.ending.check()
}
