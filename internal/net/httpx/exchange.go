package httpx

import (
	"errors"
	"io"
)

// ErrNotContinued means that a client that waits to be told to go on (Request.ExpectContinue) got its final answer instead,
// so that its body may never come.
var ErrNotContinued = errors.New("request body was not asked for")

// IsEnd reports whether what Read returned is the end of a message as its sender meant it. Only io.EOF itself is: an
// error that has io.EOF somewhere inside tells of something else that ended, and a message that ends with that is cut.
func IsEnd(err error) bool { return err == io.EOF } //nolint:errorlint // see above

// Version is the protocol a message came in.
type Version uint8

// The versions. The zero value is invalid.
const (
	HTTP10 Version = iota + 1
	HTTP11
	HTTP2
)

// String gives the access log's spelling.
func (v Version) String() string {
	switch v {
	case HTTP10:
		return "HTTP/1.0"
	case HTTP11:
		return "HTTP/1.1"
	case HTTP2:
		return "HTTP/2"
	}
	return "-"
}

// Request is the head of a request. Hop-by-hop fields (RFC 9110 §7.6.1) and framing fields (Content-Length,
// Transfer-Encoding) are not among Fields: codecs take them out and put them in. Host is not either: it is Authority.
type Request struct {
	Version                         Version
	Method, Scheme, Authority, Path []byte
	// Absolute is the scheme of a request target in absolute form (RFC 9112 §3.2.2), nil for the other forms: a forward
	// proxy is called with the former and a server with the latter.
	Absolute []byte
	Fields   Fields
	// ContentLength is the declared length of the body, 0 for none, -1 for "until it ends".
	ContentLength int64
	// Upgrade is the protocol asked for ("websocket"), nil where there is none. For CONNECT it is nil as well.
	Upgrade []byte
	// ExpectContinue is set where the client waits, for as long as it likes, for a 100 before it sends the body. The
	// 100 is the handler's to send; reading the body ends in ErrNotContinued where a final head that refuses the
	// request went out before.
	ExpectContinue bool
}

// Reset empties the head and keeps its memory.
func (r *Request) Reset() {
	f := r.Fields
	f.Reset()
	*r = Request{Fields: f}
}

// Response is the head of a response, with the same rules as Request.
type Response struct {
	Version Version
	Status  int
	Fields  Fields
	// ContentLength is as in Request. Responses to HEAD and 304 may declare a length without having a body.
	ContentLength int64
	// Upgrade is the protocol agreed on where Status is 101.
	Upgrade []byte
}

// Reset empties the head and keeps its memory.
func (r *Response) Reset() {
	f := r.Fields
	f.Reset()
	*r = Response{Fields: f}
}

// BodyReader yields a body. Not safe for concurrent use.
type BodyReader interface {
	// Read is io.Reader's. It returns io.EOF after the last byte, and only then are Trailers complete.
	io.Reader
	// Ready reports whether the next Read returns without waiting for the network.
	Ready() bool
	// Trailers are the fields that followed the body, nil where there were none.
	Trailers() *Fields
}

// BodyWriter takes a body. Not safe for concurrent use.
type BodyWriter interface {
	// Write may keep the bytes in a buffer of its own until Flush or End; it never keeps p.
	io.Writer
	// Flush sends what is buffered.
	Flush() error
	// End finishes the message, with trailers where the version can carry them, and flushes. Trailers may be nil.
	End(trailers *Fields) error
}

// ServerExchange is a request as the proxy received it and the answer it gives. Reading the body and writing the
// response may happen in two goroutines; each side belongs to one.
type ServerExchange interface {
	BodyReader
	BodyWriter
	// Request is the head; it stays valid until End or Abort.
	Request() *Request
	// Respond writes a response head, into a buffer: the first Write, Flush or End sends it. Heads with status
	// 100 to 199 other than 101 may precede the final one and are flushed at once. After 101 (Upgrade) and after
	// 2xx to CONNECT, Read and Write carry the raw stream; End closes its write side.
	Respond(*Response) error
	// Abort breaks the exchange: the peer sees a reset (h2) or a closed connection (h1), never a message that looks
	// complete. Blocked calls return reason. Safe from any goroutine, repeatable.
	Abort(reason error)
}

// Watched is a ServerExchange that notices a client that goes away while nothing is read from it or written to it.
type Watched interface {
	// Watch has w told with the given turn, in place of who was to be told before; at once where the client is gone
	// already. After the exchange has ended it is not told.
	Watch(w Watcher, turn uint64)
}

// Stoppable is a ServerExchange of which the rest of the request can be given up, so that it can be answered.
type Stoppable interface {
	// StopReading makes reads return reason, the one that waits as well. Safe from any goroutine.
	StopReading(reason error)
}

// Breakable is a ServerExchange whose client gets what was written of an answer before that is broken off.
type Breakable interface {
	// Break sends what is buffered and ends the exchange as Abort does, with a reset only where nothing else would show
	// that something is missing. It belongs to the goroutine that writes, and may wait for a client that does not read.
	Break(reason error)
}

// Watcher is told that a client has gone away. Gone must not block.
type Watcher interface {
	Gone(turn uint64, reason error)
}

// ClientExchange is a request as the proxy sends it and the answer it gets. Writing and reading may happen in two
// goroutines; each side belongs to one.
type ClientExchange interface {
	BodyReader
	BodyWriter
	// Send writes the request head, into a buffer: the first Flush or End sends it, as does a full buffer.
	Send(*Request) error
	// Receive waits for the next response head. Heads with status 100 to 199 come one by one before the final one.
	// The head's memory is the caller's.
	Receive(*Response) error
	// Abort cancels the exchange; see ServerExchange.
	Abort(reason error)
	// Close ends the use of the exchange: a connection in a clean state can carry the next one, otherwise it is
	// closed. It must be called exactly once, after both goroutines are done.
	Close()
}
