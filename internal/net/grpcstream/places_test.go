package grpcstream

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// crowd has n calls come one after another, and tells of each when it began, or why it did not.
type crowd struct {
	mu    sync.Mutex
	began []int
	most  int
	now   int
	why   map[int]error
}

// come starts call i: it keeps its place for a while, or for ever where that is 0.
func (c *crowd) come(ctx context.Context, p *Places, i int, work time.Duration) {
	place, err := p.Take(ctx)
	c.mu.Lock()
	if err != nil {
		c.why[i] = err
		c.mu.Unlock()
		return
	}
	c.began = append(c.began, i)
	c.now++
	c.most = max(c.most, c.now)
	c.mu.Unlock()
	if work == 0 {
		time.Sleep(p.o.Stay - time.Nanosecond) // it has no place soon
	} else {
		time.Sleep(work)
	}
	c.mu.Lock()
	c.now--
	c.mu.Unlock()
	if work > 0 {
		place.Leave()
		place.Leave() // once more is nothing
	}
}

// inOrder reports whether calls began as they came: those that get their places in one moment may say so in any order.
func (c *crowd) inOrder(room int) bool {
	for at, i := range c.began {
		if i-at >= room || at-i >= room {
			return false
		}
	}
	return true
}

// TestAStormIsServedInItsOrder: of a thousand calls at once a few have a place at a time, all of them come to one, first come, first
// served, and those that never give theirs back keep the others for so long and no longer.
func TestAStormIsServedInItsOrder(t *testing.T) {
	const calls, room = 1000, 8
	for _, tt := range []struct {
		name string
		work func(i int) time.Duration
		most time.Duration // until all have begun
	}{
		{"each_has_done_in_time", func(int) time.Duration { return 10 * time.Millisecond }, calls / room * 10 * time.Millisecond},
		{"nobody_leaves", func(int) time.Duration { return 0 }, calls / room * time.Second},
		{"some_never_leave", func(i int) time.Duration { return time.Duration(i%4) * 10 * time.Millisecond }, calls / room * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := NewPlaces(PlacesOptions{Room: room, Line: calls, Stay: time.Second, Wait: time.Hour})
				c := crowd{why: map[int]error{}}
				var all sync.WaitGroup
				begin := time.Now()
				for i := range calls {
					all.Go(func() { c.come(t.Context(), p, i, tt.work(i)) })
					synctest.Wait() // so that they come in this order
				}
				all.Wait()
				took := time.Since(begin)
				if len(c.began) != calls || !c.inOrder(room) || len(c.why) > 0 {
					t.Errorf("%d of %d began, in their order: %t; %v", len(c.began), calls, c.inOrder(room), c.why)
				}
				if c.most > room || took > tt.most+time.Second {
					t.Errorf("%d at once, want %d; it took %s, want %s", c.most, room, took, tt.most)
				}
				time.Sleep(p.o.Stay) // of those that have not left
				synctest.Wait()
				if p.taken != 0 || p.Waiting() != 0 {
					t.Errorf("%d places are taken and %d wait behind it", p.taken, p.Waiting())
				}
			})
		})
	}
}

// TestALineHasAnEnd: who finds no room to wait, or has waited for long enough, hears so; who goes while it waits takes no place.
func TestALineHasAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPlaces(PlacesOptions{Room: 1, Line: 2, Stay: time.Minute, Wait: 5 * time.Second})
		c := crowd{why: map[int]error{}}
		gone, leave := context.WithCancelCause(t.Context())
		var all sync.WaitGroup
		for i, ctx := range []context.Context{t.Context(), gone, t.Context(), t.Context()} {
			all.Go(func() { c.come(ctx, p, i, 20*time.Second) })
			synctest.Wait()
		}
		if e, ok := errors.AsType[*StatusError](c.why[3]); !ok || e.Code != CodeUnavailable {
			t.Errorf("the fourth is told %v, want UNAVAILABLE", c.why[3])
		}
		left := errors.New("left")
		leave(left)
		synctest.Wait()
		if !errors.Is(c.why[1], left) || p.Waiting() != 1 {
			t.Errorf("who left is told %v, %d wait", c.why[1], p.Waiting())
		}
		all.Wait()
		if e, ok := errors.AsType[*StatusError](c.why[2]); !ok || e.Code != CodeUnavailable || len(c.began) != 1 {
			t.Errorf("who waited is told %v, want UNAVAILABLE; %v began", c.why[2], c.began)
		}
		place, err := p.Take(t.Context())
		if err != nil || p.taken != 1 {
			t.Fatalf("a place that is free: %v, %d taken", err, p.taken)
		}
		place.Leave()
	})
}
