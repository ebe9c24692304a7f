package directory

import (
	"context"
	"errors"
	"sync/atomic"
)

// outage is a channel that does not let every first use wait for a control plane that is known to be away: where one
// has waited in vain, the others go on at once until the control plane is back.
type outage struct {
	Channel

	connected func() bool
	lost      atomic.Bool // a connection waited in vain, and it was not seen connected since
}

var errAway = errors.New("the control plane is away")

// Await implements Channel.
func (o *outage) Await(ctx context.Context, name string) error {
	switch {
	case o.connected():
		o.lost.Store(false)
	case o.lost.Load():
		return errAway
	}
	err := o.Channel.Await(ctx, name)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && !o.connected() {
		o.lost.Store(true)
	}
	return err
}
