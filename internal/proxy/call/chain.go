package call

import (
	"bytes"
	"hash/maphash"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// A call that an app makes to answer another one is part of a chain. Where every hop of it retries what failed further down,
// a leaf that is overloaded gets the product of their tries. So one hop of a chain retries: the one next to the failure.
// It says so to the others in both directions, by marks between sidecars, and a sidecar finds out which of its app's calls
// belong together by what apps pass on for tracing: x-request-id, or the trace of traceparent, x-b3-traceid or b3.

const (
	// retryField tells the called sidecar how the request is retried: retryAbove or retryNever.
	retryField = markPrefix + "retry"
	// retriedField, on an answer, tells the caller's sidecar that what failed was retried further down, or would have been
	// if the budget had allowed it.
	retriedField = markPrefix + "retried"
)

// The values of retryField. One that is not known means nothing.
const (
	retryAbove = "above" // a hop above retries: the hops below do not, but for tries that did nothing
	retryNever = "never" // the route of the caller says so: the called sidecar does not either
)

// Chains is what a sidecar remembers of chains of calls, for a few seconds and of as many as it has room for.
type Chains struct {
	retried moments // requests that were retries, by the marks of those who called
	failed  moments // calls of the app that failed, and that are not to be retried any more
}

// chainKeys are what calls of one chain have in common; 0 for nothing.
type chainKeys [2]uint64

// chainMemory is how long a chain is remembered.
const chainMemory = 10 * time.Second

// moments remembers when something was seen last, by its keys. A newer one may take the place of another: then one chain is
// retried by two hops. The zero value is ready; memory is taken with the first one.
type moments struct {
	latest atomic.Int64
	table  atomic.Pointer[momentTable]
}

type momentTable struct {
	seed  maphash.Seed
	slots [1 << 10]struct{ key, at atomic.Int64 }
}

// quiet reports whether nothing was seen of late. It is what the requests of healthy days ask.
func (m *moments) quiet(now time.Time) bool {
	latest := m.latest.Load()
	return latest == 0 || now.UnixNano()-latest > int64(chainMemory)
}

// note remembers the chain of a request's head.
func (m *moments) note(f *httpx.Fields, now time.Time) {
	t := m.table.Load()
	if t == nil {
		fresh := &momentTable{seed: maphash.MakeSeed()}
		if !m.table.CompareAndSwap(nil, fresh) {
			fresh = m.table.Load()
		}
		t = fresh
	}
	for _, k := range chainOf(t.seed, f) {
		if k != 0 {
			s := &t.slots[k%uint64(len(t.slots))]
			s.key.Store(int64(k))
			s.at.Store(now.UnixNano())
		}
	}
	m.latest.Store(now.UnixNano())
}

// since reports whether the chain of a request's head was seen at a moment, or after it.
func (m *moments) since(f *httpx.Fields, moment time.Time) bool {
	t := m.table.Load()
	if t == nil {
		return false
	}
	for _, k := range chainOf(t.seed, f) {
		s := &t.slots[k%uint64(len(t.slots))]
		if k != 0 && s.key.Load() == int64(k) && s.at.Load() >= moment.UnixNano() {
			return true
		}
	}
	return false
}

func chainOf(seed maphash.Seed, f *httpx.Fields) (k chainKeys) {
	for i, id := range [2][]byte{f.Get("x-request-id"), traceOf(f)} {
		if len(id) > 0 {
			k[i] = maphash.Bytes(seed, id) | 1
		}
	}
	return k
}

// traceOf gives the trace that a request says it belongs to, nil for none.
func traceOf(f *httpx.Fields) []byte {
	if p := f.Get("traceparent"); len(p) >= 35 && p[2] == '-' { // version, 32 digits of the trace, …
		return p[3:35]
	}
	if id := f.Get("x-b3-traceid"); id != nil {
		return id
	}
	if id, _, parted := bytes.Cut(f.Get("b3"), []byte("-")); parted {
		return id
	}
	return nil
}

// hear reads what the caller's sidecar says of retries, which is believed where it has proved who it is, and reports whether
// that is never to retry. f is the request's head.
func (c *Chains) hear(f *httpx.Fields, now time.Time) (never bool) {
	switch string(f.Get(retryField)) {
	case retryAbove:
		c.retried.note(f, now)
	case retryNever:
		return true
	}
	return false
}

// isBelow reports whether the call belongs to one that is retried by a hop above.
func (c *Chains) isBelow(f *httpx.Fields, now time.Time) bool {
	return !c.retried.quiet(now) && c.retried.since(f, now.Add(-chainMemory))
}

// wasRetried reports whether a call of the app that belongs to a request has failed since that came, and is not to be
// retried any more.
func (c *Chains) wasRetried(f *httpx.Fields, came time.Time) bool {
	return !c.failed.quiet(came) && c.failed.since(f, came)
}

// isFailure reports whether an answer may stand for a call that has failed.
func isFailure(resp *httpx.Response) bool {
	return resp.Status >= 400 || condition(resp.Fields.Get("grpc-status")) != ""
}

// retryMark is what the called sidecar is told of retries, "" for nothing. below says that another hop retries, or that
// this one does.
func retryMark(p *model.Retry, below bool) string {
	switch {
	case p.Attempts == 0:
		return retryNever
	case below:
		return retryAbove
	}
	return ""
}
