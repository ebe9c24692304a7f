package consul

import "context"

// slots bound how many questions are asked at a time. Those who wait go in order.
type slots chan struct{}

// acquire waits for a slot; it reports false where ctx ends first.
func (s slots) acquire(ctx context.Context) bool {
	select {
	case s <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s slots) release() { <-s }
