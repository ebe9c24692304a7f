package call

import (
	"strconv"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// The fields that tell the next hop how long its answer is waited for: Envoy's, and gRPC's own.
const (
	expectedTimeoutField = "x-envoy-expected-rq-timeout-ms"
	grpcTimeoutField     = "grpc-timeout"
)

// timeouts bound a request. 0 is no limit.
type timeouts struct {
	// deadline is that of a gRPC call, from its beginning to its end.
	deadline time.Duration
	// request is from when the request has come whole until its answer has.
	request time.Duration
	// try is from when the request has come whole, or a further try begins, until the head of its answer; backend and response
	// until its end. What response ends is not tried again.
	try, backend, response time.Duration
}

// progress is what timeouts are counted from.
type progress struct {
	begun, whole, try time.Time // whole is zero before the request has come to its end
	answered          bool      // the try's answer was accepted
}

// tried is from when the time of the try at hand counts, zero before the request has come to its end.
func (m progress) tried() time.Time {
	switch {
	case m.whole.IsZero():
		return time.Time{}
	case m.try.Before(m.whole):
		return m.whole
	}
	return m.try
}

// total is when the request's time is up, zero for never.
func (t *timeouts) total(m progress) time.Time {
	return earlier(after(m.begun, t.deadline), after(m.whole, t.request))
}

// due is when the time of the try at hand is up, zero for never.
func (t *timeouts) due(m progress) time.Time {
	out := t.total(m)
	if m.whole.IsZero() {
		return out
	}
	from := m.tried()
	out = earlier(out, earlier(after(from, t.backend), after(from, t.response)))
	if !m.answered {
		out = earlier(out, after(from, t.try))
	}
	return out
}

func after(from time.Time, d time.Duration) time.Time {
	if d == 0 || from.IsZero() {
		return time.Time{}
	}
	return from.Add(d)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// shortest is the smaller of two limits.
func shortest(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// bound finds the limits of a request of the own app: those of its route, instead of which its own head may say others.
func (*Outbound) bound(call *Call, req *httpx.Request) {
	p, t := call.route.Plan, &call.limits
	*t = timeouts{request: p.Timeout, backend: p.BackendTimeout, response: p.ResponseTimeout, try: call.policy.PerTryTimeout}
	t.deadline, _ = grpcDeadline(req)
	wishedTimes(t, &req.Fields)
	if t.request > 0 && t.try >= t.request {
		t.try = 0
	}
	call.view.Timeout = shortest(t.request, t.deadline)
}

// announce tells the next hop how long the answer to the try at hand is waited for. Of calls of others only those of gRPC have
// limits, which say it in gRPC's terms.
func (c *Call) announce(req *httpx.Request) {
	t := &c.limits
	if *t == (timeouts{}) {
		return
	}
	left := shortest(shortest(t.try, t.backend), t.response)
	if due := t.total(c.Guard.progress()); !due.IsZero() {
		left = shortest(left, max(time.Until(due), time.Millisecond))
	} else {
		left = shortest(left, t.request) // which begins when the request has come whole
	}
	if left == 0 {
		return
	}
	var scratch [24]byte
	if c.route != nil {
		req.Fields.Del(expectedTimeoutField)
		req.Fields.AddName(expectedTimeoutField, strconv.AppendInt(scratch[:0], max(left.Milliseconds(), 1), 10))
	}
	if isGRPC(req) {
		req.Fields.Del(grpcTimeoutField)
		req.Fields.AddName(grpcTimeoutField, appendGRPCTimeout(scratch[:0], left))
	}
}

// overdue reports whether the whole request's time is up, not just a try's.
func (t *timeouts) overdue(g *Guard) bool {
	return *t != (timeouts{}) && isOver(t.total(g.progress()))
}

// final reports whether the time is up of a request, or of a try after which there is no other one.
func (t *timeouts) final(g *Guard) bool {
	if *t == (timeouts{}) {
		return false
	}
	m := g.progress()
	return isOver(earlier(t.total(m), after(m.tried(), t.response)))
}

func isOver(due time.Time) bool { return !due.IsZero() && !time.Now().Before(due) }

// patience is how long a connection may take at most, of the time that the request has left.
func (t *timeouts) patience(g *Guard, connect time.Duration) time.Duration {
	if *t == (timeouts{}) {
		return connect
	}
	connect = shortest(connect, t.try)
	if due := t.total(g.progress()); !due.IsZero() {
		connect = min(connect, max(time.Until(due), time.Nanosecond))
	}
	return connect
}

// parseMillis reads a whole number of milliseconds. What is beyond any sensible time is bounded.
func parseMillis(b []byte) (time.Duration, bool) {
	const longest = 100 * 365 * 24 * time.Hour
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	n := int64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int64(c-'0'), longest.Milliseconds())
	}
	return time.Duration(n) * time.Millisecond, true
}

// grpcDeadline gives what a gRPC call says of its own time (gRPC over HTTP/2, "Timeout"): at most eight digits and a unit.
// Nothing where it says nothing, or nothing that can be read, as in Envoy.
func grpcDeadline(req *httpx.Request) (time.Duration, bool) {
	if !isGRPC(req) {
		return 0, false
	}
	b := req.Fields.Get(grpcTimeoutField)
	if len(b) < 2 || len(b) > 9 {
		return 0, false
	}
	unit := grpcUnit(b[len(b)-1])
	if unit == 0 {
		return 0, false
	}
	n := int64(0)
	for _, c := range b[:len(b)-1] {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	const most = int64(1<<63 - 1)
	if n > most/int64(unit) {
		return time.Duration(most), true
	}
	return max(time.Duration(n)*unit, time.Nanosecond), true // 0 is over at once
}

func grpcUnit(c byte) time.Duration {
	switch c {
	case 'H':
		return time.Hour
	case 'M':
		return time.Minute
	case 'S':
		return time.Second
	case 'm':
		return time.Millisecond
	case 'u':
		return time.Microsecond
	case 'n':
		return time.Nanosecond
	}
	return 0
}

// appendGRPCTimeout writes a time as grpc-timeout, rounded down to the finest unit in which eight digits hold it.
func appendGRPCTimeout(dst []byte, d time.Duration) []byte {
	const most = 99_999_999
	for _, unit := range []byte("umSMH") {
		if n := int64(d / grpcUnit(unit)); n <= most {
			return append(strconv.AppendInt(dst, max(n, 1), 10), unit)
		}
	}
	return append(dst, "99999999H"...)
}
