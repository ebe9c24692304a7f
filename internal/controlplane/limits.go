package controlplane

import (
	"fmt"
	"time"

	"fairlead.dev/fairlead/internal/plan"
)

// What limits may be. A head is held in memory whole, and below a few KiB ordinary requests do not fit.
const (
	minHeadBytes = 8 << 10
	maxHeadBytes = 1 << 20
	minTimeout   = time.Second
)

// checkLimits says what is wrong with the limits of sidecars.
func checkLimits(l *plan.Limits) error {
	for _, t := range []struct {
		name  string
		value time.Duration
	}{{"idle timeout", l.Idle}, {"detection timeout", l.Detection}, {"stream idle timeout", l.StreamIdle}} {
		if t.value != 0 && t.value < minTimeout {
			return fmt.Errorf("%s %s: must be at least %s, or 0s for none", t.name, t.value, minTimeout)
		}
	}
	if l.HeadBytes != 0 && (l.HeadBytes < minHeadBytes || l.HeadBytes > maxHeadBytes) {
		return fmt.Errorf("max header bytes %d: must be from %d to %d", l.HeadBytes, minHeadBytes, maxHeadBytes)
	}
	return nil
}
