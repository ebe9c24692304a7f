package h2

import (
	"context"
	"net"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// Client is the end of a connection that sends requests. Run must be running for anything to be received.
type Client struct{ conn conn }

// NewClient makes a client on a connection that nothing else uses any more. TLS must have agreed on "h2".
func NewClient(nc net.Conn, o Options) *Client {
	c := new(Client)
	c.conn.init(nc, o.withDefaults())
	c.conn.greet()
	return c
}

// Run carries the connection until it ends, and closes it. It returns nil where the peer closed it between frames or
// where it was drained, ctx's error where that is done, and otherwise what went wrong.
func (c *Client) Run(ctx context.Context) error { return c.conn.run(ctx) }

// Active is the number of streams in use.
func (c *Client) Active() int {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	return c.conn.streams.active
}

// Opened is how many streams have been opened so far.
func (c *Client) Opened() uint32 {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	return c.conn.streams.nextID / 2
}

// Closed tells whether Open can never succeed again.
func (c *Client) Closed() bool {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	return c.conn.err != nil || c.conn.ending.draining
}

// Silent reports whether a request and a PING were followed by nothing at all so far, see Options.DoubtAfter.
func (c *Client) Silent() bool { return c.conn.quiet.on.Load() }

// PeerMetadata is the metadata the peer sent, nil for none.
func (c *Client) PeerMetadata() []byte { return c.conn.settings.peerMetadata() }

// GoAway lets no further stream be opened; the connection closes when the last one ends.
func (c *Client) GoAway() {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	c.conn.ending.draining = true
	c.conn.ending.check()
}

// Shutdown is GoAway, and waits until the streams have ended. It returns ctx's error where they have not in time;
// the connection then is still open, and Run's ctx can end it.
func (c *Client) Shutdown(ctx context.Context) error {
	c.conn.mu.Lock()
	c.conn.ending.draining = true
	idle := c.conn.ending.whenIdle()
	c.conn.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Open reserves a stream. The error is [ErrClosed], [ErrGoAway] or [ErrTooManyStreams]; each of them also is
// [ErrUnsent]. The stream must be closed.
func (c *Client) Open() (*Stream, error) {
	cn := &c.conn
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if err := cn.ending.canOpen(); err != nil {
		return nil, err
	}
	if uint32(cn.streams.active) >= cn.settings.maxStreams {
		return nil, unsent(ErrTooManyStreams)
	}
	cn.streams.active++
	cn.life.hasten()
	s, ok := cn.pool.streams.Get().(*Stream)
	if !ok {
		s = new(Stream)
	}
	s.begin(cn)
	return s, nil
}

// Stream is one request of ours and its response. It implements httpx.ClientExchange.
type Stream struct{ stream }

var _ httpx.ClientExchange = (*Stream)(nil)

// Send writes the head of the request. Hop-by-hop fields are left out and names are written in lower case. A GET with
// Upgrade becomes extended CONNECT, [ErrNoExtendedConnect] where the peer does not take that. The head of a request that is known to have no
// body ends it: what another stream flushes before End must not look like a request with a body.
func (s *Stream) Send(r *httpx.Request) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.werr != nil {
		return s.werr
	}
	if s.sentHead {
		return errMisuse
	}
	for c.out.buffered() >= hardLimit && s.werr == nil && c.err == nil {
		s.waitForRoom()
	}
	if err := s.checkSend(r); err != nil {
		c.out.wakeNext()
		return err
	}
	s.open(c.streams.nextID)
	c.streams.nextID += 2
	s.sentHead = true
	s.setUp(r)
	out, at := c.out.beginBlock(&s.stream)
	s.headGen = c.out.generation
	out.b = c.out.enc.request(out.b, r)
	var flags uint8
	if s.promised == 0 && !r.ExpectContinue {
		flags, s.sentEnd, s.whole = flagEndStream, true, true
	}
	c.out.finishBlock(&s.stream, at, flags)
	c.life.probe()
	c.quiet.expect()
	return nil
}

// waitForRoom waits until the buffer has been written. mu is held.
func (s *stream) waitForRoom() {
	if !s.c.out.flushing {
		s.c.out.flush()
		return
	}
	s.waitsForRoom = true
	s.c.out.waiting.push(s)
	s.canWrite.Wait()
}

// setUp notes what the request means for the stream.
func (s *stream) setUp(r *httpx.Request) {
	s.headRequest = string(r.Method) == "HEAD"
	s.tunnel = isConnect(r) || upgrades(r)
	if upgrades(r) {
		s.protocol = append(s.protocol[:0], r.Upgrade...)
	}
	if !s.tunnel && r.ContentLength >= 0 {
		s.promised = r.ContentLength
	}
}

// checkSend says why the request cannot go out. mu is held.
func (s *Stream) checkSend(r *httpx.Request) error {
	c := s.c
	for upgrades(r) && !c.settings.known && c.err == nil && s.werr == nil {
		c.out.flush()
		c.settings.settled.Wait()
	}
	if s.werr != nil {
		return s.werr
	}
	if c.err != nil {
		return unsent(&closedError{c.err})
	}
	if c.ending.goAway != nil || c.streams.nextID > maxStreamID {
		return unsent(ErrGoAway)
	}
	if upgrades(r) && !c.settings.extendedConnect {
		return ErrNoExtendedConnect
	}
	pseudo := len(r.Method) + len(r.Scheme) + len(r.Authority) + len(r.Path) + len(r.Upgrade) + 6*entryOverhead + 48
	if size := listSize(&r.Fields) + pseudo; uint64(size) > uint64(c.settings.maxHeaderList) {
		return headTooLarge(size, int(c.settings.maxHeaderList))
	}
	return nil
}

// Receive waits for the next response head.
func (s *Stream) Receive(r *httpx.Response) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for s.waitingHeads == 0 {
		if s.rerr != nil {
			return s.rerr
		}
		if s.recvHead || !s.sentHead {
			return errMisuse // the server will not answer, or has answered
		}
		s.canRead.Wait()
	}
	s.waitingHeads--
	*r, s.heads[0] = s.heads[0], *r
	if s.waitingHeads > 0 {
		first := s.heads[0]
		copy(s.heads, s.heads[1:s.waitingHeads+1])
		s.heads[s.waitingHeads] = first
	}
	return nil
}

// Close gives the stream up. One that has not ended is cancelled.
func (s *Stream) Close() {
	c := s.c
	c.mu.Lock()
	s.retire(CodeCancel)
	pool := c.pool
	c.mu.Unlock()
	s.c = nil
	pool.streams.Put(s)
}
