package telemetry

import (
	"math"
	"sync/atomic"
)

// bounds are Envoy's default histogram buckets, which Istio's dashboards expect: milliseconds for durations, bytes
// for sizes.
var bounds = [...]float64{ //nolint:gochecknoglobals // a table that never changes
	0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
}

// histogram counts per bucket (not cumulative) and keeps the sum. The zero value is ready.
type histogram struct {
	buckets [len(bounds) + 1]atomic.Uint64
	sum     atomic.Uint64 // bits of a float64
}

func (h *histogram) observe(v float64) {
	i := 0
	for i < len(bounds) && v > bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	for {
		old := h.sum.Load()
		if h.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}
