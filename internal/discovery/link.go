package discovery

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/net/grpcstream"
)

// Observation is one more call on the connection of a conversation: the control plane asks what the proxy sees, and the proxy
// answers. What the messages say is the business of those at the two ends.

const (
	// MaxLinkMessage bounds one message of a Link, in bytes.
	MaxLinkMessage = 1 << 20
	// The bytes that the server takes on a link: linkBurst at once, then linkRate per second.
	linkBurst = 8 << 20
	linkRate  = 4 << 20
	// linkAgain is how long a client waits before it opens a link that broke off anew, while the conversation goes on.
	linkAgain = 2 * time.Second
)

// Link is one stream of messages in both directions. Send is for one goroutine at a time, and so is Receive; both give an
// error once the stream or its connection is over.
type Link struct {
	r       io.Reader
	w       io.Writer
	before  func() error // each message, nil for nothing
	after   func() error
	out     []byte
	receipt func(bytes int) error // pays for a message that came, nil where it is free
	end     func()
}

// Close ends the stream in order, and so what waits in Send and Receive. It may be called from any goroutine.
func (l *Link) Close() { l.end() }

// Send sends a message. It waits while the other side does not read.
func (l *Link) Send(message []byte) error {
	if len(message) > MaxLinkMessage {
		return &StatusError{Code: CodeResourceExhausted, Message: "a message of observation is too long"}
	}
	b, err := seal(append(append(l.out[:0], make([]byte, headerSize)...), message...))
	if err != nil {
		return err
	}
	l.out = b[:0]
	if l.before != nil {
		if err := l.before(); err != nil {
			return err
		}
	}
	if _, err := l.w.Write(b); err != nil || l.after == nil {
		return err
	}
	return l.after()
}

// Receive gives the next message, which is the caller's. io.EOF means that the other side has ended the stream in order.
func (l *Link) Receive() ([]byte, error) {
	message, err := readFrame(l.r, MaxLinkMessage)
	if err == nil && l.receipt != nil {
		err = l.receipt(len(message))
	}
	return message, err
}

// links are the links of a server that are open.
type links struct {
	mu     sync.Mutex
	open   map[*Link]context.CancelCauseFunc // guarded by mu, as closed
	closed bool
}

func (l *links) add(link *Link, cancel context.CancelCauseFunc) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return &StatusError{Code: CodeUnavailable, Message: "the control plane is shutting down"}
	}
	l.open[link] = cancel
	return nil
}

func (l *links) remove(link *Link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, link)
}

// close ends all links in order, and refuses new ones.
func (l *links) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, cancel := range l.open {
		cancel(errOver)
	}
}

// serveObserve gives the link to whom observation is the business.
func (s *Server) serveObserve(w http.ResponseWriter, r *http.Request, client ClientIdentity) error {
	if s.o.Observe == nil || client.Pod == "" {
		return &StatusError{Code: CodeUnimplemented, Message: "nobody observes here, or the token names no pod"}
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	rc := http.NewResponseController(w)
	patience := grpcstream.NewPatience(rc)
	defer patience.End()
	paid := bucket{rate: linkRate, burst: linkBurst, at: time.Now()}
	link := &Link{
		r: r.Body, w: w,
		before: func() error {
			patience.Begin(time.Now(), s.o.WriteTimeout)
			return nil
		},
		after: func() error {
			defer patience.End()
			return rc.Flush()
		},
		end:     func() { cancel(errOver) },
		receipt: func(n int) error { return pause(ctx, paid.charge(float64(n), time.Now())) },
	}
	if err := s.links.add(link, cancel); err != nil {
		return err
	}
	defer s.links.remove(link)
	if err := rc.Flush(); err != nil { // the client waits for the headers
		return err
	}
	stop := context.AfterFunc(ctx, func() { r.Body.Close() }) // frees a reader
	defer stop()
	err := s.o.Observe(ctx, client, link)
	if errors.Is(context.Cause(ctx), errOver) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Observer is what a [Handler] may be as well: then it is given a link beside each conversation.
type Observer interface {
	// Observe answers what the control plane asks. It returns when the link is over, or at the latest when ctx ends. It is
	// called one call at a time.
	Observe(ctx context.Context, link *Link) error
}

// beside is the client's end of the links beside one conversation.
type beside struct {
	*remote

	observer Observer
	tr       *http.Transport
	addr     string
}

// run keeps a link open until ctx ends. A control plane that does not know observation is not asked again.
func (b *beside) run(ctx context.Context) {
	last := ""
	for ctx.Err() == nil {
		err := b.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if status := asStatus(err); status != nil && status.Code == CodeUnimplemented {
			return
		}
		if reason := errorText(err); reason != last {
			last = reason
			b.o.Logger.LogAttrs(ctx, slog.LevelDebug, "observation is not open", slog.String("address", b.addr), slog.String("reason", reason))
		}
		if pause(ctx, linkAgain) != nil {
			return
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return "closed by the control plane"
	}
	return err.Error()
}

// once holds one link.
func (b *beside) once(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	body, w := io.Pipe()
	defer func() { _ = w.Close() }() // a pipe: always nil
	stop := context.AfterFunc(ctx, func() { _ = body.Close() })
	defer stop()
	hello := time.AfterFunc(helloTimeout, func() { cancel(errHello) })
	resp, err := b.call(ctx, b.tr, "https://"+b.addr+pathObserve, body)
	hello.Stop()
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	err = b.observer.Observe(ctx, &Link{r: resp.Body, w: w, end: func() { cancel(errOver) }})
	if errors.Is(err, io.EOF) {
		return receivedStatus(resp)
	}
	if errors.Is(context.Cause(ctx), errOver) {
		return nil
	}
	return err
}
