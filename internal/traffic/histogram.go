package traffic

import (
	"math/bits"
	"time"
)

// Buckets is how many buckets a Histogram has.
const Buckets = 44

// bounds are the upper bounds of the buckets but the last, in microseconds: each is the one before times the square root of
// two, so that a quantile is off by a fifth at most. They are part of what goes over the wire: never change them.
var bounds = [Buckets - 1]uint64{ //nolint:gochecknoglobals // a table that never changes
	50, 71, 100, 141, 200, 283, 400, 566, 800, 1131, 1600, 2263, 3200, 4525, 6400, 9051, 12800, 18102, 25600, 36204, 51200, 72408,
	102400, 144815, 204800, 289631, 409600, 579262, 819200, 1158524, 1638400, 2317048, 3276800, 4634095, 6553600, 9268190, 13107200,
	18536380, 26214400, 37072760, 52428800, 74145520, 104857600,
}

// Histogram counts durations by size.
type Histogram [Buckets]uint64

// Bucket gives the index of the bucket that a duration belongs to.
func Bucket(d time.Duration) int {
	if d < 0 {
		d = 0
	}
	us := (uint64(d) + 999) / 1000 // a bound belongs to its bucket
	if us <= bounds[0] {
		return 0
	}
	// Two buckets for each doubling of 50 µs.
	i := min(2*(bits.Len64((us-1)/bounds[0])-1), len(bounds))
	for i < len(bounds) && us > bounds[i] {
		i++
	}
	return i
}

// Add adds what another histogram has counted.
func (h *Histogram) Add(o *Histogram) {
	for i, n := range o {
		h[i] += n
	}
}

// Count is how many durations were counted.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h {
		n += c
	}
	return n
}

// Quantile is the duration that a share q of all do not exceed, between 0 and 1, as if those of a bucket lay evenly spread in it.
// What is beyond the last bound counts as the bound. It is 0 where nothing was counted.
func (h *Histogram) Quantile(q float64) time.Duration {
	total := h.Count()
	if total == 0 {
		return 0
	}
	rank, before := q*float64(total), uint64(0)
	for i, n := range h {
		if n == 0 || float64(before+n) < rank {
			before += n
			continue
		}
		if i == len(bounds) {
			break
		}
		low := uint64(0)
		if i > 0 {
			low = bounds[i-1]
		}
		within := max(rank-float64(before), 0) / float64(n)
		us := float64(low) + within*float64(bounds[i]-low)
		return time.Duration(us * float64(time.Microsecond))
	}
	return time.Duration(bounds[len(bounds)-1]) * time.Microsecond
}
