package h1

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// Client sends requests on one upstream connection, one exchange at a time.
type Client struct {
	link  link
	opts  Options
	in    input
	x     ClientExchange
	count uint64
	state clientState
	// keep is what the last response has said of Keep-Alive.
	keep time.Duration
}

// clientState is where a Client is in its life.
type clientState uint8

const (
	clientFree clientState = iota
	clientBusy
	clientClosed
)

// NewClient makes a client of a connection. It reads and writes nothing yet.
func NewClient(conn net.Conn, opts Options) *Client {
	opts.setDefaults()
	c := &Client{opts: opts}
	c.link.conn = conn
	c.in.init(&c.link, &opts)
	c.x.c = c
	c.x.body.in, c.x.body.lim = &c.in, opts.limits()
	c.x.out.init(&c.link, opts.Buffers)
	return c
}

// Exchange starts an exchange; the ClientExchange is the same each time. It gives ErrNotReusable where the one before
// is not closed or left the connection in a state that cannot carry another.
func (c *Client) Exchange() (*ClientExchange, error) {
	if c.state != clientFree {
		return nil, ErrNotReusable
	}
	c.state = clientBusy
	c.count++
	c.x.reset()
	return &c.x, nil
}

// KeepAlive is how long the server keeps the connection while it is idle, by the last response; 0 where that did not say so.
func (c *Client) KeepAlive() time.Duration { return c.keep }

// Reusable reports whether the connection can carry another exchange, once the last one was closed.
func (c *Client) Reusable() bool { return c.state == clientFree }

// Stale asks the kernel, without waiting, whether the server has closed an idle connection, or sent something nobody
// asked for. It costs a system call, about 0.3 µs. Under TLS anything that has come counts: it is a goodbye, or not worth
// the risk. Connections that are not sockets below are never known to be stale.
func (c *Client) Stale() bool {
	if c.state != clientFree {
		return true
	}
	if c.in.buffered() > 0 || len(c.in.prefix) > 0 {
		return true
	}
	if c.in.fd == nil {
		return readable(c.link.socket())
	}
	c.in.poll = true
	err := c.in.fill()
	c.in.poll = false
	return !errors.Is(err, errWouldBlock)
}

// Close closes the connection. Not while an exchange is in use: that has Abort.
func (c *Client) Close() {
	c.state = clientClosed
	c.link.close()
	c.in.discard()
	c.x.out.discard()
}

// ClientExchange is one request on a Client and its response. It implements httpx.ClientExchange.
type ClientExchange struct {
	c     *Client
	head  head
	body  body
	out   output
	asked asked

	sent, final, ended bool
	interim            int
	persist            bool
	collect            collector
	// heard is set by the reader once anything of a response came; the writer asks.
	heard atomic.Bool
}

var _ httpx.ClientExchange = (*ClientExchange)(nil)

func (x *ClientExchange) reset() {
	x.out.reset()
	x.body.begin(bodyNone, 0)
	x.asked = asked{}
	x.sent, x.final, x.ended, x.interim, x.persist = false, false, false, 0, false
	x.heard.Store(false)
}

// Send is httpx.ClientExchange's. A head that breaks a rule gives an *Error, and nothing is sent.
func (x *ClientExchange) Send(r *httpx.Request) error {
	if err := x.c.link.aborted(); err != nil {
		return err
	}
	if x.sent {
		return ErrHeadSent
	}
	if err := checkRequest(r); err != nil {
		return err
	}
	x.sent = true
	x.asked = asked{
		head:    string(r.Method) == "HEAD",
		connect: string(r.Method) == "CONNECT",
		upgrade: r.Upgrade != nil,
	}
	putRequest(&x.out, r)
	switch {
	case x.asked.connect || r.ContentLength == 0:
		x.out.begin(modeLength, 0)
	case r.ContentLength < 0:
		x.out.begin(modeChunked, 0)
	default:
		x.out.begin(modeLength, r.ContentLength)
	}
	return x.writeError(x.out.err)
}

// Write is httpx.BodyWriter's.
func (x *ClientExchange) Write(p []byte) (int, error) {
	if x.c.link.raw.Load() && x.out.over() {
		x.out.mode = modeEnded // the message is over, the stream is not
	}
	n, err := x.out.Write(p)
	return n, x.writeError(err)
}

// Flush is httpx.BodyWriter's.
func (x *ClientExchange) Flush() error { return x.writeError(x.out.Flush()) }

// End is httpx.BodyWriter's. A body shorter than declared resets the connection. Once the connection left HTTP, End
// closes its write side, also where it ended the request before.
func (x *ClientExchange) End(trailers *httpx.Fields) error {
	if !x.sent {
		return ErrNoHead
	}
	if x.c.link.raw.Load() && x.out.over() {
		x.out.mode = modeEnded
		if err := x.out.Flush(); err != nil {
			return err
		}
		return x.c.link.cause(x.c.link.closeWrite())
	}
	if x.ended {
		return x.writeError(x.out.err)
	}
	x.ended = true
	return x.writeError(x.out.end(trailers))
}

// writeError tells errors of the connection from errors of the caller.
func (x *ClientExchange) writeError(err error) error {
	if x.out.err == nil {
		return err
	}
	return x.closedBefore(err)
}

// closedBefore turns an I/O error before any byte of the response into a ClosedError.
func (x *ClientExchange) closedBefore(err error) error {
	if err == nil || x.heard.Load() || x.c.link.aborted() != nil {
		return err
	}
	return &ClosedError{Reused: x.c.count > 1, Written: x.out.touched.Load(), Err: err}
}

// maxInterim bounds the 1xx heads of one response.
const maxInterim = 64

// Receive is httpx.ClientExchange's. Errors: a *ClosedError where the connection ended before the first byte of a
// response, an *Error with status 502 where the response breaks a rule, the reason of an Abort, otherwise what
// reading reported. The length of a response to HEAD, or of a 304, that names none is -1.
func (x *ClientExchange) Receive(r *httpx.Response) error {
	switch {
	case x.final:
		return ErrHeadSent
	case !x.sent:
		return ErrNoHead // the server will not answer
	}
	r.Reset()
	if err := x.readHead(r); err != nil {
		return err
	}
	err := parseResponse(r, &x.head, x.c.opts.limits())
	if err != nil {
		return asUpstream(err)
	}
	ends, err := frameResponse(r, &x.head, x.asked)
	if err != nil {
		return asUpstream(err)
	}
	if r.Status < 200 && r.Status != statusSwitchingProtocols {
		x.interim++
		if x.interim > maxInterim || x.head.close {
			return asUpstream(badf("more than %d interim responses, or one that ends the connection", maxInterim))
		}
		return nil
	}
	x.begin(r, ends)
	return nil
}

func (x *ClientExchange) begin(r *httpx.Response, ends delimiter) {
	x.final = true
	x.c.keep = x.head.timeout()
	x.persist = x.head.persists(r.Version) && ends != bodyUntilClose
	x.body.begin(ends, r.ContentLength)
	if r.Status == statusSwitchingProtocols || x.asked.connect && r.Status < 300 {
		x.c.link.leaveHTTP()
	}
}

// asUpstream makes the fault the upstream's.
func asUpstream(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	return &Error{statusBadGateway, "response: " + e.Reason}
}

func (x *ClientExchange) readHead(r *httpx.Response) error {
	in := &x.c.in
	x.collect = collector{}
	for {
		if in.buffered() > 0 {
			x.heard.Store(true)
			done, err := x.collect.collect(in, &r.Fields, x.c.opts.MaxHeadBytes)
			if err != nil {
				return asUpstream(err)
			}
			if done {
				return nil
			}
		}
		if err := in.fill(); err != nil {
			if errors.Is(err, io.EOF) && x.heard.Load() {
				return fmt.Errorf("http/1.1: response head: %w", io.ErrUnexpectedEOF)
			}
			return x.closedBefore(err)
		}
	}
}

// Read is httpx.BodyReader's.
func (x *ClientExchange) Read(p []byte) (int, error) {
	if !x.final {
		return 0, ErrNoHead
	}
	return x.body.Read(p)
}

// Ready is httpx.BodyReader's.
func (x *ClientExchange) Ready() bool { return x.body.Ready() }

// Trailers is httpx.BodyReader's.
func (x *ClientExchange) Trailers() *httpx.Fields { return x.body.Trailers() }

// Abort is httpx.ClientExchange's. It ends the connection, so it must not come after Close.
func (x *ClientExchange) Abort(reason error) { x.c.link.abort(reason) }

// Close is httpx.ClientExchange's. The connection lives on where both messages are complete, nothing follows the
// response, and both sides agree; what is buffered of the response is skipped for that, but never waited for.
func (x *ClientExchange) Close() {
	c := x.c
	if c.state != clientBusy {
		return
	}
	if !x.clean() {
		c.Close()
		return
	}
	c.state = clientFree
	c.in.release()
	x.body.trailers.Trim(maxIdleTrailers)
}

func (x *ClientExchange) clean() bool {
	c := x.c
	if !x.sent {
		return c.link.aborted() == nil && x.out.err == nil && c.in.buffered() == 0
	}
	if !x.ended || !x.final || !x.persist || x.out.err != nil || c.link.aborted() != nil || c.link.raw.Load() {
		return false
	}
	_, ended := x.body.skip(BufferSize)
	return ended && c.in.buffered() == 0
}
