package filter

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/route"
	"fairlead.dev/fairlead/internal/proxy/session"
)

// Call is what filters see of a request. Its owner keeps it from one request to the next, and resets it.
type Call struct {
	Start time.Time
	Route *route.Route
	// Request is there from the beginning; filters change it.
	Request *httpx.Request

	// Client is the address where it came from.
	Client netip.Addr
	// Facts are what headers may say of the call; filters add what they find out.
	Facts route.Facts

	// Timeout bounds the request, from Held on; 0 is no limit.
	Timeout time.Duration

	// Backend is known from Chosen on, as are what it is by the plan, and what the backends of its name share.
	Backend *route.Backend
	Plan    *plan.Backend
	Group   *lb.Group
	// AppLimits are those of the port of the own app that a call is for, nil for none, and App what errors call it.
	AppLimits *lb.Limits
	App       string
	// Hash is what the picker is told of calls that are alike; 0 is like no other.
	Hash uint64

	// Seal has the keys of the route's session, nil where it keeps none.
	Seal *session.Keys
	// Session is what the token of the request says, from Routed on, and Pin the endpoint that it belongs to: the owner
	// takes the call to that, or clears Pin.
	Session session.Token
	Pin     lb.Pin
	// Endpoint is the one that has answered, for response filters; nil for answers of none.
	Endpoint *plan.Endpoint

	// Body is what is at hand of the request's body from Held on, and Whole whether that is all of it.
	Body  []byte
	Whole bool
	// Trailers came behind a Body that is Whole; nil for none.
	Trailers *httpx.Fields
	// Mirrored is to be told what comes behind a Body that is not Whole; nil where no mirror wants it.
	Mirrored *MirroredBody

	// Response is the head of the answer, for response filters.
	Response *httpx.Response

	// Details is what the access log calls the answer, empty for one that came from an endpoint or is an error's.
	Details string

	// Copier makes copies of the call.
	Copier Copier

	// Flags are what filters did that the access log and the metrics are to show, in Envoy's short words.
	Flags string

	origin  []byte // that may read the answer, nil for none
	entered lb.Use // what limits count it as, 0 for not at all
	limits  *lb.Limits
	issues  bool     // the client gets a cookie with the value of issued
	issued  [16]byte // in hexadecimal digits
	reseal  bool     // the token of the request was sealed by a key of before
	path    string   // that of the session's cookie
}

// flag adds to Flags.
func (c *Call) flag(what string) { c.Flags = JoinFlags(c.Flags, what) }

// JoinFlags puts response flags behind others; either may be empty.
func JoinFlags(flags, more string) string {
	if flags == "" || more == "" {
		return flags + more
	}
	return flags + "," + more
}

// Copier sends copies of calls elsewhere.
type Copier interface {
	// Copy takes what it needs of the call's head and gives what sends a copy of it to a backend of its destination, by the
	// index that the route knows it by; nil where there is no such backend.
	Copy(c *Call, backend int) Send
}

// ErrAnswered ends a request whose answer a filter has made: it is in Call.Response, has no body, and goes to the client as
// it is.
var ErrAnswered = errors.New("answered by a filter")

// Filter does something to a request, or ends it by an error.
type Filter interface {
	Request(ctx context.Context, c *Call) error
}

// LocalFilter is a ResponseFilter that does the same to the heads of the sidecar's own answers, errors included.
type LocalFilter interface {
	ResponseFilter
	Local(c *Call)
}

// ResponseFilter is a Filter that does something to the head of the endpoint's answer too.
type ResponseFilter interface {
	Filter
	Response(c *Call)
}

// Ender is a Filter that is told of the end of every request, also of one that ended before it was asked about it.
type Ender interface {
	Filter
	End(c *Call)
}

// Counter is a Filter that counts, for the pages of metrics.
type Counter interface {
	Filter
	// WriteMetrics writes what was counted, in the Prometheus text format 0.0.4.
	WriteMetrics(w io.Writer) error
}

// Stage is how much is known of a request.
type Stage uint8

const (
	// Routed means that the route is known. Redirects and direct answers are still to come.
	Routed Stage = iota
	// Chosen means that the backend is known as well.
	Chosen
	// Held means that the body is at hand, if it is short. What changes the head is done.
	Held

	stages
)

// Chain is the filters in their order.
type Chain struct {
	requests  [stages][]Filter
	responses []ResponseFilter
	locals    []LocalFilter
	enders    []Ender
	counters  []Counter
}

// add puts a filter behind those of its stage.
func (c *Chain) add(s Stage, f Filter) {
	c.requests[s] = append(c.requests[s], f)
	if r, ok := f.(ResponseFilter); ok {
		c.responses = append(c.responses, r)
	}
	if l, ok := f.(LocalFilter); ok {
		c.locals = append(c.locals, l)
	}
	if e, ok := f.(Ender); ok {
		c.enders = append(c.enders, e)
	}
	if n, ok := f.(Counter); ok {
		c.counters = append(c.counters, n)
	}
}

// WriteMetrics writes what the filters have counted, in the Prometheus text format 0.0.4.
func (c *Chain) WriteMetrics(w io.Writer) error {
	for _, n := range c.counters {
		if err := n.WriteMetrics(w); err != nil {
			return err
		}
	}
	return nil
}

// Request runs the filters of a stage until one ends the request.
func (c *Chain) Request(ctx context.Context, s Stage, call *Call) error {
	for _, f := range c.requests[s] {
		if err := f.Request(ctx, call); err != nil {
			return err
		}
	}
	return nil
}

// Response runs the response filters.
func (c *Chain) Response(call *Call) {
	for _, f := range c.responses {
		f.Response(call)
	}
}

// Local runs the filters of the sidecar's own answers.
func (c *Chain) Local(call *Call) {
	for _, f := range c.locals {
		f.Local(call)
	}
}

// End tells the filters that the request has ended.
func (c *Chain) End(call *Call) {
	for _, f := range c.enders {
		f.End(call)
	}
}
