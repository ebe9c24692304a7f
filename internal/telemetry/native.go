package telemetry

import (
	"math"
	"sync/atomic"

	"fairlead.dev/fairlead/internal/exposition"
)

// Native histograms (https://prometheus.io/docs/specs/native_histograms/) have buckets whose ends are a factor of 2^(1/8) apart,
// schema 3. They are counted beside the classic ones, whose bounds do not fall together with theirs.
const (
	nativeSchema = 3
	perOctave    = 1 << nativeSchema
	// maxOctaves is how many doublings are told apart: latencies from 16 µs to a year, sizes up to a TiB. What is beyond is in the
	// last bucket.
	maxOctaves = 41
	// maxNative bounds the buckets of a series that are not empty, as Prometheus' Go client is configured by most. Where there are
	// more they are twice as wide; each is then two of those before.
	maxNative = 160
)

// octave is the buckets of one doubling.
type octave [perOctave]atomic.Uint64

// native counts in native buckets. An octave takes its 64 bytes when the first value comes in it.
type native struct {
	lowest    int     // the octave that is the first: it ends at 2^lowest
	threshold float64 // half of that; what is not above it is zero
	zero      atomic.Uint64
	octaves   [maxOctaves]atomic.Pointer[octave]
}

// nativeCell is the native histograms of a cell.
type nativeCell struct{ duration, reqBytes, respBytes native }

func newNativeCell() *nativeCell {
	c := new(nativeCell)
	c.duration.init(-5) // of milliseconds
	c.reqBytes.init(0)
	c.respBytes.init(0)
	return c
}

func (n *native) init(lowest int) { n.lowest, n.threshold = lowest, math.Ldexp(1, lowest-1) }

// durations, requestSizes and responseSizes give a histogram of a cell: the classic one, and the native one where there is one.
func (c *cell) durations() (*histogram, *native) {
	if c.native == nil {
		return &c.duration, nil
	}
	return &c.duration, &c.native.duration
}

func (c *cell) requestSizes() (*histogram, *native) {
	if c.native == nil {
		return &c.reqBytes, nil
	}
	return &c.reqBytes, &c.native.reqBytes
}

func (c *cell) responseSizes() (*histogram, *native) {
	if c.native == nil {
		return &c.respBytes, nil
	}
	return &c.respBytes, &c.native.respBytes
}

// ends are where the buckets of the octave that ends at 1 begin.
var ends = [...]float64{ //nolint:gochecknoglobals // a table that never changes
	0.5, 0.5452538663326288, 0.5946035575013605, 0.6484197773255048, 0.7071067811865476, 0.7711054127039704, 0.8408964152537145, 0.9170040432046712,
}

func (n *native) observe(v float64) {
	if v <= n.threshold {
		n.zero.Add(1)
		return
	}
	fraction, exponent := parts(v)
	at := (exponent-n.lowest)*perOctave - 1 // of all buckets, from 0
	for _, end := range &ends {
		if fraction <= end {
			break
		}
		at++
	}
	i, j := at/perOctave, at%perOctave
	if i >= maxOctaves {
		i, j = maxOctaves-1, perOctave-1
	}
	o := n.octaves[i].Load()
	if o == nil {
		o = new(octave)
		if !n.octaves[i].CompareAndSwap(nil, o) {
			o = n.octaves[i].Load()
		}
	}
	o[j].Add(1)
}

// parts is math.Frexp of a positive number that is not denormal.
func parts(v float64) (fraction float64, exponent int) {
	const size, bias, mask = 52, 1022, 0x7ff
	bits := math.Float64bits(v)
	return math.Float64frombits(bits&^(mask<<size) | bias<<size), int(bits>>size&mask) - bias
}

// with gives the histogram, for the classic one that counted the same.
func (n *native) with(h *histogram) *exposition.Histogram {
	out := &exposition.Histogram{Schema: nativeSchema, ZeroThreshold: n.threshold, First: (n.lowest-1)*perOctave + 1, Bounds: bounds[:]}
	total := uint64(0)
	for i := range bounds { // first: what is counted meanwhile is in a native bucket before it is in a classic one
		total += h.buckets[i].Load()
		out.Cumulative = append(out.Cumulative, total)
	}
	out.Sum = math.Float64frombits(h.sum.Load())
	out.ZeroCount = n.zero.Load()
	out.Count = out.ZeroCount
	out.Buckets = make([]uint64, maxOctaves*perOctave)
	filled := 0
	for i := range n.octaves {
		o := n.octaves[i].Load()
		if o == nil {
			continue
		}
		for j := range o {
			count := o[j].Load()
			out.Buckets[i*perOctave+j] = count
			out.Count += count
			filled += int(min(count, 1))
		}
	}
	for filled > maxNative {
		filled = widen(out)
	}
	return out
}

// widen makes buckets twice as wide, and says how many are not empty then.
func widen(h *exposition.Histogram) (filled int) {
	h.Schema--
	first := (h.First + 1) >> 1
	wide := make([]uint64, (h.First+len(h.Buckets))>>1-first+1)
	for i, n := range h.Buckets {
		wide[(h.First+i+1)>>1-first] += n
	}
	h.First, h.Buckets = first, wide
	for _, n := range wide {
		filled += int(min(n, 1))
	}
	return filled
}
