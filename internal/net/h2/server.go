package h2

import (
	"context"
	"net"
	"runtime"
	"strings"
	"sync"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// Server is the end of a connection that answers requests.
type Server struct {
	conn     conn
	workers  *Workers
	private  *Workers // workers, where they are of this server alone
	handlers sync.WaitGroup
	// batch are streams whose handlers start once everything that has arrived was read. Owned by the reading
	// goroutine.
	batch []*ServerStream
	// arrived are the owners of detached streams for which something has come in the last read. Owned by the reading goroutine.
	arrived []Arrivals
	// started counts handlers. Owned by the reading goroutine.
	started int
}

// startsPerTurn is how many handlers a connection starts before others come first: the work of a thousand requests that
// come at once must not stand between another client's request and the processor.
const startsPerTurn = 8

// NewServer makes a server on a connection that nothing else uses any more; the client's preface comes next on it.
func NewServer(nc net.Conn, o Options) *Server {
	sv := &Server{workers: o.Workers}
	if sv.workers == nil {
		sv.private = NewWorkers(0)
		sv.workers = sv.private
	}
	sv.conn.server = sv
	sv.conn.init(nc, o.withDefaults())
	sv.conn.greet()
	return sv
}

// Serve carries the connection until it ends and every handler has returned. For the result see Client.Run.
func (sv *Server) Serve(ctx context.Context) error {
	return sv.leave(sv.conn.run(ctx))
}

// leave waits for handlers.
func (sv *Server) leave(err error) error {
	sv.handlers.Wait()
	if sv.private != nil {
		sv.private.Close()
	}
	return err
}

// Active is the number of handlers running.
func (sv *Server) Active() int {
	sv.conn.mu.Lock()
	defer sv.conn.mu.Unlock()
	return sv.conn.streams.active
}

// PeerMetadata is the metadata the client sent, nil for none. It is there before the first stream is.
func (sv *Server) PeerMetadata() []byte { return sv.conn.settings.peerMetadata() }

// Shutdown ends the connection without losing a request, in the two steps of RFC 9113 §6.8: announce, take what the
// client has sent before it knew, finish that, close. It returns ctx's error where that takes too long; Serve's ctx
// ends the connection then.
func (sv *Server) Shutdown(ctx context.Context) error {
	c := &sv.conn
	c.mu.Lock()
	if !c.ending.announced && c.err == nil {
		c.ending.announce(maxStreamID, CodeNo, "")
	}
	c.ending.draining = true
	idle := c.ending.whenIdle()
	c.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// newStream reads the head of a request and gives the stream to a handler.
func (sv *Server) newStream(h frameHeader, block []byte) error {
	c := &sv.conn
	c.streams.past.opened(h.id, c.streams.highest)
	c.streams.highest = h.id
	s, ok := c.pool.serverStreams.Get().(*ServerStream)
	if !ok {
		s = new(ServerStream)
	}
	s.begin(c)
	s.request.Reset()
	c.heads.head.reset(sectionRequest, &s.request.Fields)
	if err := c.heads.dec.decode(block, &c.heads.head); err != nil {
		return err
	}
	rule := c.heads.head.request(&s.request)
	taken, err := sv.admit(s, h, rule)
	if !taken {
		c.pool.serverStreams.Put(s)
		return err
	}
	sv.handlers.Add(1)
	sv.batch = append(sv.batch, s)
	return err
}

// startBatch starts the handlers of the streams that arrived in the last read. One that has been reset by what came
// behind its head is dropped, and with err, the end of the connection, all are.
func (sv *Server) startBatch(err error) {
	for i, s := range sv.batch {
		sv.batch[i] = nil
		if err == nil && !s.lost() {
			sv.workers.run(s)
			sv.started++
			if sv.started%startsPerTurn == 0 {
				runtime.Gosched()
			}
			continue
		}
		s.finish(CodeCancel)
	}
	sv.batch = sv.batch[:0]
}

// admit opens the stream, or says why not to the client.
func (sv *Server) admit(s *ServerStream, h frameHeader, rule string) (bool, error) {
	c := &sv.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if declined, err := sv.declines(h, rule); declined {
		if !h.has(flagEndStream) {
			c.costs.strays += c.settings.recvStart // it hears of it when it has sent that much
		}
		return false, err
	}
	s.open(h.id)
	c.streams.accepted = h.id
	c.streams.active++
	s.recvHead = true
	r := &s.request
	s.headRequest = string(r.Method) == "HEAD"
	s.tunnel = r.Upgrade != nil || string(r.Method) == "CONNECT"
	s.declared = r.ContentLength
	s.awaits = r.ExpectContinue && !h.has(flagEndStream)
	if h.has(flagEndStream) {
		if r.ContentLength < 0 {
			r.ContentLength = 0
		}
		r.ExpectContinue = false // there is no body to wait with
		return true, c.streams.ended(&s.stream)
	}
	return true, nil
}

// declines refuses a stream that is not to be opened, and says so to the client. rule is what its head breaks. Where it does
// not, the stream has its place in the peer's quota. mu is held.
func (sv *Server) declines(h frameHeader, rule string) (bool, error) {
	c := &sv.conn
	limit := c.opts.MaxConcurrentStreams
	switch {
	case c.costs.refusing || c.ending.final: // beyond our last GOAWAY; the client knows, or is about to hear
		return true, c.charge(1)
	case c.streams.n >= limit || c.streams.active >= 2*limit: // cancelled streams count until their handlers are done
		c.out.reset(h.id, CodeRefusedStream)
		return true, c.charge(1)
	case c.heads.head.tooLarge:
		sv.answerTooLarge(h)
		return true, c.charge(1 + c.heads.head.size/c.heads.head.limit)
	case rule != "":
		c.out.reset(h.id, CodeProtocol)
		return true, c.charge(1)
	case !c.opts.Quota.take(): // taken by the peer's other connections, too
		c.out.reset(h.id, CodeRefusedStream)
		return true, c.costs.spend("streams beyond those that run for the peer")
	}
	return false, nil
}

// answerTooLarge answers on behalf of the handler, which could not be shown the request: 431 (RFC 6585 §5), or
// RESOURCE_EXHAUSTED to gRPC.
func (sv *Server) answerTooLarge(h frameHeader) {
	c := &sv.conn
	out := c.out.control()
	at := len(out.b)
	out.b = appendFrameHeader(out.b, frameHeader{typ: frameHeaders, flags: flagEndHeaders | flagEndStream, id: h.id})
	out.b = c.out.enc.begin(out.b)
	if c.heads.head.grpc {
		out.b = c.out.enc.status(out.b, 200)
		out.b = c.out.enc.field(out.b, []byte("content-type"), []byte("application/grpc"))
		out.b = c.out.enc.field(out.b, []byte("grpc-status"), []byte("8"))
		out.b = c.out.enc.field(out.b, []byte("grpc-message"), []byte("request header fields too large: "+strings.TrimPrefix(headTooLarge(c.heads.head.size, c.heads.head.limit).Error(), "h2: ")))
	} else {
		out.b = c.out.enc.status(out.b, 431)
	}
	putFrameLength(out.b[at:], len(out.b)-at-frameHeaderLen)
	if !h.has(flagEndStream) {
		out.b = appendReset(out.b, h.id, CodeNo)
	}
}

// ServerStream is one request of the peer and our response. It implements httpx.ServerExchange.
type ServerStream struct {
	stream
	request httpx.Request
	// awaits says that the client may hold the body back until it is told to go on. Guarded by conn.mu.
	awaits bool
}

var (
	_ httpx.ServerExchange = (*ServerStream)(nil)
	_ httpx.Watched        = (*ServerStream)(nil)
	_ httpx.Stoppable      = (*ServerStream)(nil)
)

// Request is the head of the request.
func (s *ServerStream) Request() *httpx.Request { return &s.request }

// PeerMetadata is the metadata of the connection's client.
func (s *ServerStream) PeerMetadata() []byte { return s.c.settings.peerMetadata() }

// SendAway has the client make another connection for its next requests. Those under way are served, and those that it sends before it has
// heard of it; the connection ends with the last of them.
func (s *ServerStream) SendAway() {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending.announced && c.err == nil {
		c.ending.announce(maxStreamID, CodeNo, "")
	}
}

// Watch implements httpx.Watched. w is called with the connection's lock held.
func (s *ServerStream) Watch(w httpx.Watcher, turn uint64) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.watcher, s.turn = w, turn
	if s.closed && !s.sentEnd {
		w.Gone(turn, s.werr) // it went before the handler looked
	}
}

// StopReading implements httpx.Stoppable.
func (s *ServerStream) StopReading(reason error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.rerr == nil && !s.recvEnd {
		s.rerr = reason
		s.wakeReader()
	}
}

// Respond writes a response head. 101 answers a request with Upgrade, and travels as 200 (RFC 8441 §5).
func (s *ServerStream) Respond(r *httpx.Response) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.out.buffered() >= hardLimit && s.werr == nil {
		s.waitForRoom()
	}
	switch {
	case s.werr != nil:
		c.out.wakeNext()
		return s.werr
	case s.sentHead || r.Status < 100 || r.Status > 999 || r.Status == 101 && s.request.Upgrade == nil:
		return errMisuse
	case listSize(&r.Fields)+2*entryOverhead+64 > int(c.settings.maxHeaderList):
		return headTooLarge(listSize(&r.Fields)+2*entryOverhead+64, int(c.settings.maxHeaderList))
	}
	status, length := r.Status, int64(-1)
	ignored := s.request.Upgrade != nil && status >= 200 && status < 300
	if ignored && c.settings.meta == nil {
		return ErrUpgradeIgnored
	}
	switch {
	case status == 101:
		status = 200
		s.sentHead = true
	case status >= 200:
		length = s.final(r, ignored)
	case status == 100:
		s.awaits = false
	}
	out, at := c.out.beginBlock(&s.stream)
	out.b = c.out.enc.response(out.b, status, r, length)
	if ignored {
		out.b = c.out.enc.field(out.b, []byte(plainSuccess), []byte("1"))
	}
	c.out.finishBlock(&s.stream, at, 0)
	if !s.sentHead {
		s.lastGen = 0 // an interim head cannot carry END_STREAM
		c.out.flush()
	}
	return nil
}

// final notes what a final head means for the stream and returns the content-length to send, negative for none.
func (s *ServerStream) final(r *httpx.Response, ignored bool) int64 { //nolint:revive // ignored is a fact, not a switch
	s.sentHead = true
	if s.tunnel && r.Status < 300 && !ignored {
		return -1
	}
	s.tunnel = false
	if s.awaits && r.Status >= 300 && s.arrived == 0 && !s.recvEnd && s.rerr == nil {
		s.rerr = httpx.ErrNotContinued // a client that waited sends nothing after a refusal or a redirect
		s.wakeReader()
	}
	s.bodyless = s.headRequest || r.Status == 204 || r.Status == 304
	if !s.bodyless {
		s.promised = r.ContentLength
		return r.ContentLength
	}
	if r.Status == 204 {
		return -1
	}
	return r.ContentLength
}

// serve runs the handler and cleans up behind it. A stream that was reset before its turn came has none: over TLS each
// record is a read of its own, so that a reset is mostly in the one behind that of the head.
func (s *ServerStream) serve() {
	if s.lost() {
		s.finish(CodeCancel)
		return
	}
	if begin := s.c.opts.Begin; begin != nil {
		if begin(s) {
			return // it is its owner's, or has been already
		}
	} else {
		s.c.opts.Handler(s)
	}
	s.finish(CodeInternal)
}

// lost tells whether the peer has given the stream up already.
func (s *ServerStream) lost() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.closed && !s.sentEnd
}

// finish gives the stream up; one that has not ended is reset with code.
func (s *ServerStream) finish(code Code) {
	c := s.c
	c.mu.Lock()
	if s.sentEnd {
		code = CodeNo // RFC 9113 §8.1: the rest of the request is not needed
	}
	s.retire(code)
	c.mu.Unlock()
	c.opts.Quota.give()
	s.c = nil
	c.pool.serverStreams.Put(s)
	c.server.handlers.Done()
}
