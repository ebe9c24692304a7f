package exposition

import "encoding/binary"

// Histogram is one with native buckets. Its classic ones are beside them; Prometheus keeps those only where it is told to.
type Histogram struct {
	// Count is that of all observations, and what ZeroCount and Buckets are together.
	Count uint64
	Sum   float64
	// Cumulative counts the observations up to each of Bounds. That of infinity is Count.
	Bounds     []float64
	Cumulative []uint64
	// Schema says how wide native buckets are: each ends at 2^(2^-Schema) times the end of the one before it.
	Schema        int
	ZeroThreshold float64
	ZeroCount     uint64
	// First is the index of the first of Buckets; bucket 0 ends at 1.
	First   int
	Buckets []uint64
}

// maxGap is how many empty buckets are said one by one rather than by a span of their own, which takes as many bytes.
const maxGap = 2

// append appends the message.
func (h *Histogram) append(b []byte) []byte {
	b = appendUint(b, 1, h.Count)
	b = appendDouble(b, 2, h.Sum)
	var part []byte
	for i, bound := range h.Bounds {
		part = appendDouble(appendUint(part[:0], 1, h.Cumulative[i]), 2, bound)
		b = appendBytes(b, 3, part)
	}
	b = appendSint(b, 5, int64(h.Schema))
	b = appendDouble(b, 6, h.ZeroThreshold)
	b = appendUint(b, 7, h.ZeroCount)
	return h.appendSpans(b)
}

// appendSpans appends where there are buckets that are not empty, and how each differs from the one before it.
func (h *Histogram) appendSpans(b []byte) []byte {
	var deltas, span []byte
	before := uint64(0)
	end := 0 // of the span before, as an index of Buckets
	for i := h.next(0); i < len(h.Buckets); {
		start := i
		for stop := i; i < len(h.Buckets) && i-stop <= maxGap; i++ {
			if h.Buckets[i] > 0 {
				stop = i + 1
			}
		}
		for i > start && h.Buckets[i-1] == 0 {
			i--
		}
		offset := start - end
		if end == 0 {
			offset = start + h.First
		}
		span = appendUint(appendSint(span[:0], 1, int64(offset)), 2, uint64(i-start))
		b = appendBytes(b, 12, span)
		for _, n := range h.Buckets[start:i] {
			deltas = binary.AppendVarint(deltas, int64(n-before))
			before = n
		}
		end = i
		i = h.next(i)
	}
	if end == 0 {
		return b
	}
	return appendBytes(b, 13, deltas)
}

// next is the first bucket from i on that is not empty.
func (h *Histogram) next(i int) int {
	for i < len(h.Buckets) && h.Buckets[i] == 0 {
		i++
	}
	return i
}
