package directory

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// silent is a control channel on which nothing is ever answered.
type silent struct{}

func (silent) Use(string) {}
func (silent) Await(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestOnlyTheFirstUseWaitsForAControlPlaneThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connected := false
		p := &outage{Channel: silent{}, connected: func() bool { return connected }}
		wait := func() (time.Duration, error) {
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), FirstUse)
			defer cancel()
			err := p.Await(ctx, "ip/10.0.0.1:80")
			return time.Since(start), err
		}
		if took, err := wait(); took != FirstUse || err == nil {
			t.Errorf("the first: %s, %v", took, err)
		}
		for range 2 {
			if took, err := wait(); took != 0 || !errors.Is(err, errAway) {
				t.Errorf("another: %s, %v", took, err)
			}
		}
		connected = true
		if took, err := wait(); took != FirstUse || errors.Is(err, errAway) {
			t.Errorf("connected again: %s, %v", took, err)
		}
		connected = false
		if took, err := wait(); took != FirstUse || errors.Is(err, errAway) {
			t.Errorf("away again: %s, %v", took, err)
		}
	})
}

// A client that gives up says nothing about the control plane.
func TestAClientThatGoesAwaySaysNothing(t *testing.T) {
	p := &outage{Channel: silent{}, connected: func() bool { return false }}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Await(ctx, "x"); !errors.Is(err, context.Canceled) || p.lost.Load() {
		t.Errorf("Await = %v, lost = %v", err, p.lost.Load())
	}
}
