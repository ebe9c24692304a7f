package call

import (
	"errors"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/lb"
)

// failure says how far a try got when it failed. The order is that of certainty that the upstream did nothing.
type failure uint8

const (
	// notConnected: no connection, so nothing was sent.
	notConnected failure = iota + 1
	// unsent: the connection was lost before a byte of the request was written to it.
	unsent
	// disowned: the peer says that it has not acted on the request (REFUSED_STREAM, or GOAWAY with a lower stream,
	// RFC 9113 §8.7), or its sidecar says that the app has not got it.
	disowned
	// turnedAway: a limit of the called sidecar did not let it in (docs/adr/0020), or that had no room for it. The app has not
	// got it, but a try elsewhere adds to the load of endpoints that are likely to be full as well.
	turnedAway
	// resetEarly: written, and cut off before any byte of a response. The upstream may have acted on it, on a reused
	// connection as well: that it was closed while idle cannot be told from a server that died at its work.
	resetEarly
	// tryTimeout: the per-try timeout struck before a response.
	tryTimeout
	// badStatus: a response came, with a status that the policy names.
	badStatus
	// badGRPC: likewise, by its gRPC status.
	badGRPC
	// final: anything else; never retried.
	final
)

// reason is how the metrics call it.
func (f failure) reason() lb.RetryReason {
	switch f {
	case notConnected:
		return lb.RetryConnect
	case unsent:
		return lb.RetryUnsent
	case disowned:
		return lb.RetryRefused
	case turnedAway:
		return lb.RetryFull
	case tryTimeout:
		return lb.RetryTimeout
	case badStatus, badGRPC:
		return lb.RetryStatus
	case resetEarly, final:
	}
	return lb.RetryReset
}

// tryError is a failed try.
type tryError struct {
	failure failure
	status  int
	err     error
}

func (e *tryError) Error() string { return e.err.Error() }
func (e *tryError) Unwrap() error { return e.err }

// asTry gives the failed try that err is, nil where it is none. It is kept apart from its callers because errors.As
// moves its target to the heap, also where there is no error.
func asTry(err error) *tryError {
	var failed *tryError
	errors.As(err, &failed)
	return failed
}

// classify says how far an exchange got that failed before its response head.
func classify(err error) failure {
	var closed *h1.ClosedError
	switch {
	case errors.Is(err, h2.ErrUnsent), errors.As(err, &closed) && !closed.Written:
		return unsent
	case errors.Is(err, h2.ErrNotProcessed):
		return disowned
	case errors.Is(err, errTimeout):
		return tryTimeout
	case isFinal(err):
		return final
	}
	return resetEarly
}

// decision is what becomes of a request after a failed try, and why.
type decision uint8

const (
	// tryAgain: another try follows.
	tryAgain decision = iota + 1
	// unasked: no condition of the policy holds.
	unasked
	// unsafe: the upstream may have acted on it, and nobody says that it may do so again.
	unsafe
	// unable: its body is not held any more, or the client has part of an answer.
	unable
	// spent: the policy allows no more tries.
	spent
	// below: the call that it is part of is retried by another hop.
	below
	// overBudget: too many requests are retried.
	overBudget
)

// tried is what counts for the decision but for the policy and the failure.
type tried struct {
	tries      int  // so far
	repeatable bool // it is safe to carry it out twice
	held       bool // it can be sent again, and nothing of an answer was sent to the client
	deep       bool // another hop of its chain of calls retries
}

// decide says whether a failed try is to be followed by another one: by proof that nothing was done, by the method, or by
// what the user asked for. The budget is asked afterwards, of those that are.
func decide(p *model.Retry, t tried, e *tryError) decision {
	switch {
	case e.failure == unsent && t.held && t.tries == 1: // its connection ended between being chosen and being written to: no policy's matter
		return tryAgain
	case p.Attempts == 0:
		return unasked
	case !retryable(p, t.repeatable, e):
		if e.failure == resetEarly || e.failure == tryTimeout {
			return unsafe
		}
		return unasked
	case !t.held:
		return unable
	case t.tries > p.Attempts:
		return spent
	case t.deep && !e.failure.isFree():
		return below
	}
	return tryAgain
}

// retryable reports whether a condition for a retry holds. (Envoy's conditions: config/route/v3 RetryPolicy.retry_on.)
func retryable(p *model.Retry, safe bool, e *tryError) bool {
	switch e.failure {
	case notConnected, unsent, disowned, turnedAway: // what "connect-failure", "reset-before-request" and "refused-stream" ask for
		return true
	case resetEarly:
		return safe || asked(p, "reset", "5xx", "gateway-error")
	case tryTimeout:
		return safe || asked(p, model.RetryOnTryTimeout, "reset", "5xx", "gateway-error")
	case badStatus, badGRPC:
		return true // who says so has asked the policy
	case final:
		return false
	}
	return false
}

// repeatable requests change nothing (RFC 9110 §9.2.1), or say that repeating them is safe.
func repeatable(req *httpx.Request) bool {
	switch string(req.Method) {
	case "GET", "HEAD", "OPTIONS", "TRACE":
		return true
	}
	return req.Fields.Get("idempotency-key") != nil
}

func asked(p *model.Retry, conditions ...string) bool {
	return slices.ContainsFunc(p.On, func(c string) bool { return slices.Contains(conditions, c) })
}

// wantsStatus reports whether the policy names the status.
func wantsStatus(p *model.Retry, status int) bool {
	if slices.Contains(p.Codes, status) {
		return true
	}
	for _, c := range p.On {
		switch c {
		case "5xx":
			if status >= 500 && status <= 599 {
				return true
			}
		case "gateway-error":
			if status >= 502 && status <= 504 {
				return true
			}
		case "retriable-4xx":
			if status == 409 {
				return true
			}
		}
	}
	return false
}

// condition is the name of a gRPC status that a policy can name, "" for any other.
func condition(status []byte) string {
	switch string(status) {
	case "1":
		return "cancelled"
	case "4":
		return "deadline-exceeded"
	case "8":
		return "resource-exhausted"
	case "13":
		return "internal"
	case "14":
		return "unavailable"
	}
	return ""
}

// wantsGRPC reports whether the policy names the gRPC status of a response without a message, whose status stands in
// its head ("trailers-only"). status is the field's value.
func wantsGRPC(p *model.Retry, status []byte) bool {
	c := condition(status)
	return c != "" && slices.Contains(p.On, c)
}

// failedHead gives the failure that a response head is by the policy, 0 for none. names are the fields that the request
// asks for a retry by.
func failedHead(p *model.Retry, names []string, resp *httpx.Response) failure {
	switch f := &resp.Fields; {
	case f.Get("x-envoy-ratelimited") != nil: // a retry would be refused too, unless the user knows better
		if asked(p, "envoy-ratelimited") {
			return badStatus
		}
	case resp.Status >= 400 && wantsStatus(p, resp.Status):
		return badStatus
	case len(names) > 0 && slices.ContainsFunc(names, func(n string) bool { return f.Get(n) != nil }):
		return badStatus
	case wantsGRPC(p, f.Get("grpc-status")):
		return badGRPC
	}
	return 0
}

// isFree reports whether repeating a try costs no more than a connection: it provably did nothing, and its endpoint has not
// said that it has too much to do.
func (f failure) isFree() bool { return f == notConnected || f == unsent || f == disowned }

// isVoid reports whether the app has provably not got the request.
func (f failure) isVoid() bool { return f.isFree() || f == turnedAway }
