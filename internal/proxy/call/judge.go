package call

import (
	"errors"
	"strconv"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// cut describes an exchange that broke before its response head.
func (c *Call) cut(err error, t *destined) error {
	if large := responseTooLarge(err); large != nil {
		return large
	}
	if still := c.stoodStill(err); still != nil {
		return still
	}
	f := classify(err)
	if f == final {
		return err
	}
	if c.conn != nil && c.conn.Lost() && f != tryTimeout {
		f, err = resetEarly, upstream.ErrLost // and not that the connection was closed under it
	}
	if f == tryTimeout && c.overdue() {
		return errTimeout
	}
	if f == tryTimeout {
		return &tryError{failure: f, err: errTryTimeout}
	}
	return &tryError{failure: f, err: t.failed(httpx.UpstreamReset, err)}
}

// judge looks at a response head before it goes downstream: a peer's sidecar may say that it is none of the app's,
// and the policy may name its status.
func (c *Call) judge(req *httpx.Request, t *destined) error {
	if why := c.resp.Fields.Get(ErrorField); why != nil && t.way.Peer != nil {
		return c.peerFailed(t, string(why), string(c.resp.Fields.Get(causeField)))
	}
	if c.route == nil {
		return nil
	}
	policy := &c.route.Plan.Retry
	if len(policy.On) == 0 && len(policy.Codes) == 0 {
		return nil
	}
	what := badStatus
	if c.resp.Status < 400 {
		if !wantsGRPC(policy, c.resp.Fields.Get("grpc-status")) {
			return nil
		}
		what = badGRPC
	}
	failed := &tryError{failure: what, status: c.resp.Status}
	if c.mayRetry(req, failed) {
		failed.err = t.failed(httpx.UpstreamReset, errors.New("status "+strconv.Itoa(c.resp.Status)))
		return failed
	}
	return nil
}

// mayRetry reports whether another try would be made, so that a response is thrown away only then. It takes nothing
// from the budget.
func (c *Call) mayRetry(req *httpx.Request, failed *tryError) bool {
	policy := &c.route.Plan.Retry
	return c.tries <= policy.Attempts && c.replayable() && retryable(policy, req, failed)
}

// canGoElsewhere reports whether another try would be made if the one at hand broke before an answer.
func (c *Call) canGoElsewhere(req *httpx.Request) bool {
	return c.route != nil && c.mayRetry(req, &tryError{failure: resetEarly})
}

// timeLeft is the time the try at hand may take, 0 for any.
func (c *Call) timeLeft() time.Duration {
	if c.route == nil {
		return 0
	}
	p := c.route.Plan
	limit := p.BackendTimeout
	if t := p.Retry.PerTryTimeout; t > 0 && (limit == 0 || t < limit) {
		limit = t
	}
	if p.Timeout > 0 {
		left := max(p.Timeout-time.Since(c.start), time.Nanosecond)
		if limit == 0 || left < limit {
			limit = left
		}
	}
	return limit
}

// overdue reports whether the whole request's time is up, not just a try's.
func (c *Call) overdue() bool {
	if c.route == nil {
		return false
	}
	t := c.route.Plan.Timeout
	return t > 0 && time.Since(c.start) >= t
}
