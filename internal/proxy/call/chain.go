package call

import (
	"bytes"
	"hash/maphash"
	"math"
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

// moments remembers when something was seen last, by its keys: of each key the latest moment, and of the keys that share a
// set the latest setWays. The zero value is ready; memory is taken with the first one.
type moments struct {
	latest atomic.Int64
	table  atomic.Pointer[momentTable]
}

// A table has room for setWays × momentSets keys in 64 KiB. A key is lost where setWays others of its set are noted while
// its call is under way: of 250 calls at a time, about once in 10^8. Then its chain is retried by two hops.
const (
	setWays    = 8
	momentSets = 1 << 10
)

type momentTable struct {
	seed maphash.Seed
	sets [momentSets]momentSet
}

// momentSet is one line of a processor's cache.
type momentSet [setWays]atomic.Uint64

// A slot of a set is one word, so that a key is never read with the moment of another one: the upper bits are of the key, the
// lower ones a moment in microseconds, which begin again every 12 days. 0 is free.
const (
	momentBits = 40
	momentMask = 1<<momentBits - 1
)

// micros is a moment as a slot has it.
func micros(at time.Time) uint64 { return uint64(at.UnixMicro()) & momentMask }

// olderBy is by how many microseconds a slot's moment is older than another one; less than 0 where it is newer.
func olderBy(slot, at uint64) int64 { return int64((at-slot)<<(64-momentBits)) >> (64 - momentBits) }

// set gives the set that a key belongs to, and what its slots have of the key, which is never 0.
func (t *momentTable) set(key uint64) (s *momentSet, tag uint64) {
	return &t.sets[key%momentSets], (key/momentSets | 1) << momentBits
}

// note remembers that a key was seen, in its own slot or else in that of the key that was not seen for longest.
func (t *momentTable) note(key uint64, now time.Time) {
	s, tag := t.set(key)
	at := micros(now)
	for range setWays { // again where another key took the slot in between
		into, have := s.slot(tag, at)
		if s[into].CompareAndSwap(have, tag|at) {
			return
		}
	}
}

// slot gives the place for a key, and what is in it.
func (s *momentSet) slot(tag, at uint64) (into int, have uint64) {
	oldest := int64(math.MinInt64)
	for i := range s {
		v := s[i].Load()
		if v&^momentMask == tag {
			return i, v
		}
		age := olderBy(v, at)
		if v == 0 {
			age = math.MaxInt64
		}
		if age > oldest {
			into, have, oldest = i, v, age
		}
	}
	return into, have
}

// since reports whether a key was seen at a moment, or after it.
func (t *momentTable) since(key uint64, moment time.Time) bool {
	s, tag := t.set(key)
	for i := range s {
		if v := s[i].Load(); v&^momentMask == tag && olderBy(v, micros(moment)) <= 0 {
			return true
		}
	}
	return false
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
			t.note(k, now)
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
		if k != 0 && t.since(k, moment) {
			return true
		}
	}
	return false
}

func chainOf(seed maphash.Seed, f *httpx.Fields) (k chainKeys) {
	for i, id := range [2][]byte{f.Get("x-request-id"), traceOf(f)} {
		if len(id) > 0 {
			k[i] = max(maphash.Bytes(seed, id), 1)
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
