package h2

import (
	"sync/atomic"
	"time"
)

// What a peer may spend at once and per second on frames that carry nothing and make us do something: PING, SETTINGS,
// PRIORITY, GOAWAY, empty DATA, WINDOW_UPDATE by a few bytes, frames of unknown types. Real peers stay below by two
// orders of magnitude. RST_STREAM on closed streams is not among them: after a burst of timeouts here, thousands arrive
// for streams that we have cancelled.
const (
	floodCapacity  = 1000
	floodPerSecond = 500
	// cancelCapacity is how many exchanges a peer may have thrown away beyond those that it lets complete, and
	// cancelsPerSecond how fast that is forgiven. A thrown away exchange has cost us its work and the peer next to
	// nothing: rapid reset (CVE-2023-44487), and requests that break a rule so that we reset them (CVE-2025-8671).
	cancelCapacity   = 100
	cancelsPerSecond = 33
	// lateStreams is how many streams a client may open before it has read that none is taken any more.
	lateStreams = 250
	// strayGrace is what a peer that miscounts may send on streams that were reset, beyond what their windows had left.
	strayGrace = 2 * startWindow
	// maxContinuations is how many CONTINUATION frames one block may have (CVE-2024-27316).
	maxContinuations = 128
	// maxSettings is how many parameters one SETTINGS frame may have; six are defined.
	maxSettings = 32
	// bombFactor is how many times the limit a header list may be, unpacked, before its connection is given up: a
	// few bytes that refer to a large entry of the table again and again (CVE-2016-6581).
	bombFactor = 16
	// smallUpdate is the increment below which a WINDOW_UPDATE is charged, unless DATA frames of ours have paid for
	// it: updatesPerData each, one for the stream and one for the connection.
	smallUpdate    = 1 << 10
	updatesPerData = 2
	maxUpdates     = 1 << 16
)

// bucket is a token bucket that fills up with time and with work done.
type bucket struct {
	capacity, perSecond int
	spent               float64
	since               time.Time
}

// take spends n tokens; false means that the peer overdoes it.
func (b *bucket) take(n int) bool {
	now := time.Now()
	b.spent = max(0, b.spent-now.Sub(b.since).Seconds()*float64(b.perSecond)) + float64(n)
	b.since = now
	return b.spent <= float64(b.capacity)
}

// give returns a token for useful work.
func (b *bucket) give() { b.spent = max(0, b.spent-1) }

// costs is what the peer has cost beyond what it paid for. All but flood and abused is guarded by conn.mu.
type costs struct {
	abused func() // Options.Abused; fixed
	flood  bucket // frames that cost us something and carry nothing; of the reading goroutine

	cancels  bucket // exchanges that the client threw away, or of a client, that were thrown away here
	updates  int    // WINDOW_UPDATE frames that are paid for
	strays   int64  // what the peer may still send on streams that were reset from here
	refusing bool   // a server's: no stream is taken any more, for too many were thrown away
	grace    int    // how many may be thrown away from then on
	told     bool   // abused was called
}

func newCosts(abused func()) costs {
	return costs{
		abused:  abused,
		flood:   bucket{capacity: floodCapacity, perSecond: floodPerSecond},
		cancels: bucket{capacity: cancelCapacity, perSecond: cancelsPerSecond},
		strays:  strayGrace,
	}
}

// spend charges the peer for a frame that carries nothing.
func (k *costs) spend(what string) error {
	if k.flood.take(1) {
		return nil
	}
	return connError(CodeEnhanceYourCalm, "too many "+what)
}

// discard counts n exchanges that a client threw away. It reports whether they are more than it may by now, and fails once
// they are more than those that were under way when it was told. mu is held.
func (k *costs) discard(n int) (over bool, err error) {
	if !k.refusing {
		return !k.cancels.take(n), nil
	}
	if k.grace -= n; k.grace < 0 {
		return false, connError(CodeEnhanceYourCalm, "too many streams cancelled")
	}
	return false, nil
}

// refuse has no further stream taken; those that may still be thrown away are grace. mu is held.
func (k *costs) refuse(grace int) {
	k.refusing, k.grace = true, grace
	k.tell()
}

// tell says, once, that the peer has cost more than it may. mu is held.
func (k *costs) tell() {
	if !k.told && k.abused != nil {
		k.told = true
		k.abused()
	}
}

// payForUpdates lets the peer answer a DATA frame of ours. mu is held.
func (k *costs) payForUpdates() { k.updates = min(k.updates+updatesPerData, maxUpdates) }

// payUpdate charges the peer for an increment of n bytes. Those that answer DATA are paid for. mu is held.
func (k *costs) payUpdate(n int64) error {
	switch {
	case n >= smallUpdate:
		return nil
	case k.updates > 0:
		k.updates--
		return nil
	}
	return k.spend("WINDOW_UPDATE frames")
}

// stray accounts for DATA on a stream that was reset from here: what was in flight when the peer heard of it. More than
// the stream's window had left cannot have been, and without a bound a peer could have us read and decrypt for nothing as
// much as it likes, for the connection's window is given back at once. mu is held.
func (k *costs) stray(h frameHeader) error {
	if k.strays -= int64(h.length); k.strays < 0 {
		return connError(CodeFlowControl, "DATA beyond the windows of streams that were reset")
	}
	return nil
}

// charge makes the client pay for n exchanges thrown away. A client that overdraws is asked to go elsewhere (see calm),
// and cut off where it goes on: what can be thrown away still is what runs and what was sent before the client heard.
// mu is held.
func (c *conn) charge(n int) error {
	if c.server == nil {
		return nil
	}
	over, err := c.costs.discard(n)
	if over {
		c.ending.calm("too many streams cancelled")
	}
	return err
}

// Quota counts the requests that run for one peer.
type Quota struct {
	limit   int64
	running atomic.Int64
}

// NewQuota allows limit requests at a time.
func NewQuota(limit int) *Quota { return &Quota{limit: int64(limit)} }

// Running is how many requests run now.
func (q *Quota) Running() int { return int(q.running.Load()) }

func (q *Quota) take() bool {
	if q == nil {
		return true
	}
	if q.running.Add(1) <= q.limit {
		return true
	}
	q.running.Add(-1)
	return false
}

func (q *Quota) give() {
	if q != nil {
		q.running.Add(-1)
	}
}
