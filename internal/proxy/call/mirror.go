package call

import (
	"bytes"
	"context"
	"io"
	"slices"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/filter"
)

// mirrorTimeout is how long a copy may take.
const mirrorTimeout = 15 * time.Second

// Copy implements filter.Copier.
func (c *Call) Copy(call *filter.Call, backend int) func(context.Context) {
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
	return newShadow(o, b, call.Request, call.Body).send
}

// shadow is the copy of a request. It has a call of its own, for how to reach an endpoint.
type shadow struct {
	Call

	o   *Outbound
	req httpx.Request
}

func newShadow(c *Outbound, b *directory.Backend, req *httpx.Request, body []byte) *shadow {
	// The connection that the request came on may end before its copy: take of it what does not.
	s := &shadow{o: &Outbound{Of: c.Of, Dest: c.Dest, Local: c.Local}}
	s.backend = b
	s.req = httpx.Request{
		Version: req.Version, Method: slices.Clone(req.Method), Scheme: slices.Clone(req.Scheme),
		Authority: shadowAuthority(req.Authority), Path: slices.Clone(req.Path), Absolute: slices.Clone(req.Absolute), ContentLength: int64(len(body)),
	}
	s.req.Fields.CopyFrom(&req.Fields)
	s.buf, s.held, s.heldAll = slices.Clone(body), len(body), true
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
func (s *shadow) send(ctx context.Context) {
	defer s.o.Originals.Close()
	ctx, cancel := context.WithTimeout(ctx, mirrorTimeout)
	defer cancel()
	e := s.o.pick(ctx, s.backend, &s.info).Endpoint
	if e == nil {
		return
	}
	s.tries = 1
	to := toEndpoint(s.backend, e, s.backend.ConnectTimeout())
	up, err := s.open(ctx, &s.req, &to)
	if err != nil {
		return
	}
	aborted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(aborted)
		up.Abort(context.Cause(ctx))
	})
	if err := s.exchange(up); err != nil {
		up.Abort(err)
	}
	if !stop() {
		<-aborted // an exchange must not be touched once it is closed
	}
	up.Close()
	if s.conn != nil {
		e.Attachment.Pool.Put(s.conn)
	}
}

// exchange sends the copy and reads the answer to its end, so that the connection can be used again.
func (s *shadow) exchange(up httpx.ClientExchange) error {
	if err := up.Send(&s.req); err != nil {
		return err
	}
	if len(s.buf) > 0 {
		if _, err := up.Write(s.buf); err != nil {
			return err
		}
	}
	if err := up.End(nil); err != nil {
		return err
	}
	for s.resp.Status < 200 {
		if err := up.Receive(&s.resp); err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, up)
	return err
}
