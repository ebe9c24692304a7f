package call

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// Errand is a request of the sidecar's own, such as one to a collector. It goes the way that a request of the app would go, by
// mutual TLS to an endpoint with a sidecar, but is not recorded, not traced and not retried.
type Errand struct {
	Request httpx.Request
	Body    []byte
	// Most is how much of the answer is read, in bytes. What is longer ends the exchange.
	Most int

	// Status and Answer are what came back; Said gives a trailer, or a field of the head where there is no such one.
	Status int
	Answer []byte
	Said   func(name string) []byte

	call Call
}

// ErrNowhere says that a destination has no endpoint that could be called.
var ErrNowhere = errors.New("no endpoint")

// To carries the errand to a destination.
func (e *Errand) To(ctx context.Context, o *Outgoing, dest *directory.Cell) error {
	state := dest.Load()
	if state == nil {
		return ErrNowhere
	}
	out := &Outbound{Of: o, Dest: dest}
	defer out.Originals.Close()
	b, err := e.backend(out, state)
	if err != nil {
		return err
	}
	chosen, err := out.pick(ctx, b, &e.call.info)
	if err != nil {
		return err
	}
	endpoint := chosen.Endpoint
	endpoint.Begin()
	defer func() { endpoint.End(e.call.outcome) }()
	to := toEndpoint(b, endpoint, b.ConnectTimeout())
	return e.over(ctx, &to)
}

// backend is the one that a request of the app would be given to.
func (e *Errand) backend(o *Outbound, state *directory.Destination) (*directory.Backend, error) {
	r := state.Routes.Match(&e.Request, o.Of.Self.Caller(), state.Plan.Port)
	if r == nil {
		return nil, fmt.Errorf("%w: no route of %s matches", ErrNowhere, state.Plan.Host)
	}
	chosen := r.Pick(rand.Uint64()) //nolint:gosec // spreading load needs no secrecy
	if chosen == nil {
		return nil, fmt.Errorf("%w: %s has no backend", ErrNowhere, r.Plan.Origin)
	}
	b := state.Backends[chosen.Index]
	if b.Plan.Missing != "" {
		return nil, fmt.Errorf("%w: %s", ErrNowhere, b.Plan.Missing)
	}
	return o.byName(b, e.Request.Authority)
}

// Along carries the errand over a way that no destination has given.
func (e *Errand) Along(ctx context.Context, way *upstream.Way) error {
	return e.over(ctx, &destined{way: way, addr: way.Pool.Addr(), connect: upstream.ConnectTimeout})
}

// over makes the exchange. It ends with ctx.
func (e *Errand) over(ctx context.Context, to *destined) error {
	e.call.tries = 1
	up, err := e.call.open(ctx, &e.Request, to)
	if err != nil {
		return err
	}
	aborted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(aborted)
		up.Abort(context.Cause(ctx))
	})
	err = e.exchange(up)
	if !stop() {
		<-aborted // an exchange must not be touched once it is closed
		err = errors.Join(err, context.Cause(ctx))
	} else if err != nil {
		up.Abort(err)
	}
	up.Close()
	if e.call.conn != nil {
		to.way.Pool.Put(e.call.conn)
	}
	return err
}

// errTooMuch ends an exchange whose answer does not end.
var errTooMuch = errors.New("the answer is longer than is read of it")

func (e *Errand) exchange(up httpx.ClientExchange) error {
	if err := up.Send(&e.Request); err != nil {
		return err
	}
	_, unsent := up.Write(e.Body)
	if unsent == nil {
		unsent = up.End(nil)
	}
	resp := &e.call.resp
	for resp.Status < 200 {
		resp.Reset()
		if err := up.Receive(resp); err != nil { // a collector may have answered before it had all
			return errors.Join(unsent, err)
		}
	}
	e.Status = resp.Status
	answer, err := io.ReadAll(io.LimitReader(up, int64(e.Most)+1))
	switch {
	case err != nil && !httpx.IsEnd(err):
		return err
	case len(answer) > e.Most:
		return errTooMuch
	}
	e.Answer = answer
	trailers := up.Trailers()
	e.Said = func(name string) []byte {
		if trailers != nil {
			if v := trailers.Get(name); v != nil {
				return v
			}
		}
		return resp.Fields.Get(name)
	}
	return nil
}
