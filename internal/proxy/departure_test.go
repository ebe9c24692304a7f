package proxy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/observe"
)

// replicas is a control plane of several: each answers as its function says, by address; the first one is "".
type replicas struct {
	away bool
	say  map[string]func(*discovery.HoldersRequest) (*discovery.HoldersResponse, error)

	mu    sync.Mutex
	heard []discovery.HoldersRequest // by the first one; guarded by mu
}

func (r *replicas) Connected() bool { return !r.away }

func (r *replicas) Holders(ctx context.Context, addr string, q *discovery.HoldersRequest) (*discovery.HoldersResponse, error) {
	if addr == "" {
		r.mu.Lock()
		r.heard = append(r.heard, *q)
		r.mu.Unlock()
	}
	if q.Ended != 0 {
		return &discovery.HoldersResponse{}, nil
	}
	answer, err := r.say[addr](q)
	if err == nil && answer.Count > 0 { // it waits for as long as it is given
		select {
		case <-time.After(q.Wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return answer, err
}

// last is what was said at the end.
func (r *replicas) last() discovery.HoldersRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heard[len(r.heard)-1]
}

type holding = func(*discovery.HoldersRequest) (*discovery.HoldersResponse, error)

// counted answers always the same.
func counted(count uint64, others ...string) holding {
	return func(*discovery.HoldersRequest) (*discovery.HoldersResponse, error) {
		return &discovery.HoldersResponse{Marked: true, Count: count, Replicas: others}, nil
	}
}

// unmarked is of a replica that does not know that the pod ends.
func unmarked(count uint64) holding {
	return func(*discovery.HoldersRequest) (*discovery.HoldersResponse, error) {
		return &discovery.HoldersResponse{Count: count}, nil
	}
}

func fails(err error) holding {
	return func(*discovery.HoldersRequest) (*discovery.HoldersResponse, error) { return nil, err }
}

// after answers first until so much time has gone by since it was first asked.
func after(d time.Duration, first, then holding) holding {
	var begun time.Time
	return func(q *discovery.HoldersRequest) (*discovery.HoldersResponse, error) {
		if begun.IsZero() {
			begun = time.Now()
		}
		if time.Since(begun) < d {
			return first(q)
		}
		return then(q)
	}
}

var errRefused = errors.New("connection refused")

func TestDrainEnds(t *testing.T) {
	const grace = 30 * time.Second // of which 27 are used
	none := func() map[string]holding { return map[string]holding{"": counted(0)} }
	tests := []struct {
		name string
		busy time.Duration // how long a connection stays open
		told time.Duration // how long before the signal the control plane has told; 0 for never
		away bool
		say  func() map[string]holding
		want time.Duration // after the signal
		how  discovery.Ending
	}{
		{name: "at once where nothing is open and nobody holds it", say: none},
		{name: "at once where nobody can be asked", away: true, say: none},
		{name: "with the last connection", busy: time.Second, say: none, want: time.Second},
		{name: "in time whatever is open", busy: time.Minute, say: none, want: 5 * time.Second},
		{name: "once nobody holds it", told: time.Second, how: discovery.EndedReleased, want: 5 * time.Second, say: func() map[string]holding {
			return map[string]holding{"": after(6*time.Second, counted(2), counted(0))}
		}},
		{name: "at once where that was before the signal", told: 8 * time.Second, how: discovery.EndedReleased, say: func() map[string]holding {
			return map[string]holding{"": after(6*time.Second, counted(2), counted(0))}
		}},
		{name: "when the grace period is nearly over", told: 7 * time.Second, how: discovery.EndedForced, want: 20 * time.Second, say: func() map[string]holding {
			return map[string]holding{"": counted(1)}
		}},
		{name: "not before the connections have", told: 7 * time.Second, busy: 16 * time.Second, how: discovery.EndedReleased, want: 9 * time.Second, say: none},
		{name: "once the callers of every replica have let go", told: time.Second, how: discovery.EndedReleased, want: 8 * time.Second, say: func() map[string]holding {
			return map[string]holding{"": counted(0, "b", "c"), "b": after(9*time.Second, counted(1), counted(0)), "c": counted(0)}
		}},
		{name: "without a replica that does not answer", told: time.Second, how: discovery.EndedReleased, want: time.Second, say: func() map[string]holding {
			return map[string]holding{"": counted(0, "b"), "b": fails(errRefused)}
		}},
		{name: "not before a replica has heard that it ends", told: time.Second, how: discovery.EndedReleased, want: 3 * time.Second, say: func() map[string]holding {
			return map[string]holding{"": counted(0, "b"), "b": after(4*time.Second, unmarked(0), counted(0))}
		}},
		{name: "soon where the pod is held and stays", say: func() map[string]holding { return map[string]holding{"": unmarked(3)} }, want: 2 * time.Second},
		{name: "at once with an older control plane", say: func() map[string]holding {
			return map[string]holding{"": fails(&discovery.StatusError{Code: discovery.CodeUnimplemented})}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				control := &replicas{away: tt.away, say: tt.say()}
				p := &Proxy{o: Options{Drain: 5 * time.Second, Logger: slog.New(slog.DiscardHandler)}, draining: netio.NewSignal()}
				ctx, stop := context.WithCancel(t.Context())
				p.group.ctx = ctx //nolint:fatcontext // as Run does
				var err error
				if p.agent, err = observe.NewAgent(observe.AgentOptions{Tap: &p.tap, Logger: p.o.Logger}); err != nil {
					t.Fatal(err)
				}
				p.departure = newDeparture(control, &p.active, p.group.run, p.o.Logger)
				if tt.busy > 0 {
					p.active.Add(1)
					timer := time.AfterFunc(tt.busy, func() { p.active.Add(-1) })
					defer timer.Stop()
				}
				if tt.told > 0 {
					p.departure.tell(grace)
					p.departure.tell(grace) // said again, it does not begin anew
					time.Sleep(tt.told)
				}
				start := time.Now()
				p.drain(ctx)
				if took := time.Since(start).Truncate(2 * drainPoll); took != tt.want {
					t.Errorf("drain() took %s, want %s", took, tt.want)
				}
				if how := tt.how; how != 0 && control.last() != (discovery.HoldersRequest{Ended: how, Took: tt.told + time.Since(start)}) {
					t.Errorf("the last word was %+v, want %d after %s", control.last(), how, tt.told+time.Since(start))
				}
				stop()
				if err := p.group.wait(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A workload that no caller holds any more, and that takes long to end, goes on saying what is open.
func TestReportsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		control, open := &replicas{say: map[string]holding{"": counted(0)}}, new(atomic.Int64)
		open.Store(7)
		d := newDeparture(control, open, func(f func(context.Context)) { running.Go(func() { f(ctx) }) }, slog.New(slog.DiscardHandler))
		d.tell(40 * time.Second)
		<-d.released
		time.Sleep(3*reportEvery + time.Millisecond)
		synctest.Wait()
		if n := len(control.heard); n != 4 || control.last().Open != 7 || control.last().Left != 37*time.Second-3*reportEvery || control.last().Wait != 0 {
			t.Errorf("%d reports, the last %+v", n, control.last())
		}
		stop()
		running.Wait()
	})
}

func TestHoldApp(t *testing.T) {
	never := time.Time{}
	for _, tt := range []struct {
		name  string
		grace time.Duration // 0 where the workload does not end
		say   holding
		plain func(begun time.Time) time.Time // when the last one came
		want  time.Duration
	}{
		{"the workload stays", 0, counted(0), nil, time.Second},
		{"nobody holds it", 30 * time.Second, counted(0), nil, 0},
		{"a caller is slow", 30 * time.Second, after(5*time.Second, counted(1), counted(0)), nil, 6 * time.Second},
		{"a caller never lets go", 30 * time.Second, counted(1), nil, 9 * time.Second},
		{"a caller never lets go of one that has long", time.Hour, counted(1), nil, heldApp},
		{"one from outside came just now", 30 * time.Second, counted(0), func(begun time.Time) time.Time { return begun.Add(-300 * time.Millisecond) }, quiet},
		{"one from outside comes a moment later", 30 * time.Second, counted(0), func(begun time.Time) time.Time {
			if since := time.Since(begun); since < 700*time.Millisecond {
				return begun.Add(-time.Hour)
			}
			return begun.Add(700 * time.Millisecond)
		}, quiet + 700*time.Millisecond},
		{"one from outside comes all the time", 30 * time.Second, counted(0), func(time.Time) time.Time { return time.Now() }, 9 * time.Second},
		{"one from outside came long ago", 30 * time.Second, counted(0), func(begun time.Time) time.Time { return begun.Add(-time.Hour) }, quiet},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				var running sync.WaitGroup
				run := func(f func(context.Context)) { running.Go(func() { f(ctx) }) }
				d := newDeparture(&replicas{say: map[string]holding{"": tt.say}}, new(atomic.Int64), run, slog.New(slog.DiscardHandler))
				begun := time.Now()
				if tt.grace > 0 {
					d.tell(tt.grace)
				}
				d.holdApp(ctx, func() time.Time {
					if tt.plain == nil {
						return never
					}
					return tt.plain(begun)
				})
				if took := time.Since(begun); took != tt.want {
					t.Errorf("took %s, want %s", took, tt.want)
				}
				stop()
				running.Wait()
			})
		})
	}
}
