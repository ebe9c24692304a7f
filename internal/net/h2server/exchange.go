package h2server

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// client is who is at the other end of a connection.
type client struct {
	server *Server
	addr   string
	state  *tls.ConnectionState
}

// handle has the handler answer one request. It reports whether the exchange goes on without it.
func (c *client) handle(ctx context.Context, st *h2.ServerStream) (detached bool) {
	ctx, cancel := context.WithCancelCause(ctx)
	x := &exchange{stream: st, header: make(http.Header), cancel: cancel, panicked: func(v any) {
		if v != http.ErrAbortHandler { //nolint:errorlint // the value itself, as net/http compares it
			c.server.Logger.LogAttrs(ctx, slog.LevelError, "a handler panicked", slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
		}
	}}
	defer func() {
		if detached = x.arrived != nil; !detached {
			cancel(nil)
		}
	}()
	r, err := c.request(ctx, st.Request(), x)
	if err != nil {
		http.Error(x, err.Error(), http.StatusBadRequest)
		x.finish()
		return false
	}
	st.Watch(gone(cancel), 0)
	x.guard(func() {
		c.server.Handler.ServeHTTP(x, r)
		if x.arrived == nil {
			x.finish()
		}
	})
	return false // or true, says the function above
}

// gone ends the context of a request whose client has gone. It implements httpx.Watcher.
type gone context.CancelCauseFunc

func (g gone) Gone(_ uint64, reason error) { g(reason) }

// request is the head as net/http has it. Its memory is its own.
func (c *client) request(ctx context.Context, head *httpx.Request, x *exchange) (*http.Request, error) {
	target := string(head.Path)
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, err
	}
	r := &http.Request{
		Method: string(head.Method), URL: u, RequestURI: target, Host: string(head.Authority),
		Proto: "HTTP/2.0", ProtoMajor: 2, Header: make(http.Header, head.Fields.Len()),
		Body: (*body)(x), ContentLength: head.ContentLength, RemoteAddr: c.addr, TLS: c.state,
	}
	for i := range head.Fields.Len() {
		name, value := head.Fields.At(i)
		r.Header.Add(string(name), string(value))
	}
	return r.WithContext(ctx), nil
}

// exchange is the answer to one request. It implements http.ResponseWriter, http.Flusher, and what http.ResponseController
// asks for.
type exchange struct {
	header   http.Header
	declared []string // trailers that the head announces
	cancel   context.CancelCauseFunc
	panicked func(any) // writes it down
	arrived  func()    // is told what comes, once the exchange is detached; of the handler's goroutine until then

	mu          sync.Mutex
	stream      *h2.ServerStream // guarded by mu, as the next; nil once the handler has returned
	read, write *time.Timer      // deadlines
	sent        bool             // the head is; of the writing goroutine
}

// of gives the stream, nil once the handler has returned: its memory may carry another one then.
func (x *exchange) of() *h2.ServerStream {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.stream
}

// Header implements http.ResponseWriter.
func (x *exchange) Header() http.Header { return x.header }

// WriteHeader implements http.ResponseWriter. Interim heads are sent at once.
func (x *exchange) WriteHeader(status int) {
	st := x.of()
	if st == nil || x.sent {
		return
	}
	head := httpx.Response{Version: httpx.HTTP2, Status: status, ContentLength: -1}
	if status >= 200 {
		x.sent = true
		x.declare()
	}
	for name, values := range x.header {
		if strings.HasPrefix(name, http.TrailerPrefix) || name == "Trailer" || x.isDeclared(name) {
			continue
		}
		if name == "Content-Length" {
			if n, err := strconv.ParseInt(values[0], 10, 64); err == nil && n >= 0 {
				head.ContentLength = n
			}
			continue
		}
		for _, v := range values {
			head.Fields.AddString(strings.ToLower(name), v)
		}
	}
	if err := st.Respond(&head); err != nil {
		st.Abort(err)
	}
	if x.sent && x.header.Get("Connection") == "close" {
		st.SendAway()
	}
}

// declare notes which fields the handler will set behind the body.
func (x *exchange) declare() {
	for _, list := range x.header["Trailer"] {
		for name := range strings.SplitSeq(list, ",") {
			x.declared = append(x.declared, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
}

func (x *exchange) isDeclared(name string) bool {
	return slices.Contains(x.declared, name)
}

// Write implements http.ResponseWriter.
func (x *exchange) Write(p []byte) (int, error) {
	st := x.of()
	if st == nil {
		return 0, http.ErrHandlerTimeout
	}
	if !x.sent {
		x.WriteHeader(http.StatusOK)
	}
	return st.Write(p)
}

// Flush implements http.Flusher.
func (x *exchange) Flush() { _ = x.FlushError() }

// FlushError is Flush for http.ResponseController.
func (x *exchange) FlushError() error {
	st := x.of()
	if st == nil {
		return http.ErrHandlerTimeout
	}
	if !x.sent {
		x.WriteHeader(http.StatusOK)
	}
	return st.Flush()
}

// SetReadDeadline has reads of the body fail from t on; the zero time means never.
func (x *exchange) SetReadDeadline(t time.Time) error {
	return x.deadline(&x.read, t, func(st *h2.ServerStream) { st.StopReading(os.ErrDeadlineExceeded) })
}

// SetWriteDeadline breaks the answer off at t, unless it has ended or the deadline is set anew; the zero time means never.
func (x *exchange) SetWriteDeadline(t time.Time) error {
	return x.deadline(&x.write, t, func(st *h2.ServerStream) { st.Abort(os.ErrDeadlineExceeded) })
}

func (x *exchange) deadline(timer **time.Timer, t time.Time, over func(*h2.ServerStream)) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stream == nil {
		return http.ErrHandlerTimeout
	}
	if *timer != nil {
		(*timer).Stop()
		*timer = nil
	}
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		over(x.stream)
	default:
		var mine *time.Timer
		mine = time.AfterFunc(wait, func() {
			x.mu.Lock()
			defer x.mu.Unlock()
			if x.stream != nil && *timer == mine {
				over(x.stream)
			}
		})
		*timer = mine
	}
	return nil
}

// leave gives the stream for the last time.
func (x *exchange) leave() *h2.ServerStream {
	x.mu.Lock()
	defer x.mu.Unlock()
	st := x.stream
	x.stream = nil
	for _, t := range []*time.Timer{x.read, x.write} {
		if t != nil {
			t.Stop()
		}
	}
	return st
}

// finish ends the answer.
func (x *exchange) finish() {
	if !x.sent {
		x.WriteHeader(http.StatusOK)
	}
	var trailers httpx.Fields
	for name, values := range x.header {
		after, isTrailer := strings.CutPrefix(name, http.TrailerPrefix)
		if !isTrailer && !x.isDeclared(name) {
			continue
		}
		for _, v := range values {
			trailers.AddString(strings.ToLower(after), v)
		}
	}
	st := x.leave()
	if err := st.End(&trailers); err != nil {
		st.Abort(err)
	}
	if x.arrived != nil {
		st.Release()
	}
}

// body is the exchange as the body of its request.
type body exchange

var _ io.ReadCloser = (*body)(nil)

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	st := (*exchange)(b).of()
	if st == nil {
		return 0, http.ErrBodyReadAfterClose
	}
	return st.Read(p)
}

// Close frees a reader, and drops what comes. It may be called by whoever hears of the end of the request's context, and that is
// after the handler has returned as well: the stream stays while it is told.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stream != nil {
		b.stream.StopReading(http.ErrBodyReadAfterClose)
	}
	return nil
}
