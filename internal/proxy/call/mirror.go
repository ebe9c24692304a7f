package call

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/filter"
)

// mirrorPatience is how long the endpoint of a copy may take for the next piece, and for its answer once it has all.
const mirrorPatience = 15 * time.Second

// Copy implements filter.Copier.
func (c *Call) Copy(call *filter.Call, backend int) filter.Send {
	b := c.state.Backends[backend]
	if b.Plan.Missing != "" {
		return nil
	}
	o, ok := c.Side.(*Outbound)
	if !ok {
		return nil
	}
	b, err := o.byName(b, call.Request.Authority)
	if err != nil {
		return nil
	}
	return newShadow(o, b, call.Request).send
}

// shadow is the copy of a request. It has a call of its own, for how to reach an endpoint.
type shadow struct {
	Call

	o   *Outbound
	req httpx.Request
}

func newShadow(c *Outbound, b *directory.Backend, req *httpx.Request) *shadow {
	// The connection that the request came on may end before its copy: take of it what does not.
	s := &shadow{o: &Outbound{Of: c.Of, Dest: c.Dest, Local: c.Local}}
	s.backend = b
	s.req = httpx.Request{
		Version: req.Version, Method: slices.Clone(req.Method), Scheme: slices.Clone(req.Scheme),
		Authority: shadowAuthority(req.Authority), Path: slices.Clone(req.Path), Absolute: slices.Clone(req.Absolute),
		ContentLength: req.ContentLength,
	}
	s.req.Fields.CopyFrom(&req.Fields)
	return s
}

// shadowAuthority marks the host, as Envoy does: "users:8080" becomes "users-shadow:8080".
func shadowAuthority(authority []byte) []byte {
	port := bytes.LastIndexByte(authority, ':')
	if port < 0 || bytes.IndexByte(authority[port:], ']') >= 0 {
		port = len(authority)
	}
	return slices.Concat(authority[:port], []byte("-shadow"), authority[port:])
}

// send carries the copy to an endpoint. Whatever happens, the client is not told: the request itself has its own fate.
func (s *shadow) send(ctx context.Context, body *filter.Copied) filter.CopyEnd {
	defer s.o.Originals.Close()
	chosen, err := s.o.pick(ctx, s.backend, &s.info)
	if err != nil {
		return filter.CopyNoEndpoint
	}
	e := chosen.Endpoint
	s.tries = 1
	to := toEndpoint(s.backend, e, s.backend.ConnectTimeout())
	to.begin(headerTo(s.backend, s.o))
	defer to.leave()
	up, err := s.open(ctx, &s.req, &to)
	if err != nil {
		return filter.CopyUnreachable
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	aborted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(aborted)
		up.Abort(context.Cause(ctx))
	})
	x := copying{up: up, body: body, cancel: cancel, patience: time.AfterFunc(mirrorPatience, func() { cancel(errMirrorLate) })}
	end := x.run(ctx, &s.req, &s.resp)
	x.patience.Stop()
	if !stop() {
		<-aborted // an exchange must not be touched once it is closed
	}
	up.Close()
	if s.conn != nil {
		to.way.Pool.Put(s.conn)
	}
	return end
}

// Why a copy ends early: its endpoint takes nothing, or has answered.
var (
	errMirrorLate     = errors.New("the endpoint of a mirror takes too long")
	errMirrorAnswered = errors.New("the endpoint of a mirror has answered before it got all")
)

// copying is the exchange of a copy with its endpoint.
type copying struct {
	up       httpx.ClientExchange
	body     *filter.Copied
	cancel   context.CancelCauseFunc // aborts up
	patience *time.Timer             // cancels
	sent     atomic.Bool             // all was given to up but for its end
}

// run sends the copy while it reads the answer, to its end, so that the connection can be used again.
func (x *copying) run(ctx context.Context, req *httpx.Request, resp *httpx.Response) filter.CopyEnd {
	if err := x.up.Send(req); err != nil {
		x.cancel(err)
		return filter.CopyBroken
	}
	uploaded := make(chan error, 1)
	go func() {
		err := x.upload(ctx)
		if err != nil {
			x.cancel(err)
		}
		uploaded <- err
	}()
	answered, err := x.receive(resp)
	switch {
	case err != nil:
		x.cancel(err)
	case !x.sent.Load():
		x.cancel(errMirrorAnswered)
	}
	unsent := <-uploaded
	switch {
	case unsent == nil && answered:
		return filter.CopySent
	case errors.Is(context.Cause(ctx), errMirrorLate):
		return filter.CopyLate
	case answered && err == nil:
		return filter.CopyAnswered
	}
	return filter.CopyBroken
}

// upload sends the body as it comes. Time counts while the endpoint is waited for, not while the request is.
func (x *copying) upload(ctx context.Context) error {
	for {
		x.patience.Stop()
		p, last, err := x.body.Take(ctx)
		x.patience.Reset(mirrorPatience)
		if err != nil {
			return err
		}
		if len(p) > 0 {
			if _, err := x.up.Write(p); err != nil {
				return err
			}
		}
		if last {
			x.sent.Store(true)
			return x.up.End(x.body.Trailers())
		}
		if err := x.up.Flush(); err != nil {
			return err
		}
	}
}

// receive reads the answer to its end, and reports whether there was the head of one.
func (x *copying) receive(resp *httpx.Response) (answered bool, err error) {
	for resp.Status < 200 {
		resp.Reset()
		if err := x.up.Receive(resp); err != nil {
			return false, err
		}
	}
	_, err = io.Copy(io.Discard, x.up)
	return true, err
}
