package discovery

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"
)

// What one pod may use of the control plane, all its streams together.
const (
	// maxStreams leaves room for the stream of a sidecar before its restart, and for a look at things by hand.
	maxStreams = 2
	// The work that requests make is counted in bytes, a new name as nameWork. A sidecar that connects anew with all the
	// names that it may have uses up a third of workBurst; from then on workRate per second.
	workBurst = 8 << 20
	workRate  = 512 << 10
	nameWork  = 128
	// Calls, for a stream or a certificate: callBurst at once, then callRate per second.
	callBurst = 20
	callRate  = 1
)

// errReplaced ends the oldest stream of a pod.
var errReplaced = &StatusError{Code: CodeResourceExhausted, Message: "the pod has opened newer streams"}

// account is what one pod uses. The newest stream wins: an older one may be of a process that is gone.
type account struct {
	mu      sync.Mutex
	streams []*stream // oldest first; guarded by mu, as the next two
	names   int       // of all streams
	work    bucket
}

// open notes a stream, and ends the oldest where there are too many.
func (a *account) open(st *stream) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.streams) >= maxStreams {
		a.replace()
	}
	a.streams = append(a.streams, st)
}

// replace ends the oldest stream. mu is held.
func (a *account) replace() {
	oldest := a.streams[0]
	a.streams = a.streams[1:]
	a.names -= oldest.reserved
	oldest.reserved = 0
	oldest.cancel(errReplaced)
}

// reserve makes room for one more name, at the cost of older streams; false where there is none.
func (a *account) reserve(st *stream) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.names >= MaxNames && len(a.streams) > 1 && a.streams[0] != st {
		a.replace()
	}
	if a.names >= MaxNames || !slices.Contains(a.streams, st) {
		return false
	}
	a.names++
	st.reserved++
	return true
}

// release gives names back.
func (a *account) release(st *stream, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n = min(n, st.reserved)
	st.reserved -= n
	a.names -= n
}

// close forgets a stream.
func (a *account) close(st *stream) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.streams = slices.DeleteFunc(a.streams, func(s *stream) bool { return s == st })
	a.names -= st.reserved
	st.reserved = 0
}

// charge books work, and says how long to wait before the next request is read.
func (a *account) charge(work int, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.work.charge(float64(work), now)
}

// idle reports whether there is nothing to remember.
func (a *account) idle(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.streams) == 0 && a.work.full(now)
}

// bucket is a budget that fills by rate per second up to burst. The zero value of the rest is a full one.
type bucket struct {
	rate, burst float64
	used        float64 // as of at; more than burst is a debt
	at          time.Time
}

// settle brings used up to date.
func (b *bucket) settle(now time.Time) {
	b.used = max(0, b.used-b.rate*now.Sub(b.at).Seconds())
	b.at = now
}

// take spends n, if it is there.
func (b *bucket) take(n float64, now time.Time) bool {
	b.settle(now)
	if b.used+n > b.burst {
		return false
	}
	b.used += n
	return true
}

// charge spends n in any case, and gives the time until the debt is paid. A debt is never more than a burst.
func (b *bucket) charge(n float64, now time.Time) time.Duration {
	b.settle(now)
	b.used = min(b.used+n, 2*b.burst)
	if b.used <= b.burst {
		return 0
	}
	return time.Duration((b.used - b.burst) / b.rate * float64(time.Second))
}

func (b *bucket) full(now time.Time) bool {
	b.settle(now)
	return b.used == 0
}

// sweepEvery is how often what is not used any more is looked for.
const sweepEvery = time.Minute

// accounts has those of all pods. It is safe for concurrent use.
type accounts struct {
	mu    sync.Mutex
	pods  map[ClientIdentity]*account // guarded by mu, as the next
	swept time.Time
}

// open notes a stream in the account of its pod.
func (a *accounts) open(st *stream, now time.Time) *account {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.swept) >= sweepEvery {
		a.swept = now
		for c, account := range a.pods {
			if account.idle(now) {
				delete(a.pods, c)
			}
		}
	}
	pod := a.pods[st.client]
	if pod == nil {
		pod = &account{work: bucket{rate: workRate, burst: workBurst}}
		a.pods[st.client] = pod
	}
	pod.open(st)
	return pod
}

// calls bounds how often a token is shown. It is asked before the token is judged, because judging costs an API server's
// work. It is safe for concurrent use.
type calls struct {
	mu     sync.Mutex
	tokens map[[sha256.Size]byte]*bucket // by hash; guarded by mu, as the next
	swept  time.Time
}

// maxTokens bounds the tokens that are remembered. Tokens beyond that are not counted: it takes a new one each time.
const maxTokens = 1 << 14

func (c *calls) allow(token string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.swept) >= sweepEvery {
		c.swept = now
		for t, b := range c.tokens {
			if b.full(now) {
				delete(c.tokens, t)
			}
		}
	}
	hash := sha256.Sum256([]byte(token))
	b := c.tokens[hash]
	if b == nil {
		if len(c.tokens) >= maxTokens {
			return true
		}
		b = &bucket{rate: callRate, burst: callBurst}
		c.tokens[hash] = b
	}
	return b.take(1, now)
}

// pause waits, or returns the cause why ctx has ended.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
