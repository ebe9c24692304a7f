package proxy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/proxy/call"
)

// holders can be asked who may still choose this workload: a Discovery.
type holders interface {
	Holders(ctx context.Context, addr string, r *discovery.HoldersRequest) (*discovery.HoldersResponse, error)
	Connected() bool
}

// departure is the end of the workload: from the moment that the control plane says so, or that the process is told to end,
// to the moment that nobody calls it any more. Callers are asked to go elsewhere meanwhile, and served.
// docs/adr/0015-acknowledged-drain.md has the reasons.
type departure struct {
	control holders
	open    *atomic.Int64 // connections
	run     func(func(context.Context))
	log     *slog.Logger

	leaving  *netio.Signal // given when it begins
	released chan struct{} // closed when no caller may choose the workload any more
	hopeless chan struct{} // closed when the control plane does not know that the workload ends, or who holds it
	ended    *netio.Signal // given when it is over: nothing is asked any more
	asked    chan struct{} // closed when the last question has been answered or given up

	mu       sync.Mutex
	begun    time.Time // guarded by mu, as the next two; zero before
	told     bool      // by the control plane
	deadline time.Time // as the control plane says; zero where it does not
}

func newDeparture(control holders, open *atomic.Int64, run func(func(context.Context)), log *slog.Logger) *departure {
	return &departure{
		control: control, open: open, run: run, log: log,
		leaving: netio.NewSignal(), released: make(chan struct{}), hopeless: make(chan struct{}),
		ended: netio.NewSignal(), asked: make(chan struct{}),
	}
}

// margin is what is left of a pod's grace period for the end of the process itself, before the kubelet kills it.
func margin(grace time.Duration) time.Duration {
	return min(max(grace/10, 500*time.Millisecond), 3*time.Second, grace/2)
}

// tell says that the control plane knows that the workload ends, within grace.
func (d *departure) tell(grace time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.told {
		return
	}
	d.told, d.deadline = true, time.Now().Add(grace-margin(grace))
	d.begin()
}

// end says that the process is told to end; within limit where the control plane has not said how long it may take. It
// gives the moment at which what is left is cut.
func (d *departure) end(limit time.Duration) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begin()
	if d.told {
		return d.deadline
	}
	return time.Now().Add(limit)
}

// begin is idempotent. mu is held.
func (d *departure) begin() {
	if !d.begun.IsZero() {
		return
	}
	d.begun = time.Now()
	d.leaving.Give()
	d.run(d.askUntilEnded)
	d.log.Info("the workload ends: callers are asked to go elsewhere", slog.Int64("connections", d.open.Load()), slog.Bool("told_by_control_plane", d.told))
}

// isTold reports whether the control plane has said that the workload ends.
func (d *departure) isTold() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.told
}

// left is how long it may take still.
func (d *departure) left() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.deadline.IsZero() {
		return 0
	}
	return time.Until(d.deadline)
}

const (
	// holdersWait is how long a replica may wait with its answer.
	holdersWait = 2 * time.Second
	// askPause is between rounds; a control plane takes one call a second in the long run.
	askPause = time.Second
	// reportEvery is the time between reports when no caller holds the workload any more; the control plane forgets a pod that says
	// nothing for 10 s.
	reportEvery = 4 * time.Second
	// givenUp is how many times in a row a replica does not answer before it counts as gone: a sidecar that was connected to it has
	// turned to another one, or hears nothing from any.
	givenUp = 3
	// lastWord bounds the report of how it ended.
	lastWord = time.Second
)

// askUntilEnded asks until the departure is over: a question that came after the last word would be taken for a workload that still ends.
func (d *departure) askUntilEnded(ctx context.Context) {
	defer close(d.asked)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer d.ended.Then(ctx, func(context.Context) { cancel() })()
	d.ask(ctx)
}

// ask asks every replica of the control plane, round by round, until none knows a caller that may choose the workload.
func (d *departure) ask(ctx context.Context) {
	failures := make(map[string]int)
	hopeless := sync.OnceFunc(func() { close(d.hopeless) })
	for {
		switch d.tally(d.round(ctx, holdersWait), failures) {
		case heldByNone:
			d.mu.Lock()
			took := time.Since(d.begun)
			d.mu.Unlock()
			d.log.InfoContext(ctx, "no caller in the mesh chooses the workload any more", slog.Duration("after", took))
			close(d.released)
			d.keepReporting(ctx)
			return
		case notToldOf:
			hopeless()
		case heldBySome:
		}
		if !call.Pause(ctx, askPause) {
			return
		}
	}
}

// keepReporting says what is open until the end, for the pages of the control plane.
func (d *departure) keepReporting(ctx context.Context) {
	for call.Pause(ctx, reportEvery) {
		d.round(ctx, 0)
	}
}

// word is what one replica says.
type word struct {
	addr string // empty for the one that was asked first
	*discovery.HoldersResponse
	err error
}

// round asks one replica, and then those that it names. Each may wait with its answer.
func (d *departure) round(ctx context.Context, wait time.Duration) []word {
	question := func() *discovery.HoldersRequest {
		return &discovery.HoldersRequest{Told: d.isTold(), Wait: wait, Open: uint64(max(0, d.open.Load())), Left: max(0, d.left())}
	}
	first, err := d.control.Holders(ctx, "", question())
	words := []word{{"", first, err}}
	if err != nil {
		return words
	}
	others := make([]word, len(first.Replicas))
	var asking sync.WaitGroup
	for i, addr := range first.Replicas {
		asking.Go(func() {
			r, err := d.control.Holders(ctx, addr, question())
			others[i] = word{addr, r, err}
		})
	}
	asking.Wait()
	return append(words, others...)
}

// held is whether callers hold the workload, as the replicas say together.
type held uint8

const (
	heldBySome held = iota + 1
	heldByNone
	notToldOf // it is held, and no replica knows that the workload ends
)

// tally puts the words of a round together. failures counts, by address, how many times in a row there was none.
func (d *departure) tally(words []word, failures map[string]int) held {
	out := heldByNone
	known := false
	for _, w := range words {
		if w.err != nil {
			failures[w.addr]++
			if failures[w.addr] < givenUp || w.addr == "" {
				out = heldBySome // or may
			}
			continue
		}
		failures[w.addr] = 0
		known = known || w.Marked
		if w.Count > 0 || d.isTold() && !w.Marked { // one that has not heard yet would give the workload to newcomers
			out = heldBySome
		}
	}
	if status, ok := errors.AsType[*discovery.StatusError](words[0].err); ok && status.Code == discovery.CodeUnimplemented {
		return notToldOf // an older control plane
	}
	if out == heldBySome && !known && words[0].err == nil && !d.isTold() {
		return notToldOf
	}
	return out
}

// settled reports whether there is nothing to wait for but what is open: no caller may choose the workload, or no replica can be
// asked.
func (d *departure) settled() bool {
	select {
	case <-d.released:
		return true
	case <-d.hopeless:
		return true
	default:
		return !d.control.Connected()
	}
}

// report tells the control plane how it ended, where that had told the workload to. It is called once, after end.
func (d *departure) report(ctx context.Context, how discovery.Ending) {
	d.ended.Give()
	<-d.asked
	d.mu.Lock()
	took, told := time.Since(d.begun), d.told
	d.mu.Unlock()
	d.log.InfoContext(ctx, "the workload has ended", slog.Duration("after", took), slog.Bool("cut", how == discovery.EndedForced), slog.Int64("connections", d.open.Load()))
	if !told || !d.control.Connected() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lastWord)
	defer cancel()
	_, _ = d.control.Holders(ctx, "", &discovery.HoldersRequest{Ended: how, Took: took}) // nothing depends on it
}

const (
	// heldApp is how long the app's end is put off at most, and the share of the grace period.
	heldApp      = 10 * time.Second
	heldAppShare = 3
	// toldWithin is how long the control plane may take to say that the workload ends after the kubelet has said so.
	toldWithin = time.Second
	// quiet is how long no caller from outside the mesh must have come, since the beginning too: such callers acknowledge
	// nothing, and kube-proxy takes up to a second to send them elsewhere (minSyncPeriod).
	quiet = 2 * time.Second
)

// holdApp returns when the app may be told to end: when no caller chooses the workload any more and those from outside the
// mesh, where there ever were any, have stopped coming (lastPlain is when the last one came), or when a part of the grace
// period is over. Where the workload does not end, it
// returns after a second.
func (d *departure) holdApp(ctx context.Context, lastPlain func() time.Time) {
	timer := time.NewTimer(toldWithin)
	defer timer.Stop()
	select {
	case <-d.leaving.Given():
	case <-timer.C:
		return
	case <-ctx.Done():
		return
	}
	d.mu.Lock()
	begun, until := d.begun, d.begun
	if d.told {
		until = d.begun.Add(min(heldApp, d.deadline.Sub(d.begun)/heldAppShare))
	}
	d.mu.Unlock()
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	select {
	case <-d.released:
	case <-ctx.Done():
		return
	}
	for {
		last := lastPlain()
		if last.IsZero() {
			return
		}
		if last.Before(begun) {
			last = begun
		}
		left := quiet - time.Since(last)
		if left <= 0 || !call.Pause(ctx, left) {
			return
		}
	}
}
