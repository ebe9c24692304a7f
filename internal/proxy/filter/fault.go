package filter

import (
	"context"
	"math/rand/v2"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// Fault makes a request suffer what its route's fault says: first a delay, then an end. The two shares are drawn
// independently, as in Envoy's fault filter.
type Fault struct{}

// Request implements Filter.
func (Fault) Request(ctx context.Context, c *Call) error {
	f := c.Route.Plan.Fault
	if f == nil {
		return nil
	}
	if f.Delay > 0 && chance(f.DelayPercent) {
		c.flag("DI")
		if err := pause(ctx, f.Delay); err != nil {
			return err
		}
	}
	if f.AbortStatus != 0 && chance(f.AbortPercent) {
		return &httpx.Error{Reason: httpx.FaultAbort, Status: f.AbortStatus, GRPC: f.AbortGRPC, Object: c.Route.Plan.Origin}
	}
	return nil
}

// chance is true in so many of a hundred cases, to the millionth: as Envoy draws.
func chance(percent float64) bool {
	const million = 1_000_000
	share := model.PerMillion(percent)
	return share >= million || share > 0 && rand.Uint32N(million) < share //nolint:gosec // sampling needs no secrecy
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
