package filter

import (
	"context"

	"fairlead.dev/fairlead/internal/proxy/route"
)

// CORS answers preflights, and says in answers which pages of other origins may read them, as Envoy's cors filter does.
type CORS struct{}

// Request implements Filter.
func (CORS) Request(_ context.Context, c *Call) error {
	p := c.Route.CORS()
	if p == nil {
		return nil
	}
	origin, allowed := p.Origin(c.Request)
	if origin == nil {
		return nil
	}
	preflight := route.IsPreflight(c.Request)
	switch {
	case allowed && preflight:
		p.Preflight(c.Request, c.Response, origin)
	case allowed:
		c.origin = c.Request.Fields.Keep(origin) // several fields were joined in scratch memory
		return nil
	case preflight && p.Ignore:
		p.Preflight(c.Request, c.Response, nil)
	default:
		return nil
	}
	c.Details = "cors_response"
	return ErrAnswered
}

// Response implements ResponseFilter.
func (CORS) Response(c *Call) {
	if c.origin != nil {
		c.Route.CORS().Permit(c.Response, c.origin)
	}
}

// Local implements LocalFilter: a page shall see why its request failed.
func (f CORS) Local(c *Call) { f.Response(c) }
