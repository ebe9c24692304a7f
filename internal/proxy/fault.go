package proxy

import (
	"context"
	"math/rand/v2"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// inject makes a request suffer what its route's fault says: first a delay, then an end. The two shares are drawn
// independently, as in Envoy's fault filter.
func (r *requester) inject(ctx context.Context, f *model.Fault) error {
	if f.Delay > 0 && chance(f.DelayPercent) {
		r.delayed = true
		if !pause(ctx, f.Delay) {
			return ctx.Err()
		}
	}
	if f.AbortStatus != 0 && chance(f.AbortPercent) {
		return &httpx.Error{Kind: httpx.FaultAbort, Status: f.AbortStatus, Object: r.route.Plan.Origin}
	}
	return nil
}

// chance is true in so many of a hundred cases.
func chance(percent float64) bool {
	return percent >= 100 || percent > 0 && rand.Float64()*100 < percent //nolint:gosec // sampling needs no secrecy
}

// addFlag appends one of Envoy's response flags to others.
func addFlag(flags, more string) string {
	if flags == "" {
		return more
	}
	return flags + "," + more
}
