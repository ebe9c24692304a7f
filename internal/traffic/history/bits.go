package history

import (
	"math/bits"
	"slices"
)

// Numbers of a column are written as Rice codes: v>>k zeros and a one, then the low k bits of v. Where that would be more zeros than
// escape, these many are followed by all 64 bits, so that one large number among small ones costs only itself.
const escape = 20

// riceBits is how many bits a number takes.
func riceBits(v uint64, k uint) uint64 {
	if zeros := v >> k; zeros < escape {
		return zeros + 1 + uint64(k)
	}
	return escape + 1 + 64
}

// constant stands for k where all numbers are zero, which takes no bits.
const constant = 63

// riceFor gives a k by which the numbers take few bits, and how many these are.
func riceFor(numbers []uint64) (best uint, least uint64) {
	if slices.Max(numbers) == 0 {
		return constant, 0
	}
	mean := uint64(0)
	for _, v := range numbers {
		mean += v / uint64(len(numbers)) // the sum may be too large
	}
	least = ^uint64(0)
	// The best one is near the length of the mean, or below where few large numbers make it.
	middle := bits.Len64(mean)
	for k := max(middle-4, 0); k <= min(middle+1, constant-1); k++ {
		cost := uint64(0)
		for _, v := range numbers {
			cost += riceBits(v, uint(k))
		}
		if cost < least {
			least, best = cost, uint(k)
		}
	}
	return best, least
}

// zigzag makes small numbers of those that are near zero, unzigzag these of them again.
func zigzag(v uint64) uint64   { return v<<1 ^ uint64(int64(v)>>63) }
func unzigzag(v uint64) uint64 { return v>>1 ^ -(v & 1) }

// bitWriter appends bits, the lowest first.
type bitWriter struct {
	b   []byte
	acc uint64
	n   uint // bits in acc, below 8 between calls
}

// put writes the low bits of v, at most 32; v has no others.
func (w *bitWriter) put(v uint64, bits uint) {
	w.acc |= v << w.n
	for w.n += bits; w.n >= 8; w.n -= 8 {
		w.b = append(w.b, byte(w.acc))
		w.acc >>= 8
	}
}

func (w *bitWriter) rice(v uint64, k uint) {
	zeros := v >> k
	if zeros >= escape {
		w.put(1<<escape, escape+1)
		w.put(v&(1<<32-1), 32)
		w.put(v>>32, 32)
		return
	}
	w.put(1<<zeros, uint(zeros)+1)
	low := v & (1<<k - 1)
	w.put(low&(1<<32-1), min(k, 32))
	if k > 32 {
		w.put(low>>32, k-32)
	}
}

// end writes the last bits, and gives all.
func (w *bitWriter) end() []byte {
	if w.n > 0 {
		w.b = append(w.b, byte(w.acc))
	}
	return w.b
}

// bitReader reads what bitWriter has written. Behind the end there are zeros.
type bitReader struct {
	b   []byte
	acc uint64
	n   uint
}

// fill has at least 32 bits in acc.
func (r *bitReader) fill() {
	for r.n <= 56 {
		if len(r.b) == 0 {
			if r.n < 32 {
				r.n = 64
			}
			return
		}
		r.acc |= uint64(r.b[0]) << r.n
		r.b = r.b[1:]
		r.n += 8
	}
}

// take reads at most 32 bits.
func (r *bitReader) take(count uint) uint64 {
	if r.n < count {
		r.fill()
	}
	v := r.acc & (1<<count - 1)
	r.acc >>= count
	r.n -= count
	return v
}

func (r *bitReader) rice(k uint) uint64 {
	r.fill()
	zeros := uint(bits.TrailingZeros64(r.acc | 1<<escape))
	r.acc >>= zeros + 1
	r.n -= zeros + 1
	if zeros == escape {
		low := r.take(32)
		return low | r.take(32)<<32
	}
	v := r.take(min(k, 32))
	if k > 32 {
		v |= r.take(k-32) << 32
	}
	return uint64(zeros)<<k | v
}
