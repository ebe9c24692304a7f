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
	"fairlead.dev/fairlead/internal/net/h2server"
)

// intake is who reads the requests of a stream: the goroutine that reads the connection, where none of them has to wait, which is so for
// acknowledgements, else one of the stream's own, until nothing more has come. One at a time reads.
type intake struct {
	st *stream // whose it is; fixed

	mu   sync.Mutex
	busy bool // guarded by mu, as all below
	more bool // something has come that who reads may not have seen
	over bool // nobody begins to read any more
	idle sync.Cond

	// Of who reads.
	frames   *grpcstream.Frames
	resuming bool // the client has yet to say all that it has
	heard    bool // its first request has come
	size     int  // of the newest request, in bytes
	failure  error
}

// enter reports whether the caller is to read; else who reads is told.
func (in *intake) enter() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.busy || in.over {
		in.more = true
		return false
	}
	in.busy, in.more = true, false
	return true
}

// leave reports whether the caller, who has found nothing more, has read to the end.
func (in *intake) leave() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.more && !in.over {
		in.more = false
		return false
	}
	in.busy = false
	in.idle.Broadcast()
	return true
}

// quit is the end of reading.
func (in *intake) quit() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.busy, in.over = false, true
	in.idle.Broadcast()
}

// join returns when nobody reads, nor will.
func (in *intake) join() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for in.over = true; in.busy; {
		in.idle.Wait()
	}
}

// serveStream begins a conversation. nil means that it goes on: it ends with the client, or by stream.cancel.
func (s *Server) serveStream(w http.ResponseWriter, r *http.Request, client ClientIdentity) error {
	detacher, ok := w.(h2server.Detacher)
	if !ok {
		return &StatusError{Code: CodeInternal, Message: "conversations need a server of package h2server"}
	}
	ctx, cancel := r.Context(), detacher.Cancel
	st := newStream(s, client, w, cancel)
	if err := s.add(st); err != nil {
		cancel(err)
		return err
	}
	trace(s.o.Trace.Opened, client)
	if err := st.rc.Flush(); err != nil { // the client waits for the headers
		cancel(err)
		s.remove(st)
		return err
	}
	var end *time.Timer
	if age := s.o.age(); age > 0 {
		end = time.AfterFunc(age, func() { cancel(errOver) })
	}
	st.in.busy, st.in.resuming = true, true
	st.call = detacher.Detach(func() { st.in.arrived(ctx) })
	st.in.frames = grpcstream.NewFrames(st.call, maxRequest)
	context.AfterFunc(ctx, func() {
		if end != nil {
			end.Stop()
		}
		st.finish(ctx)
	})
	st.in.receive(ctx, nil, 0)
	return nil
}

// finish ends a conversation when its context has ended.
func (st *stream) finish(ctx context.Context) {
	defer st.call.Finish()
	st.end()
	st.in.join()
	cause := st.join()
	if cause == nil { // what stopped first has made the rest stop
		cause = context.Cause(ctx)
	}
	if asStatus(st.in.failure) != nil {
		cause = st.in.failure
	}
	s := st.s
	if s.o.Trace.Closed != nil {
		s.o.Trace.Closed(st.client, cause)
	}
	if errors.Is(cause, errOver) || errors.Is(cause, io.EOF) {
		cause = nil
	}
	if asStatus(cause) != nil { // this server's verdict, not merely a connection that went away
		if s.log.Due(ctx, st.client, "disconnected "+cause.Error()) {
			s.o.Logger.LogAttrs(ctx, slog.LevelWarn, "proxy disconnected", slog.String("proxy", st.client.ID()), slog.Any("reason", cause))
		}
	}
	s.remove(st)
	grpcstream.SetStatus(st.w, statusOf(cause))
}

// arrived carries out what has come, as long as no request has to wait: from there on a goroutine does.
func (in *intake) arrived(ctx context.Context) {
	if !in.enter() {
		return
	}
	left := false
	defer func() {
		if !left {
			in.quit()
		}
	}()
	for {
		r, err := in.next()
		var wait time.Duration
		if err == nil && r.acknowledges() && !in.resuming {
			wait, err = in.carryOut(ctx, r)
			r = nil
		}
		switch {
		case errors.Is(err, h2server.ErrLater):
			if left = in.leave(); left {
				return
			}
		case err != nil:
			in.fail(err)
			return
		case r != nil || wait > 0:
			left = true
			go in.st.call.Guard(func() { in.receive(ctx, r, wait) })
			return
		}
	}
}

// receive carries out a request, where there is one, waits, and goes on with those that have come.
func (in *intake) receive(ctx context.Context, r *Request, wait time.Duration) {
	left := false
	defer func() {
		if !left {
			in.quit()
		}
	}()
	for {
		var err error
		if r != nil {
			wait, err = in.carryOut(ctx, r)
		}
		if err == nil {
			err = pause(ctx, wait)
		}
		if err == nil {
			r, err = in.next()
		}
		switch {
		case errors.Is(err, h2server.ErrLater):
			if left = in.leave(); left {
				return
			}
			r, wait = nil, 0
		case err != nil:
			in.fail(err)
			return
		}
	}
}

// fail ends the conversation because its client has ended it, or breaks the rules.
func (in *intake) fail(err error) {
	in.failure = err
	in.st.cancel(err)
}

// next reads a request, if one has come.
func (in *intake) next() (*Request, error) {
	b, err := in.frames.Next() // parseRequest keeps none of it
	if err != nil {
		return nil, err
	}
	r, err := parseRequest(b)
	if err != nil {
		return nil, &StatusError{Code: CodeInvalidArgument, Message: err.Error()}
	}
	if !in.heard && r.Node == nil {
		return nil, &StatusError{Code: CodeInvalidArgument, Message: "DeltaRequest: the first request of a stream must carry node"}
	}
	in.heard, in.size = true, len(b)
	return r, nil
}

// carryOut carries out a request, the one that was read last, and says how long the next one has to wait.
func (in *intake) carryOut(ctx context.Context, r *Request) (wait time.Duration, err error) {
	st := in.st
	if st.s.o.Trace.Received != nil {
		st.s.o.Trace.Received(st.client, r)
	}
	if in.resuming {
		st.resume(r)
	}
	st.acknowledge(ctx, r)
	if err := st.subscribe(ctx, r); err != nil {
		return 0, err
	}
	if in.resuming && !r.More {
		st.start()
	}
	in.resuming = in.resuming && r.More
	work := in.size + nameWork*len(r.Subscribe)
	if r.Health != nil {
		work += healthWork
		st.healthReported(r.Health)
	}
	return st.account.charge(work, time.Now()), nil
}
