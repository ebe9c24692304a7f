package filter

import (
	"context"
	"errors"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/lb"
)

// Limits holds requests to the connectionPool settings of their backend.
type Limits struct{}

// Request implements Filter: it waits for the request's turn, as long as its timeout allows.
func (Limits) Request(ctx context.Context, c *Call) error {
	use := lb.Request
	if c.Request.Version == httpx.HTTP2 || c.Plan.Upgrade {
		use = lb.Stream
	}
	var wait time.Duration
	if t := c.Timeout; t > 0 {
		wait = max(t-time.Since(c.Start), time.Nanosecond)
	}
	if err := c.Group.Limits().Enter(ctx, use, wait); err != nil {
		return LimitError(c.Plan.Name, err)
	}
	c.entered = use
	return nil
}

// End implements Ender.
func (Limits) End(c *Call) {
	if c.entered != 0 {
		c.Group.Limits().Leave(c.entered)
		c.entered = 0
	}
}

// LimitError is what the client is told where the limits of a backend do not let its call in.
func LimitError(backend string, err error) error {
	var full *lb.OverflowError
	switch {
	case errors.As(err, &full):
		return &httpx.Error{Reason: httpx.Overflow, Object: backend, Detail: full.Error()}
	case errors.Is(err, lb.ErrWaited):
		return &httpx.Error{Reason: httpx.UpstreamTimeout}
	}
	return err
}
