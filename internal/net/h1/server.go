package h1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// Server reads requests from one connection. Next, Refuse and Close belong to one goroutine.
type Server struct {
	link   link
	opts   Options
	scheme []byte
	in     input
	x      Exchange
	active bool // x was handed out
	// quiet says that Next has reported ErrQuiet and the wait goes on.
	quiet bool
	done  error // what Next returns from now on
	// memory is where the memory of x's head goes back to while the connection waits.
	memory *httpx.Fields

	idle     atomic.Bool
	draining atomic.Bool
	// since is when the wait for the request at hand began.
	since time.Time
}

// ErrQuiet is what Next gives when nothing has come for Options.Patience. The wait is not over: Next may be called again, at
// once or when the socket is readable. The time until then counts for Options.IdleTimeout.
var ErrQuiet = errors.New("nothing has come so far")

// NewServer makes a server of an accepted connection. It reads and writes nothing yet.
func NewServer(conn net.Conn, opts Options) *Server {
	opts.setDefaults()
	s := &Server{opts: opts, scheme: []byte(opts.Scheme)}
	s.link.conn = conn
	s.in.init(&s.link, &opts)
	s.opts.Prefix = nil // in has a copy
	s.x.s = s
	s.x.body.in, s.x.body.lim = &s.in, opts.limits()
	s.x.out.init(&s.link, opts.Buffers)
	return s
}

// Next finishes the exchange before, waits for a request and gives it; the Exchange is the same each time.
//
// Errors: io.EOF where the connection ended between requests, by whichever side; an *Error where the request must be
// refused (see Refuse); the reason of an Abort; ErrQuiet; otherwise what reading reported. After an error other than ErrQuiet
// there is no next exchange. What is left of a request body is drained first, within Options.MaxDrainBytes and LingerTimeout.
func (s *Server) Next() (*Exchange, error) {
	if s.done != nil {
		return nil, s.done
	}
	if err := s.next(); err != nil {
		if s.quiet = errors.Is(err, ErrQuiet); !s.quiet {
			s.done = err
		}
		return nil, err
	}
	s.quiet = false
	return &s.x, nil
}

// IdleUntil is when a connection of which Next has reported ErrQuiet is to be closed; the zero time for never.
func (s *Server) IdleUntil() time.Time {
	if s.opts.IdleTimeout <= 0 {
		return time.Time{}
	}
	return s.since.Add(s.opts.IdleTimeout)
}

func (s *Server) next() error {
	if s.active {
		s.active = false
		if err := s.finish(); err != nil {
			return err
		}
	}
	s.x.reset()
	if err := s.await(); err != nil {
		return err
	}
	if err := s.readHead(); err != nil {
		return err
	}
	if err := parseRequest(&s.x.req, &s.x.head, s.opts.limits(), s.scheme); err != nil {
		return err
	}
	s.x.begin()
	s.active = true
	return nil
}

// finish ends the exchange before: nil means that the connection can carry another one.
func (s *Server) finish() error {
	if err := s.link.aborted(); err != nil {
		return err
	}
	if err := s.x.broke; err != nil {
		s.linger()
		return err
	}
	if !s.x.ended {
		s.link.abort(ErrUnfinished)
		return ErrUnfinished
	}
	if err := s.x.out.err; err != nil {
		s.link.abort(err)
		return err
	}
	if s.link.raw.Load() {
		s.link.close()
		return io.EOF
	}
	switch {
	case s.x.closing && s.isOver():
		s.Close()
		return io.EOF
	case s.x.closing || !s.drainBody():
		s.linger()
		return io.EOF
	}
	return nil
}

// isOver reports whether a close cannot cost the client its answer, so that there is nothing to linger for: the request
// was read whole, the client must not send another one because it has said so (RFC 9112 §9.6), and nothing else has come
// that the kernel would answer with a reset. Where in doubt it is not.
func (s *Server) isOver() bool {
	return s.x.farewell && !s.x.connect && !s.x.expecting && s.x.body.ends == bodyNone && s.in.isSpent()
}

// drainBody reads what the handler left of the request.
func (s *Server) drainBody() bool {
	if s.x.body.ends == bodyNone {
		return true
	}
	skipped, ended := s.x.body.skip(s.opts.MaxDrainBytes)
	if ended {
		return true
	}
	if s.in.startTimer(s.opts.LingerTimeout) != nil {
		return false
	}
	return s.x.body.drain(s.opts.MaxDrainBytes-skipped) && s.in.stopTimer() == nil
}

// giveHead gives the memory of the head to connections that have one, takeHead gets some.
func (s *Server) giveHead() {
	if s.memory != nil {
		s.x.req.Reset()
		*s.memory, s.x.req.Fields = s.x.req.Fields, httpx.Fields{}
		s.opts.Buffers.heads.Put(s.memory)
		s.memory = nil
	}
}

func (s *Server) takeHead() {
	if s.memory == nil {
		s.memory = s.opts.Buffers.getHead()
		s.x.req.Fields = *s.memory
	}
}

// maxIdleTrailers is how much memory for trailers a waiting connection keeps, in bytes.
const maxIdleTrailers = 1 << 10

// await waits for the first byte of a request.
func (s *Server) await() error {
	if s.in.buffered() > 0 {
		return nil
	}
	s.in.release()
	s.giveHead()
	s.x.body.trailers.Trim(maxIdleTrailers)
	if !s.quiet {
		s.since = time.Time{}
	}
	for {
		s.idle.Store(true)
		err := s.awaitOnce()
		s.idle.Store(false)
		if err == nil {
			return nil
		}
		if !errors.Is(err, errAgain) {
			return err
		}
	}
}

var errAgain = errors.New("wait again")

func (s *Server) awaitOnce() error {
	// Shutdown sets draining before it looks at idle, we set idle before we look at draining: one of us sees it.
	if s.draining.Load() {
		return s.lastCall()
	}
	now, err := s.startIdling()
	if err != nil {
		return s.link.cause(err)
	}
	if s.outlasted(now) { // without a goroutine
		return s.lastCall()
	}
	err = s.in.fill()
	s.in.timed = false
	switch {
	case err == nil || !errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case s.draining.Load():
		return s.lastCall()
	}
	now = time.Now()
	switch {
	case s.in.deadline.IsZero() || now.Before(s.in.deadline): // a strike of Shutdown's, a moment too late
		return s.againAfter(s.in.setDeadline(time.Time{}))
	case s.outlasted(now):
		return s.lastCall()
	}
	return ErrQuiet
}

// outlasted reports whether the connection has been idle for long enough; an eighth less counts, see startIdling.
func (s *Server) outlasted(now time.Time) bool {
	limit := s.opts.IdleTimeout
	return limit > 0 && now.Sub(s.since) >= limit-limit/8
}

func (*Server) againAfter(err error) error {
	if err != nil {
		return err
	}
	return errAgain
}

// startIdling sets the deadline of an idle connection, unless the last one still leaves nearly all of it: setting one
// costs more than parsing a request.
func (s *Server) startIdling() (now time.Time, err error) {
	s.in.timed = true // a strike means idleness or Shutdown
	limit := s.opts.IdleTimeout
	if s.opts.Patience > 0 && (limit <= 0 || s.opts.Patience < limit) {
		limit = s.opts.Patience
	}
	if limit <= 0 {
		return now, nil
	}
	now = time.Now()
	if s.since.IsZero() {
		s.since = now
	}
	if s.in.deadline.Sub(now) < limit-limit/8 {
		err = s.in.setDeadline(now.Add(limit))
	}
	return now, err
}

// lastCall takes a request that is already here when the connection is shut down, and otherwise closes it.
func (s *Server) lastCall() error {
	if s.in.setDeadline(time.Time{}) == nil && s.in.tryFill() {
		return nil
	}
	s.link.conn.Close()
	return io.EOF
}

// readHead gathers a request head in the exchange's memory.
func (s *Server) readHead() error {
	s.takeHead()
	s.x.body.collect = collector{} // the body before is over
	for {
		if s.skipEmptyLines() {
			done, err := s.x.body.collect.collect(&s.in, &s.x.req.Fields, s.opts.MaxHeadBytes)
			if err != nil {
				return err
			}
			if done {
				return s.in.stopTimer()
			}
			if err := s.checkStart(); err != nil {
				return err
			}
		}
		if err := s.waitForHead(); err != nil {
			return err
		}
	}
}

// checkStart refuses what cannot become a request line as soon as that is plain: a client that speaks another protocol
// would wait for an answer until the time for the head is up. A head that comes in one piece is never looked at.
func (s *Server) checkStart() error {
	if s.x.body.collect.taken > 0 {
		return nil
	}
	b := s.in.bytes()
	if b[0] == recordHandshake {
		return bad("a TLS handshake where plain HTTP is spoken")
	}
	line, _, whole := bytes.Cut(b, []byte("\r\n"))
	if whole {
		var r httpx.Request
		_, err := parseRequestLine(&r, line, s.opts.MaxTargetBytes)
		return err
	}
	if method, _, _ := bytes.Cut(line, []byte(" ")); !isToken(method) && string(method) != "\r" {
		return badf("method %q is not a token", clip(method))
	}
	return nil
}

// recordHandshake is how a TLS handshake begins (RFC 8446 §5.1).
const recordHandshake = 0x16

// skipEmptyLines follows RFC 9112 §2.2: some clients send a CRLF too many after a body. It reports whether there is
// something of a head. The timer runs meanwhile, so that no client can live on empty lines.
func (s *Server) skipEmptyLines() bool {
	b := s.in.bytes()
	if s.x.body.collect != (collector{}) {
		return true
	}
	for len(b) > 1 && b[0] == '\r' && b[1] == '\n' {
		s.in.consume(2)
		b = b[2:]
	}
	return len(b) > 1 || len(b) == 1 && b[0] != '\r'
}

func (s *Server) waitForHead() error {
	if !s.in.timed && s.opts.HeaderTimeout > 0 {
		if err := s.in.startTimer(s.opts.HeaderTimeout); err != nil {
			return s.link.cause(err)
		}
	}
	err := s.in.fill()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		if s.in.buffered() == 0 && s.x.req.Fields.Size() == 0 {
			return io.EOF // nothing but empty lines
		}
		// A client may have ended its own direction only, and read the answer.
		return fmt.Errorf("%w: %w", bad("the connection ends within the request head"), io.ErrUnexpectedEOF)
	case errors.Is(err, os.ErrDeadlineExceeded):
		if s.in.timed && time.Now().Before(s.in.deadline) { // Shutdown, a moment too late
			return s.in.setDeadline(s.in.deadline)
		}
		return &Error{statusRequestTimeout, "no complete request head within " + s.opts.HeaderTimeout.String()}
	}
	return err
}

// Refuse answers a request that Next refused with an *Error, lets the client read the answer and closes. The
// response is the caller's to word; its length is set from body.
func (s *Server) Refuse(r *httpx.Response, body []byte) error {
	x := &s.x
	x.reset()
	x.req.Version = httpx.HTTP11
	x.persist, x.headRequest, x.connect, x.expecting = false, false, false, false
	x.body.begin(bodyNone, 0)
	if err := s.link.conn.SetWriteDeadline(time.Now().Add(s.opts.LingerTimeout)); err != nil {
		return s.link.cause(err)
	}
	r.ContentLength = int64(len(body))
	if err := x.Respond(r); err != nil {
		return err
	}
	if _, err := x.Write(body); err != nil {
		return err
	}
	err := x.End(nil)
	s.linger()
	return err
}

// maxLingerBytes bounds what linger discards. A client that sends more than this has no interest in the answer.
const maxLingerBytes = 8 << 20

// linger ends our direction, reads until the client ends its own, and closes. Closing at once would make the kernel
// answer what is still coming with a reset, and the client throw our answer away unread.
func (s *Server) linger() {
	defer s.Close()
	s.x.out.discard()
	if s.link.closeWrite() != nil || s.in.startTimer(s.opts.LingerTimeout) != nil {
		return
	}
	for n := 0; n < maxLingerBytes; {
		n += s.in.buffered()
		s.in.discard()
		if s.in.fill() != nil {
			return
		}
	}
}

// Close closes the connection at once and gives its buffers back. It can be called again.
func (s *Server) Close() {
	s.link.conn.Close()
	s.in.discard()
	s.x.out.discard()
	s.giveHead()
	if s.done == nil {
		s.done = io.EOF
	}
}

// isDraining reports whether the response at hand is the last one.
func (s *Server) isDraining() bool {
	select {
	case <-s.opts.Draining:
		return true
	case <-s.opts.Ended:
		return true
	default:
		return s.draining.Load()
	}
}

// Idle reports whether the connection waits for a request. Safe from any goroutine.
func (s *Server) Idle() bool { return s.idle.Load() }

// Shutdown makes the next response the last one ("Connection: close"), and ends the connection now where it is idle:
// Next returns io.EOF. A request that is already in the socket is still served. Safe from any goroutine.
func (s *Server) Shutdown() {
	s.draining.Store(true)
	if s.idle.Load() {
		_ = s.link.conn.SetReadDeadline(time.Unix(1, 0)) // it only fails on a connection that is gone
	}
}
