package filter

import (
	"context"
	"strconv"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// Headers does the header operations and rewrites of the route and of the backend.
type Headers struct{}

// Request implements Filter.
func (Headers) Request(_ context.Context, c *Call) error {
	c.Route.ApplyRequest(c.Request, c.Backend, &c.Facts)
	// What a pattern made of a path; everything else was looked at when the route was compiled.
	if path := c.Request.Path; len(path) > 0 && path[0] != '/' && string(path) != "*" {
		return &httpx.Error{
			Reason: httpx.Unsendable, Object: c.Route.Plan.Origin, Detail: "path " + strconv.Quote(string(path)) + " does not begin with /",
		}
	}
	return nil
}

// Response implements ResponseFilter.
func (Headers) Response(c *Call) {
	c.Facts.Response = c.Response
	if c.Endpoint != nil {
		c.Facts.Endpoint = c.Endpoint.Addr
	}
	c.Route.ApplyResponse(c.Response, c.Backend, &c.Facts)
}
