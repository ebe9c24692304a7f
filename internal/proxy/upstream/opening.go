package upstream

import (
	"context"
	"errors"
	"net"
	"sync"
)

// opening is the dials of a pool that are under way. They end with ErrLeft when discovery takes the endpoint away, and so
// does every later one, of a request that had chosen it before.
type opening struct {
	mu    sync.Mutex
	left  bool
	dials map[*context.CancelCauseFunc]struct{}
}

// unlessLeft is dial for as long as the endpoint is there.
func (o *opening) unlessLeft(dial poolDialer) poolDialer {
	return func(ctx context.Context, alpn string) (net.Conn, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		if !o.begin(&cancel) {
			return nil, ErrLeft
		}
		conn, err := dial(ctx, alpn)
		o.end(&cancel)
		if err != nil && errors.Is(context.Cause(ctx), ErrLeft) {
			return nil, ErrLeft
		}
		return conn, err
	}
}

func (o *opening) begin(cancel *context.CancelCauseFunc) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.left {
		return false
	}
	if o.dials == nil {
		o.dials = map[*context.CancelCauseFunc]struct{}{}
	}
	o.dials[cancel] = struct{}{}
	return true
}

func (o *opening) end(cancel *context.CancelCauseFunc) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.dials, cancel)
}

// leave ends all of them.
func (o *opening) leave() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.left = true
	for cancel := range o.dials {
		(*cancel)(ErrLeft)
	}
}
