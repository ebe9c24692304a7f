package call

import (
	"cmp"
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/filter"
	"fairlead.dev/fairlead/internal/proxy/route"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
)

// scratch is the size of a body buffer, which equals what the codecs read at once.
const scratch = 16 << 10

// errTimeout is why an exchange is aborted when the route's time is up.
var errTimeout = &httpx.Error{Reason: httpx.UpstreamTimeout}

// errTryTimeout is what a try ends with whose own time is up, while the request's is not.
var errTryTimeout = &httpx.Error{Reason: httpx.UpstreamTryTimeout}

// forwarder carries one exchange at a time from a downstream to an upstream. It belongs to one connection or one
// stream worker and keeps its memory between exchanges, but for what bodies pass through.
type forwarder struct {
	resp httpx.Response
	buf  []byte     // of bodies; nil until one comes, and where upload has it
	fast bodyBuffer // of the answer's body

	bodies *Buffers // where buf comes from

	// The request body as far as it was read before sending: head of buf, and whether that is all of it. What upload reads
	// may stand behind it until a response is accepted.
	held    int
	heldAll bool
	upload  uploader
	// mirrored is told of what follows held; nil where no mirror wants it.
	mirrored *filter.MirroredBody
	path     []byte // scratch for a path that was not normal
	Guard    *Guard // of the client connection, or of the worker
	// asked says that the upstream was given something of the request, so that an answer may come although the rest
	// could not be sent.
	asked bool

	// What became of the exchange, for the record.
	start               time.Time
	headAt              time.Time // when the head of the answer came; zero where none did
	rec                 telemetry.Record
	received, sent      int64
	requested, answered messages // those of gRPC in the request's body, and in the answer's
	wrote               bool     // the response head went downstream
	load                loads    // what the answer says of its endpoint's load
	grpcStatus          string   // of the trailers, empty for none
	trailers            httpx.Fields

	// tells is set where the caller has a sidecar, retried where that is to be told that what failed was retried already.
	tells, retried bool

	// spells is set where the caller's sidecar, and behind it a client of HTTP/1.1, gets the response; respells where this
	// is that caller's sidecar and the called one has said how names are spelt.
	spells   bool
	respells bool
	spelling []byte // scratch of markSpelling
}

// maxTrailers bounds the trailers that are kept for the record, in bytes.
const maxTrailers = 4 << 10

// begin reads as much of the request body as is there already or, if it is short, all of it: such a request can be
// replayed.
func (f *forwarder) begin(down httpx.ServerExchange) error {
	f.requested = messages{on: isGRPC(down.Request())}
	f.answered = f.requested
	err := f.hold(down)
	f.requested.count(f.buf[:f.held])
	if f.heldAll || f.asksToSwitch(down.Request()) {
		f.Guard.whole(time.Now())
	}
	return err
}

func (f *forwarder) hold(down httpx.ServerExchange) error {
	req := down.Request()
	f.held, f.heldAll, f.received, f.sent, f.wrote = 0, false, 0, 0, false
	f.grpcStatus = ""
	if req.ContentLength == 0 && req.Upgrade == nil && !IsConnect(req) {
		f.heldAll = true
		return nil
	}
	if req.Upgrade != nil || IsConnect(req) || req.ContentLength > scratch {
		return nil
	}
	if req.ExpectContinue && !down.Ready() {
		return nil // it comes when the app has asked for it
	}
	f.need()
	if req.ContentLength < 0 {
		return f.holdArrived(down)
	}
	for f.held < int(req.ContentLength) {
		n, err := down.Read(f.buf[f.held:])
		f.held += n
		f.Guard.moved.Add(1)
		if httpx.IsEnd(err) {
			break
		}
		if err != nil {
			return bodyError(err)
		}
	}
	f.received = int64(f.held)
	f.heldAll = true
	return nil
}

// holdArrived reads what is there already of a body of unknown length, without waiting for more. A unary gRPC call has
// mostly come whole.
func (f *forwarder) holdArrived(down httpx.ServerExchange) error {
	for f.held < len(f.buf) && down.Ready() {
		n, err := down.Read(f.buf[f.held:])
		f.held += n
		f.Guard.moved.Add(1)
		if httpx.IsEnd(err) {
			f.heldAll = true
			break
		}
		if err != nil {
			return bodyError(err)
		}
	}
	f.received = int64(f.held)
	return nil
}

// replayable reports whether the request can be sent again: nothing of its body was read but what is held.
func (f *forwarder) replayable() bool { return f.heldAll || f.upload.replayable() }

// maxPathScratch bounds the scratch that a connection keeps between requests.
const maxPathScratch = 1 << 10

// normalize gives the request's path the one spelling that rules match and the app sees.
func (f *forwarder) normalize(req *httpx.Request, mode plan.PathNormalization) error {
	path, ok := route.NormalizePath(f.path, req.Path, mode)
	if !ok {
		return &httpx.Error{Reason: httpx.DownstreamProtocolError, Detail: "the path has a NUL"}
	}
	isNew := len(path) > 0 && (len(req.Path) == 0 || &path[0] != &req.Path[0])
	if isNew && cap(path) <= maxPathScratch {
		f.path = path[:0]
	}
	req.Path = path
	return nil
}

func (f *forwarder) need() {
	if f.buf == nil {
		f.buf = f.bodies.get()
	}
}

// send writes the request upstream. The body goes along where all of it is held; otherwise a second goroutine
// uploads it while the response is awaited.
func (f *forwarder) send(down httpx.ServerExchange, up httpx.ClientExchange) error {
	req := down.Request()
	err := up.Send(req)
	f.asked = err == nil || errors.Is(err, h1.ErrClosedBeforeResponse)
	if err != nil {
		return cmp.Or(unsendable(err), err)
	}
	if f.upload.started() { // for a try before this one
		return f.upload.attach(down, up)
	}
	if f.held > 0 {
		if _, err := up.Write(f.buf[:f.held]); err != nil {
			return err
		}
	}
	if f.heldAll {
		var trailers *httpx.Fields
		if req.ContentLength < 0 {
			trailers = cleanRequestTrailers(down.Trailers())
		}
		return up.End(trailers)
	}
	if err := up.Flush(); err != nil {
		return err
	}
	if !f.asksToSwitch(req) {
		f.need()
		f.upload.bodies, f.upload.mirrored, f.upload.messages = f.bodies, f.mirrored, f.requested
		f.upload.start(down, up, f.Guard, f.buf[:f.held])
		f.buf = nil // the uploader's now
	}
	return nil
}

// asksToSwitch tells whether nothing may be sent or read until the response says what protocol comes next: before
// that, the end of the request's body, which there is none of, would be taken for the end of the stream.
func (*forwarder) asksToSwitch(req *httpx.Request) bool {
	return req.ContentLength == 0 && req.Upgrade != nil || IsConnect(req)
}

// receive waits for the final response head, passing informational ones on.
func (f *forwarder) receive(down httpx.ServerExchange, up httpx.ClientExchange) error {
	for {
		f.resp.Reset()
		if err := up.Receive(&f.resp); err != nil {
			return err
		}
		if f.respells {
			respell(&f.resp.Fields)
		}
		if f.resp.Status >= 200 || f.resp.Status == 101 {
			return nil
		}
		if err := f.respond(down); err != nil {
			return err
		}
	}
}

// respond passes a response head on, with what the next hop alone may see of the marks.
func (f *forwarder) respond(down httpx.ServerExchange) error {
	cleanResponse(&f.resp.Fields)
	if f.spells {
		f.markSpelling(&f.resp.Fields)
	}
	if f.retried {
		f.resp.Fields.AddString(retriedField, "1")
	}
	if err := down.Respond(&f.resp); err != nil {
		return cmp.Or(responseTooLarge(err), unsendable(err), DownstreamError(err))
	}
	return nil
}

// reply sends the response held in f.resp downstream and streams its body.
func (f *forwarder) reply(down httpx.ServerExchange, up httpx.ClientExchange) error {
	if err := f.respond(down); err != nil {
		return err
	}
	f.wrote = true
	f.upload.settle()
	switch req := down.Request(); {
	case !f.asksToSwitch(req):
	case f.resp.Status == 101, IsConnect(req) && f.resp.Status < 300:
		return f.tunnel(down, up)
	default:
		up.End(nil) //nolint:errcheck // refused, and the request was all that comes: a server may have hung up on it
	}
	f.need()
	if err := flushHead(down, up); err != nil {
		return err
	}
	for buf := f.buf; ; {
		n, err := up.Read(buf)
		if n > 0 {
			f.Guard.moved.Add(1)
			f.sent += int64(n)
			f.answered.count(buf[:n])
			if _, werr := down.Write(buf[:n]); werr != nil {
				return DownstreamError(werr)
			}
		}
		if httpx.IsEnd(err) {
			break
		}
		if err != nil {
			return cmp.Or(responseTooLarge(err), error(&httpx.Error{Reason: httpx.UpstreamCut, Err: err}))
		}
		if !up.Ready() {
			if err := down.Flush(); err != nil {
				return DownstreamError(err)
			}
		}
		buf = f.fast.next(f.bodies, f.buf, n)
	}
	trailers := cleanResponseTrailers(up.Trailers())
	f.noteGRPC(trailers)
	if trailers != nil && trailers.Size() <= maxTrailers {
		f.trailers.CopyFrom(trailers) // the stream that they belong to has ended when the call is recorded
	}
	f.load.note(trailers)
	err := down.End(trailers)
	if large := responseTooLarge(err); large != nil {
		if isGRPC(down.Request()) {
			return large
		}
		err = down.End(nil)
	}
	if err != nil {
		return DownstreamError(err)
	}
	return f.upload.finish(up)
}

// flushHead sends a response head whose body is still to come: it may be long in coming, or wait for more of the
// request. A body right behind its head, which another goroutine may be about to deliver, goes out together with it.
func flushHead(down httpx.ServerExchange, up httpx.ClientExchange) error {
	if up.Ready() {
		return nil
	}
	runtime.Gosched()
	if up.Ready() {
		return nil
	}
	if err := down.Flush(); err != nil {
		return DownstreamError(err)
	}
	return nil
}

// tunnel copies bytes both ways after a protocol switch.
func (f *forwarder) tunnel(down httpx.ServerExchange, up httpx.ClientExchange) error {
	if err := down.Flush(); err != nil {
		return DownstreamError(err)
	}
	f.Guard.relax() // the route's timeout is for the answer, which has come; the copying notices a client that goes
	f.upload.start(down, up, f.Guard, f.bodies.get()[:0])
	f.upload.settle()
	f.need()
	n, readErr, writeErr := copyBody(down, up, f.buf, &f.Guard.moved)
	f.sent = n
	err := switched(readErr, writeErr)
	if err != nil {
		down.Abort(err)
		up.Abort(err)
	}
	if uploaded := f.upload.wait(); err == nil && uploaded != nil && !f.upload.ended {
		err = switched(uploaded, nil)
	}
	return err
}

// switched says why a connection that has switched protocols broke: its client has gone, where writing to it failed or what
// came from the upstream is no more for that reason, or else its upstream has.
func switched(upstream, downstream error) error {
	switch {
	case downstream != nil:
		return DownstreamError(downstream)
	case upstream == nil || isDownstream(upstream):
		return upstream
	}
	return &httpx.Error{Reason: httpx.UpstreamCut, Err: upstream}
}

// inUse is an upstream for the time of one exchange.
type inUse struct {
	exchange httpx.ClientExchange
	conn     *upstream.Conn // of pool, nil for a stream
	pool     *upstream.Pool
}

// release gives the upstream back. It is not used any more.
func (u *inUse) release() {
	u.exchange.Close()
	if u.conn != nil {
		u.pool.Put(u.conn)
	}
	*u = inUse{}
}

// settle gives an upstream back after the exchange on it, which ended with err. Where the request body is still being
// read, that goes on without it.
func (f *forwarder) settle(up inUse, err error) {
	f.Guard.disarm()
	if err != nil {
		up.exchange.Abort(err)
	}
	if uploaded, counted := f.upload.detach(); f.upload.started() {
		f.received, f.requested = int64(f.held)+uploaded, counted
	}
	up.release()
}

// finish comes after the answer: it ends what settle left, and gives the buffers back.
func (f *forwarder) finish(down httpx.ServerExchange) {
	if f.upload.running() {
		f.upload.cut(down)
	}
	f.mirrored.Cut()
	f.mirrored = nil
	f.bodies.put(f.upload.reset())
	f.fast.release(f.bodies)
	f.bodies.put(f.buf)
	f.buf = nil
}

// breakOff ends an answer that has begun and can not be completed: the client must not take it for whole. gRPC says so
// in its own way, by a status after what has come; a reset would be CANCELLED to it.
func (f *forwarder) breakOff(down httpx.ServerExchange, err error) {
	req := down.Request()
	if req.Version == httpx.HTTP2 && isGRPC(req) && !isDownstream(err) && !errors.Is(err, errAnswered) {
		out := httpx.Describe(err)
		f.grpcStatus = "14" // UNAVAILABLE
		switch {
		case errors.Is(err, errTimeout):
			f.grpcStatus = "4" // DEADLINE_EXCEEDED
		case out.TooLarge():
			f.grpcStatus = grpcCode(out)
		}
		var trailers httpx.Fields
		trailers.AddString("grpc-status", f.grpcStatus)
		trailers.AddName("grpc-message", appendGRPCMessage(nil, out.Body))
		if down.End(&trailers) == nil {
			return
		}
	}
	if b, ok := down.(httpx.Breakable); ok && !isDownstream(err) && !errors.Is(err, errAnswered) {
		b.Break(err)
		return
	}
	down.Abort(err)
}

// copyBody streams src to dst, flushing whenever nothing more is ready, and ends dst. Trailers are passed on as far as
// they may be those of a request: a response that is copied, after a protocol switch, has none. It
// says which side failed: readErr is the source's, writeErr the sink's. moved counts what comes.
func copyBody(dst httpx.BodyWriter, src httpx.BodyReader, buf []byte, moved *atomic.Uint32) (total int64, readErr, writeErr error) {
	for {
		n, err := src.Read(buf)
		total += int64(n)
		moved.Add(1)
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				return total, nil, werr
			}
		}
		if httpx.IsEnd(err) {
			return total, nil, dst.End(cleanRequestTrailers(src.Trailers()))
		}
		if err != nil {
			return total, err, nil
		}
		if !src.Ready() {
			if err := dst.Flush(); err != nil {
				return total, nil, err
			}
		}
	}
}

// IsConnect reports whether a request asks for a tunnel.
func IsConnect(r *httpx.Request) bool { return string(r.Method) == "CONNECT" }

// DownstreamError wraps what went wrong on the client's side: there is no client to be answered.
func DownstreamError(err error) error {
	if isDownstream(err) {
		return err
	}
	return &httpx.Error{Reason: httpx.DownstreamGone, Err: err}
}

// bodyError says why a request's body could not be read: it breaks a rule, of which its client can be told as long as it
// has got no other answer, or the client is gone.
func bodyError(err error) error {
	if errors.Is(err, errStreamIdle) {
		return errStreamIdle
	}
	if rule, ok := errors.AsType[*h1.Error](err); ok {
		return &httpx.Error{Reason: httpx.DownstreamProtocolError, Status: rule.Status, Detail: rule.Reason}
	}
	return DownstreamError(err)
}

func isDownstream(err error) bool {
	var e *httpx.Error
	return errors.As(err, &e) && e.Reason == httpx.DownstreamGone
}
