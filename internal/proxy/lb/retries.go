package lb

import (
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// Retries bound the retries of a group's requests, so that an upstream that fails is not called more often for it. The zero
// value is ready and has the default: a fifth of the requests of the last ten seconds, or 100 of them where that is more. It
// counts what may have been carried out before; a try that provably was not costs the upstream nothing.
//
// A RetryBudget that a user has written is Envoy's instead: it bounds how many retries are under way at a time, whatever
// went before.
type Retries struct {
	budget atomic.Pointer[model.RetryBudget] // nil for the default
	most   atomic.Int64                      // maxRetries, 0 for no limit
	active atomic.Int64
	// refused counts retries that maxRetries did not allow.
	refused atomic.Uint64
	// requests and retries are those of late. Only what the budget in force asks for is counted.
	requests, retries recent

	// Counted for the metrics, and for nothing else.
	counts  [Unsafe + 1]atomic.Uint64
	reasons [RetryStatus + 1]atomic.Uint64
}

// The default budget: Linkerd's numbers, a share of 20 % and 10 retries a second that need no requests.
const (
	budgetShare = 5 // requests per retry
	budgetSpan  = 10 * time.Second
	budgetFloor = 100
)

// RetryEvent is something that the metrics tell of retries.
type RetryEvent uint8

// The events.
const (
	// Retried: a try was followed by another one.
	Retried RetryEvent = iota
	// RetrySucceeded: a try that was not the first brought the answer that the client got, and no condition for a retry held for it.
	RetrySucceeded
	// OverBudget: a retry was due, and the budget did not allow it.
	OverBudget
	// LimitReached: a retry was due, and as many were made as the policy allows.
	LimitReached
	// RetriedBelow: a retry was due, and another hop of the same chain of calls makes them, or has made them.
	RetriedBelow
	// Unsafe: the request may have been carried out, and nothing says that it may be carried out again.
	Unsafe
)

// String gives the value of the label.
func (e RetryEvent) String() string {
	switch e {
	case Retried:
		return "retried"
	case RetrySucceeded:
		return "success"
	case OverBudget:
		return "over_budget"
	case LimitReached:
		return "limit_reached"
	case RetriedBelow:
		return "retried_elsewhere"
	case Unsafe:
		return "unsafe"
	}
	return "invalid"
}

// RetryReason is why a try was followed by another one.
type RetryReason uint8

// The reasons.
const (
	RetryConnect RetryReason = iota // no connection
	RetryUnsent                     // the connection was lost before the request was written
	RetryRefused                    // the peer says that it has not acted on it
	RetryFull                       // a limit of the called sidecar did not let it in
	RetryReset                      // cut off before an answer
	RetryTimeout                    // the time of the try was up
	RetryStatus                     // the policy names the answer's status, of HTTP or gRPC
)

// String gives the value of the label.
func (r RetryReason) String() string {
	switch r {
	case RetryConnect:
		return "connect_failure"
	case RetryUnsent:
		return "reset_before_request"
	case RetryRefused:
		return "refused"
	case RetryFull:
		return "full"
	case RetryReset:
		return "reset"
	case RetryTimeout:
		return "per_try_timeout"
	case RetryStatus:
		return "status"
	}
	return "invalid"
}

// CountRetry counts a try that another one follows.
func (r *Retries) CountRetry(why RetryReason) {
	r.Count(Retried)
	r.reasons[why].Add(1)
}

// Reasons calls each with every reason that there has been.
func (r *Retries) Reasons(each func(why RetryReason, n uint64)) {
	for why := range r.reasons {
		if n := r.reasons[why].Load(); n > 0 {
			each(RetryReason(why), n)
		}
	}
}

// Count counts an event.
func (r *Retries) Count(e RetryEvent) { r.counts[e].Add(1) }

// Counts calls each with every event that there has been.
func (r *Retries) Counts(each func(e RetryEvent, n uint64)) {
	for e := range r.counts {
		if n := r.counts[e].Load(); n > 0 {
			each(RetryEvent(e), n)
		}
	}
}

// SetBudget puts a budget in force, nil for the default, and maxRetries of connectionPool, 0 for no limit: it bounds how many
// retries are under way at a time beside the default budget. Where there is a RetryBudget it says nothing, as in Envoy.
func (r *Retries) SetBudget(b *model.RetryBudget, maxRetries uint32) {
	r.budget.Store(b)
	if b != nil {
		maxRetries = 0
	}
	r.most.Store(int64(maxRetries))
}

// uses appends how much of maxRetries is in use, where it is set.
func (r *Retries) uses(list []LimitUse) []LimitUse {
	if most := r.most.Load(); most > 0 {
		list = append(list, LimitUse{Setting: "http.maxRetries", Limit: uint32(most), InUse: r.active.Load(), Overflows: r.refused.Load()})
	}
	return list
}

// Request notes that a request begins.
func (r *Retries) Request(now time.Time) {
	span := budgetSpan
	if b := r.budget.Load(); b != nil {
		if span = b.Interval; span <= 0 {
			return
		}
	}
	r.requests.add(now, span)
}

// Take begins a retry, until Done, or reports that the budget does not allow it. active is how many requests the group has
// under way, idle says that the try before has certainly done nothing.
func (r *Retries) Take(now time.Time, active int64, idle bool) bool { //nolint:revive // a fact about the try
	b := r.budget.Load()
	if b == nil {
		if most := r.most.Load(); r.active.Add(1) > most && most > 0 {
			r.active.Add(-1)
			r.refused.Add(1)
			return false
		}
		if !idle && !r.retries.take(now, budgetSpan, max(budgetFloor, r.requests.sum(now, budgetSpan)/budgetShare)) {
			r.active.Add(-1)
			return false
		}
		return true
	}
	if b.Interval > 0 {
		active = max(active, r.requests.sum(now, b.Interval))
	}
	allowed := max(int64(b.Percent*float64(active)/100), int64(b.MinConcurrency))
	if r.active.Add(1) > allowed {
		r.active.Add(-1)
		return false
	}
	return true
}

// Done ends a retry: its answer is there, or it has failed too.
func (r *Retries) Done() { r.active.Add(-1) }

// recent counts events of a span of time, which is the same each time, in tenths of it. None is lost where several calls
// count at once.
type recent struct{ parts [recentParts]tenth }

const recentParts = 10

// tenth is a tenth, in one word: which it is in the upper half, how many events it has had in the lower one. Both begin again
// after 2^32, which is far from any span.
type tenth struct{ word atomic.Uint64 }

// count is what the word of a tenth says.
type count struct{ which, n uint32 }

func (p *tenth) load() (c count, word uint64) {
	word = p.word.Load()
	return count{uint32(word >> 32), uint32(word)}, word
}

func (c count) word() uint64 { return uint64(c.which)<<32 | uint64(c.n) }

func (r *recent) tenth(now time.Time, span time.Duration) (p *tenth, which uint32) {
	n := now.UnixNano() / max(int64(span/recentParts), 1)
	return &r.parts[n%recentParts], uint32(n)
}

// add adds an event to a tenth, from nothing where it was another one's.
func (p *tenth) add(which uint32) {
	for {
		c, word := p.load()
		if c.which != which {
			c = count{which: which}
		}
		c.n++
		if p.word.CompareAndSwap(word, c.word()) {
			return
		}
	}
}

// remove takes one back, unless its tenth is over.
func (p *tenth) remove(which uint32) {
	for {
		c, word := p.load()
		if c.which != which || c.n == 0 {
			return
		}
		c.n--
		if p.word.CompareAndSwap(word, c.word()) {
			return
		}
	}
}

func (r *recent) add(now time.Time, span time.Duration) {
	p, which := r.tenth(now, span)
	p.add(which)
}

// take adds one where the sum is below the limit.
func (r *recent) take(now time.Time, span time.Duration, limit int64) bool {
	p, which := r.tenth(now, span)
	p.add(which)
	if r.sum(now, span) > limit {
		p.remove(which)
		return false
	}
	return true
}

func (r *recent) sum(now time.Time, span time.Duration) int64 {
	_, which := r.tenth(now, span)
	var n int64
	for i := range r.parts {
		if c, _ := r.parts[i].load(); which-c.which < recentParts {
			n += int64(c.n)
		}
	}
	return n
}
