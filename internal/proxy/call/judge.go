package call

import (
	"errors"
	"strconv"
	"time"

	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/filter"
	"fairlead.dev/fairlead/internal/proxy/lb"
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
	if f == tryTimeout && c.limits.final(c.Guard) {
		return errTimeout
	}
	if f == tryTimeout {
		return &tryError{failure: f, err: errTryTimeout}
	}
	return &tryError{failure: f, err: t.failed(brokenBy(err), err)}
}

// brokenBy tells a stream that the server has reset, which goes on with others, from a connection that it has ended.
func brokenBy(err error) httpx.Reason {
	if reset, ok := errors.AsType[*h2.ResetError](err); ok && reset.Remote {
		return httpx.UpstreamStreamReset
	}
	return httpx.UpstreamReset
}

// judge looks at a response head before it goes downstream: a peer's sidecar may say that it is none of the app's,
// and the policy may name its status.
func (c *Call) judge(req *httpx.Request, t *destined) error {
	if why := c.resp.Fields.Get(ErrorField); why != nil && t.way.Peer != nil {
		return c.peerFailed(t, string(why), string(c.resp.Fields.Get(causeField)))
	}
	if c.policy == nil {
		c.retried = c.tells && isFailure(&c.resp) && c.Common.Chains.wasRetried(&req.Fields, c.start)
		return nil
	}
	if t.way.Peer != nil && c.resp.Fields.Get(retriedField) != nil {
		c.deep = true
		c.Common.Chains.failed.note(&req.Fields, time.Now())
	}
	f := failedHead(c.policy, c.retriable, &c.resp)
	if f == 0 {
		if c.tries > 1 {
			c.view.Group.Retries().Count(lb.RetrySucceeded)
		}
		return nil
	}
	failed := &tryError{failure: f, status: c.resp.Status}
	switch c.retry(req, failed) {
	case tryAgain:
		failed.err = t.failed(httpx.UpstreamReset, errors.New("status "+strconv.Itoa(c.resp.Status)))
		return failed
	case spent:
		c.view.Flags = filter.JoinFlags(c.view.Flags, "URX")
	case overBudget:
		c.view.Flags = filter.JoinFlags(c.view.Flags, "UO")
	case unasked, unsafe, unable, below:
	}
	return nil
}

// retry decides what becomes of the request after a failed try, and counts it. Where that is another try, the budget has
// been asked for it, and again says so without asking twice.
func (c *Call) retry(req *httpx.Request, failed *tryError) decision {
	d := decide(c.policy, c.soFar(req), failed)
	r := c.view.Group.Retries()
	free := failed.failure.isFree()
	if d == tryAgain && !r.Take(time.Now(), c.view.Group.Limits().Requests(), free) {
		d = overBudget
	}
	switch d {
	case tryAgain:
		c.granted, c.retrying, c.pause = true, true, !free
		c.redone = c.redone || !failed.failure.isVoid()
		r.CountRetry(failed.failure.reason())
	case spent:
		r.Count(lb.LimitReached)
	case overBudget:
		r.Count(lb.OverBudget)
	case below:
		r.Count(lb.RetriedBelow)
	case unsafe:
		r.Count(lb.Unsafe)
	case unasked, unable:
	}
	if d == spent || d == overBudget || d == below {
		c.Common.Chains.failed.note(&req.Fields, time.Now())
	}
	return d
}

// endRetry takes the try at hand off the budget, if it was a retry.
func (c *Call) endRetry() {
	if c.retrying {
		c.retrying = false
		c.view.Group.Retries().Done()
	}
}

// soFar is what counts for another try.
func (c *Call) soFar(req *httpx.Request) tried {
	return tried{tries: c.tries, repeatable: repeatable(req), held: !c.wrote && c.replayable(), deep: c.deep}
}

// canGoElsewhere reports whether another try would be made if the one at hand broke before an answer.
func (c *Call) canGoElsewhere(req *httpx.Request) bool {
	return c.policy != nil && decide(c.policy, c.soFar(req), &tryError{failure: resetEarly}) == tryAgain
}
