package h2

import (
	"errors"
	"io"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// stream is what both ends of a stream have in common. Everything in it is guarded by conn.mu, except that the
// goroutine that reads owns what Receive and Trailers have handed out.
type stream struct {
	c     *conn
	chain *stream // in table
	id    uint32  // 0 before the request is sent

	// Receiving.
	canRead     sync.Cond
	queue       queue
	recvWindow  int64
	recvCredit  int64 // read, not yet given back
	window      window
	behind      time.Time // since when, or when last read, the queue has been longer than shedQueue
	arrived     int64     // bytes of body
	declared    int64     // by content-length, -1 for unknown
	recvHead    bool      // the final head has come
	recvEnd     bool
	hasTrailers bool
	trailers    httpx.Fields
	rerr        error // where reading ends instead of io.EOF

	// heads[:waitingHeads] are response heads not yet received by the caller.
	heads        []httpx.Response
	waitingHeads int

	// Sending.
	canWrite     sync.Cond
	nextWaiting  *stream
	inList       bool
	waitsForRoom bool // for the buffer only
	sendWindow   int64
	written      int64
	promised     int64 // content-length sent, -1 for none
	sentHead     bool
	sentEnd      bool
	whole        bool // sentEnd with the head, and End was not called yet
	bodyless     bool // what is written is dropped: HEAD, 204, 304
	werr         error
	// The last frame of this stream in the write buffer of that generation, to be extended or ended in place.
	lastGen, headGen uint32
	lastAt           int

	// watcher is told with turn when the peer gives the stream up.
	watcher httpx.Watcher
	turn    uint64
	// arrivals is told when something comes; nil where a goroutine reads.
	arrivals Arrivals

	closed      bool // the connection has forgotten the stream
	aborted     bool
	tunnel      bool // CONNECT
	headRequest bool
	protocol    []byte // of extended CONNECT
}

// begin readies a pooled stream for its next life on c.
func (s *stream) begin(c *conn) {
	*s = stream{c: c, heads: s.heads[:0], trailers: s.trailers, protocol: s.protocol[:0], declared: -1, promised: -1}
	s.trailers.Reset()
	s.canRead.L, s.canWrite.L = &c.mu, &c.mu
}

// open gives the stream its number and its windows. mu is held.
func (s *stream) open(id uint32) {
	s.id = id
	s.sendWindow = s.c.settings.initialWindow
	s.recvWindow = s.c.settings.recvStart
	s.window.size = s.c.settings.streamStart()
	s.c.streams.put(s)
}

func (s *stream) wakeReader() { s.canRead.Signal() }

// wakeWriter wakes a writer that waits for the stream's own window. mu is held.
func (s *stream) wakeWriter() {
	if !s.inList {
		s.canWrite.Signal()
	}
}

// wakeBoth wakes reader and writer, because the stream has ended. mu is held.
func (s *stream) wakeBoth() {
	s.c.out.waiting.remove(s)
	s.canRead.Broadcast()
	s.canWrite.Broadcast()
	s.c.settings.settled.Broadcast()
}

// headInBuffer tells whether the request's head has not even reached the socket. mu is held.
func (s *stream) headInBuffer() bool {
	return s.c.server == nil && s.c.out.pending != nil && s.headGen == s.c.out.generation
}

// pushHead queues a copy-free copy of r: the memory is swapped. mu is held.
func (s *stream) pushHead(r *httpx.Response) {
	if s.waitingHeads == len(s.heads) {
		if len(s.heads) < cap(s.heads) {
			s.heads = s.heads[:len(s.heads)+1]
		} else {
			s.heads = append(s.heads, httpx.Response{})
		}
	}
	s.heads[s.waitingHeads], *r = *r, s.heads[s.waitingHeads]
	s.waitingHeads++
	s.wakeReader()
}

// Read reads the body. What has arrived before the peer broke the stream off is still handed out.
func (s *stream) Read(p []byte) (int, error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for s.queue.n == 0 {
		if s.rerr != nil {
			return 0, s.rerr
		}
		if s.recvEnd {
			return 0, io.EOF
		}
		if len(p) == 0 {
			return 0, nil
		}
		s.canRead.Wait()
	}
	n := c.streams.read(s, p)
	if c.out.urgent {
		c.out.flush()
	}
	return n, nil
}

// Ready reports whether Read returns at once.
func (s *stream) Ready() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.queue.n > 0 || s.recvEnd || s.rerr != nil
}

// Trailers gives the fields after the body, nil before Read returned io.EOF and where there were none.
func (s *stream) Trailers() *httpx.Fields {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.hasTrailers && s.queue.n == 0 {
		return &s.trailers
	}
	return nil
}

// Write appends to the connection's buffer, and waits where the peer's windows or the socket do not keep up.
func (s *stream) Write(p []byte) (int, error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	total := len(p)
	for len(p) > 0 {
		if err := s.checkWrite(len(p)); err != nil {
			c.out.wakeNext() // we may have been woken for something we do not use
			return total - len(p), err
		}
		if s.bodyless {
			return total, nil
		}
		n := min(len(p), int(min(s.sendWindow, c.out.window)), highWater-c.out.buffered())
		if n <= 0 {
			s.wait()
			continue
		}
		c.out.appendData(s, p[:n])
		p = p[n:]
	}
	if c.out.buffered() >= highWater {
		c.out.flush()
	}
	c.out.wakeNext()
	return total, nil
}

func (s *stream) checkWrite(n int) error {
	switch {
	case s.werr != nil:
		return s.werr
	case !s.sentHead || s.sentEnd:
		return errMisuse
	case s.promised >= 0 && s.written+int64(n) > s.promised && !s.bodyless:
		return ErrBodyLength
	}
	return nil
}

// wait flushes, and if that does not help waits for whatever is missing. mu is held.
func (s *stream) wait() {
	c := s.c
	if c.out.pending != nil && !c.out.flushing {
		c.out.flush()
		return
	}
	if s.sendWindow > 0 {
		s.waitsForRoom = c.out.window > 0
		c.out.waiting.push(s)
	} else {
		c.out.wakeNext() // what we were woken for is of no use to us
	}
	s.canWrite.Wait()
}

// mark remembers that the stream's last frame begins here.
func (s *stream) mark(out *buffer) {
	s.lastGen, s.lastAt = s.c.out.generation, len(out.b)
}

// Flush sends what is buffered, of this stream and of all others.
func (s *stream) Flush() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.werr != nil {
		return s.werr
	}
	if s.c.out.pending != nil {
		s.credit(along)
		s.c.inflow.credit(along)
	}
	s.c.out.flush()
	return nil
}

// End finishes the message. A body shorter than declared is broken off, so that it cannot look complete. Trailers that are
// more than the peer takes are dropped from a request; of a response, nothing is ended and the error is [ErrHeadTooLarge],
// for they may be all that says how it went.
func (s *stream) End(trailers *httpx.Fields) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case s.werr != nil:
		return s.werr
	case s.whole:
		s.whole = false
		c.inflow.credit(along)
		c.out.flush()
		return nil
	case !s.sentHead || s.sentEnd:
		return errMisuse
	case s.promised >= 0 && s.written != s.promised && !s.bodyless:
		c.streams.reset(s, CodeInternal, ErrBodyLength)
		c.out.flush()
		return ErrBodyLength
	case c.server != nil && trailers != nil && listSize(trailers) > int(c.settings.maxHeaderList):
		return headTooLarge(listSize(trailers), int(c.settings.maxHeaderList))
	}
	s.appendEnd(trailers)
	s.sentEnd = true
	c.streams.checkDone(s)
	c.inflow.credit(along)
	c.out.flush()
	return nil
}

// appendEnd puts END_STREAM on the stream's last frame if that is still here, on trailers, or on an empty frame.
func (s *stream) appendEnd(trailers *httpx.Fields) {
	c := s.c
	out := c.out.buffer()
	switch {
	case trailers != nil && trailers.Len() > 0 && !s.tunnel && listSize(trailers) <= int(c.settings.maxHeaderList):
		out, at := c.out.beginBlock(s)
		out.b = c.out.enc.trailers(out.b, trailers)
		c.out.finishBlock(s, at, flagEndStream)
	case s.lastGen == c.out.generation:
		out.b[s.lastAt+4] |= flagEndStream
	default:
		out.b = appendFrameHeader(out.b, frameHeader{typ: frameData, flags: flagEndStream, id: s.id})
	}
}

// Abort breaks the exchange off with RST_STREAM: the code of reason where it is a *ResetError, CANCEL otherwise.
// It does not wait. A response that has come whole, but for a body that nobody has read, stays whole.
func (s *stream) Abort(reason error) {
	if reason == nil {
		reason = errAborted
	}
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.aborted {
		return
	}
	s.aborted = true
	c.streams.reset(s, codeOf(reason), reason)
	s.closed = true
	s.werr = reason
	if c.server != nil || !s.recvEnd || s.queue.n > 0 {
		s.rerr = reason
	}
	c.inflow.read(s.queue.clear(c.pool))
	s.wakeBoth()
	c.out.kick()
}

var errAborted = errors.New("h2: stream aborted")

// retire takes a stream from the connection when its owner is done with it. mu is held.
func (s *stream) retire(code Code) {
	c := s.c
	c.streams.reset(s, code, errAborted)
	c.inflow.read(s.queue.clear(c.pool))
	c.streams.active--
	c.ending.check()
	c.out.kick()
}
