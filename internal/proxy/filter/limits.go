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

// Request implements Filter.
func (Limits) Request(ctx context.Context, c *Call) error {
	use := lb.Request
	if c.Request.Version == httpx.HTTP2 || c.Plan.Upgrade {
		use = lb.Stream
	}
	return c.enter(ctx, c.Group.Limits(), use, c.Plan.Name)
}

// End implements Ender.
func (Limits) End(c *Call) { c.leave() }

// AppLimits holds requests for the workload's own app to the limits of its port.
type AppLimits struct{}

// Request implements Filter.
func (AppLimits) Request(ctx context.Context, c *Call) error {
	if c.AppLimits == nil {
		return nil
	}
	use := lb.Request
	if c.Request.Version == httpx.HTTP2 {
		use = lb.Stream
	}
	return c.enter(ctx, c.AppLimits, use, c.App)
}

// End implements Ender.
func (AppLimits) End(c *Call) { c.leave() }

// enter counts the call in, and waits for its turn for as long as its timeout allows; backend is what errors call that whose
// limits they are.
func (c *Call) enter(ctx context.Context, limits *lb.Limits, use lb.Use, backend string) error {
	var wait time.Duration
	if t := c.Timeout; t > 0 {
		wait = max(t-time.Since(c.Start), time.Nanosecond)
	}
	if err := limits.Enter(ctx, use, wait); err != nil {
		return LimitError(backend, err)
	}
	c.entered, c.limits = use, limits
	return nil
}

// leave counts the call out.
func (c *Call) leave() {
	if c.entered != 0 {
		c.limits.Leave(c.entered)
		c.entered, c.limits = 0, nil
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
