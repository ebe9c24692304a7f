package h1

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// continueState is what has become of "Expect: 100-continue", guarded by Exchange.expect.
type continueState uint8

const (
	continueSettled continueState = iota // the client does not wait, or was told to go on
	continueAwaited                      // it may be waiting for the handler's answer
	continueRefused                      // the final head came first: the body may never come
)

// Exchange is one request on a Server and its response. It implements httpx.ServerExchange.
type Exchange struct {
	s    *Server
	req  httpx.Request
	head head
	body body
	out  output

	// persist says that the client lets the connection live. closing is what the response head says of that.
	persist, closing bool
	// farewell says that the client has announced that it sends nothing after this request.
	farewell     bool
	headRequest  bool
	connect      bool
	final, ended bool
	broke        error // why the answer was broken off by Break

	// stopped is why the rest of the request is given up, nil while it is not.
	stopped atomic.Pointer[error]

	// expect orders what the reader and the writer learn of a client that waits. It is only locked where expecting is
	// set.
	expect    sync.Mutex
	expecting bool
	waiting   continueState
	settled   bool // the reader's: it need not look again
}

var (
	_ httpx.ServerExchange = (*Exchange)(nil)
	_ httpx.Stoppable      = (*Exchange)(nil)
	_ httpx.Breakable      = (*Exchange)(nil)
)

// Request is the head; it stays valid until End or Abort.
func (x *Exchange) Request() *httpx.Request { return &x.req }

// begin takes over a parsed request.
func (x *Exchange) begin() {
	r := &x.req
	x.persist = x.head.persists(r.Version)
	x.farewell = !x.persist
	x.headRequest = string(r.Method) == "HEAD"
	x.connect = string(r.Method) == "CONNECT"
	switch {
	case r.ContentLength < 0:
		x.body.begin(bodyChunked, 0)
	case r.ContentLength > 0:
		x.body.begin(bodyLength, r.ContentLength)
	default:
		x.body.begin(bodyNone, 0)
	}
	x.expecting, x.settled, x.waiting = r.ExpectContinue, false, continueSettled
	if x.expecting {
		x.waiting = continueAwaited
	}
}

// reset forgets the exchange and keeps its memory.
func (x *Exchange) reset() {
	x.req.Reset()
	x.out.reset()
	x.closing, x.final, x.ended, x.broke = false, false, false, nil
}

// Read is httpx.BodyReader's. Where the client waits to be told to go on, the first one waits with it, until the client
// sends the body all the same (RFC 9110 §10.1.1) or a final head that refuses it has gone out: then it gives
// [httpx.ErrNotContinued].
func (x *Exchange) Read(p []byte) (n int, err error) {
	if x.expecting && !x.settled {
		n, err = x.readAwaited(p)
	} else {
		n, err = x.body.Read(p)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if reason := x.stopped.Load(); reason != nil {
			err = *reason
		}
	}
	return n, err
}

// StopReading implements httpx.Stoppable. The connection carries no other request.
func (x *Exchange) StopReading(reason error) {
	if x.stopped.CompareAndSwap(nil, &reason) {
		x.body.broken.Store(true)
		x.s.in.interrupt()
	}
}

func (x *Exchange) readAwaited(p []byte) (int, error) {
	if x.isRefused() && !x.body.Ready() {
		return 0, httpx.ErrNotContinued
	}
	n, err := x.body.Read(p)
	x.expect.Lock()
	defer x.expect.Unlock()
	switch {
	case x.waiting == continueRefused:
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = httpx.ErrNotContinued
		}
	case n > 0:
		x.waiting, x.settled = continueSettled, true
	}
	return n, err
}

func (x *Exchange) isRefused() bool {
	x.expect.Lock()
	defer x.expect.Unlock()
	return x.waiting == continueRefused
}

// Ready is httpx.BodyReader's.
func (x *Exchange) Ready() bool { return x.body.Ready() }

// Trailers is httpx.BodyReader's.
func (x *Exchange) Trailers() *httpx.Fields { return x.body.Trailers() }

// Respond is httpx.ServerExchange's. A head that breaks a rule gives an *Error, and nothing is sent. Interim
// responses to HTTP/1.0 are dropped. ContentLength counts for HEAD and 304 as well, negative for none; in 1xx and 204
// it is ignored, as are bodies where there can be none.
func (x *Exchange) Respond(r *httpx.Response) error {
	if err := x.s.link.aborted(); err != nil {
		return err
	}
	if x.final {
		return ErrHeadSent
	}
	if err := checkResponse(r); err != nil {
		return err
	}
	switch {
	case r.Status == statusSwitchingProtocols:
		return x.switchProtocols(r)
	case r.Status < 200:
		return x.respondInterim(r)
	}
	x.settleContinue(r.Status)
	return x.respondFinal(r)
}

func (x *Exchange) respondInterim(r *httpx.Response) error {
	if x.req.Version == httpx.HTTP10 {
		return nil // RFC 9110 §15.2
	}
	if x.expecting {
		x.expect.Lock()
		defer x.expect.Unlock()
		if r.Status == statusContinue {
			if x.waiting == continueSettled { // by the body that came, or before
				return nil // once is enough
			}
			x.waiting = continueSettled
		}
	}
	putResponse(&x.out, r, framing{length: -1})
	return x.out.flush()
}

func (x *Exchange) switchProtocols(r *httpx.Response) error {
	if x.req.Upgrade == nil || len(r.Upgrade) == 0 {
		return bad("101 to send without an upgrade that was asked for")
	}
	x.final = true
	putResponse(&x.out, r, framing{length: -1})
	x.s.link.leaveHTTP()
	return x.out.flush()
}

// settleContinue is for a final head before the client was told to go on. It may or may not send the body now, so nobody
// can tell what comes next on the connection (RFC 9110 §10.1.1). Where the head refuses or redirects the request, a
// client that waited sends nothing, and the reader of the body is told so.
func (x *Exchange) settleContinue(status int) {
	if !x.expecting {
		return
	}
	x.expect.Lock()
	defer x.expect.Unlock()
	if x.waiting == continueSettled {
		return
	}
	x.persist = false
	if status >= statusMultipleChoices {
		x.waiting = continueRefused
		x.s.in.interrupt()
	}
}

func (x *Exchange) respondFinal(r *httpx.Response) error {
	x.final = true
	fr := framing{length: r.ContentLength}
	m := modeLength
	switch {
	case x.connect && r.Status < 300:
		putResponse(&x.out, r, framing{length: -1})
		x.s.link.leaveHTTP()
		return x.out.flush()
	case r.Status == statusNoContent:
		m, fr.length = modeDiscard, -1
	case r.Status == statusNotModified:
		m = modeDiscard
	case x.headRequest:
		m = modeDiscard
	case fr.length < 0 && x.req.Version == httpx.HTTP10:
		m, x.persist = modeUntilClose, false
		x.s.link.setLinger(0) // the end of the connection will be that of the body: not so if this process is killed
	case fr.length < 0:
		m, fr.chunked = modeChunked, true
	}
	// What a refused CONNECT is followed by may be the tunnel's first bytes, which must not be read as a request; of a
	// body that broke it is not known where it ends.
	x.closing = !x.persist || x.connect || x.body.broken.Load() || x.s.isDraining() || r.Status >= statusMultipleChoices && x.sendsInVain()
	fr.close = x.closing
	fr.keepAlive = !x.closing && x.req.Version == httpx.HTTP10
	putResponse(&x.out, r, fr)
	x.out.begin(m, r.ContentLength)
	return x.out.err
}

// sendsInVain reports whether so much of the request may be left that it will not be read after the answer. A client that is
// not told that the connection ends would go on sending until it is cut, and may take that for the end of the exchange.
func (x *Exchange) sendsInVain() bool {
	return !x.body.whole.Load() && (x.req.ContentLength < 0 || x.req.ContentLength > x.s.opts.MaxDrainBytes)
}

// Write is httpx.BodyWriter's.
func (x *Exchange) Write(p []byte) (int, error) { return x.out.Write(p) }

// Flush is httpx.BodyWriter's.
func (x *Exchange) Flush() error { return x.out.Flush() }

// End is httpx.BodyWriter's. A body shorter than declared resets the connection. Trailers are sent where the
// response is chunked and dropped elsewhere.
func (x *Exchange) End(trailers *httpx.Fields) error {
	switch {
	case x.ended:
		return x.out.err
	case !x.final:
		return ErrNoHead
	}
	x.ended = true
	untilClose := x.out.mode == modeUntilClose
	if err := x.out.end(trailers); err != nil {
		return err
	}
	if untilClose {
		x.s.link.setLinger(-1)
	}
	if x.s.link.raw.Load() {
		return x.s.link.cause(x.s.link.closeWrite())
	}
	return nil
}

// Abort is httpx.ServerExchange's. It ends the connection, so it must not come after Next was called again.
func (x *Exchange) Abort(reason error) { x.s.link.abort(reason) }

// Break is httpx.Breakable's. A body with a length or in chunks is seen to be cut by its framing (RFC 9112 §8), so the
// connection ends in an orderly way: a reset would make the kernel throw away what the client has not been sent yet.
// Elsewhere it is Abort. A client that does not read is waited for for Options.LingerTimeout.
func (x *Exchange) Break(reason error) {
	if reason == nil {
		reason = ErrAborted
	}
	framed := x.out.mode == modeLength && x.out.left > 0 || x.out.mode == modeChunked
	err := x.s.link.conn.SetWriteDeadline(time.Now().Add(x.s.opts.LingerTimeout))
	if err != nil || x.out.flush() != nil || !framed {
		x.Abort(reason)
		return
	}
	x.broke, x.out.err = reason, reason
}
