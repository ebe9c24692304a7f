package h2

import "time"

// What a peer may spend at once and per second on frames that carry nothing and make us do something: PING, SETTINGS,
// PRIORITY, GOAWAY, empty DATA. Real peers stay below by two orders of magnitude. Frames on closed streams are not
// among them: after a burst of timeouts here, thousands of them arrive for streams that we have cancelled.
const (
	floodCapacity  = 1000
	floodPerSecond = 500
	// resetsPerSecond is how many streams a peer may cancel beyond those that complete (rapid reset,
	// CVE-2023-44487).
	resetsPerSecond = 200
	// maxContinuations is how many CONTINUATION frames one block may have (CVE-2024-27316).
	maxContinuations = 128
)

// bucket is a token bucket that fills up with time and with work done.
type bucket struct {
	capacity, perSecond int
	spent               float64
	since               time.Time
}

// take spends one token; false means that the peer overdoes it.
func (b *bucket) take() bool {
	now := time.Now()
	b.spent = max(0, b.spent-now.Sub(b.since).Seconds()*float64(b.perSecond)) + 1
	b.since = now
	return b.spent <= float64(b.capacity)
}

// give returns a token for useful work.
func (b *bucket) give() { b.spent = max(0, b.spent-1) }
