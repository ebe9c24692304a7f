package otlp

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// The bounds of a batch, those of OpenTelemetry's SDKs but for the time; a request of gRPC may be of 4 MiB by default.
const (
	Places        = 2048
	BatchItems    = 512
	batchAge      = time.Second
	maxBatchBytes = 1 << 20
)

// Retries of a batch: after a second, and twice as long each time; given up after tries. What comes meanwhile waits in the
// queue, or is dropped.
const (
	tries        = 5
	firstPause   = time.Second
	longestPause = 30 * time.Second
	longestAsked = time.Minute // that a collector may have it wait
	lastTime     = 2 * time.Second
)

// Options are what an exporter needs; all are required.
type Options struct {
	// To names the collector in the log.
	To      string
	Queue   *Queue
	Dialect Dialect
	Sender  Sender
	// Timeout is that of one request.
	Timeout time.Duration
	Logger  *slog.Logger
}

// Counts are what became of items.
type Counts struct {
	// Sent were taken by the collector. Full found no place in the queue, Refused were not taken by the collector, Failed did not
	// get there.
	Sent, Full, Refused, Failed uint64
}

// Plus gives the sum of two counts.
func (c Counts) Plus(o Counts) Counts {
	return Counts{Sent: c.Sent + o.Sent, Full: c.Full + o.Full, Refused: c.Refused + o.Refused, Failed: c.Failed + o.Failed}
}

// Exporter sends what a queue holds.
type Exporter struct {
	o                     Options
	sent, refused, failed atomic.Uint64
	// Of the goroutine of Run:
	failing, complained bool
	items               []byte
	count               int
}

// NewExporter returns an exporter; Run sends.
func NewExporter(o Options) *Exporter { return &Exporter{o: o} }

// Counts says what became of items so far.
func (e *Exporter) Counts() Counts {
	return Counts{Sent: e.sent.Load(), Full: e.o.Queue.Dropped(), Refused: e.refused.Load(), Failed: e.failed.Load()}
}

// Run sends until ctx ends, and then for at most two seconds what is left. A request that is under way when ctx ends is not broken
// off before that: the collector may have what it carries, and would get it twice.
func (e *Exporter) Run(ctx context.Context) {
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastTime, cancel) })()
	tick := time.NewTicker(batchAge)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-e.o.Queue.wake:
		}
		for ctx.Err() == nil && e.gather() {
			e.deliver(ctx, last)
		}
	}
	for (e.count > 0 || e.gather()) && last.Err() == nil {
		if _, again := e.once(last); again {
			break // it had its chance
		}
	}
	e.lose(&e.failed)
	for e.gather() {
		e.lose(&e.failed)
	}
}

// gather takes a batch out of the queue, and reports whether there is one.
func (e *Exporter) gather() bool {
	e.items, e.count = e.items[:0], 0
	for e.count < BatchItems {
		var ok bool
		if e.items, ok = e.o.Queue.take(e.items, e.o.Dialect.between, maxBatchBytes); !ok {
			break
		}
		e.count++
	}
	return e.count > 0
}

// lose counts the batch as lost.
func (e *Exporter) lose(as *atomic.Uint64) {
	as.Add(uint64(e.count))
	e.count = 0
}

// deliver sends the batch, again and again where that may help. Where ctx ends, the batch may be left. A request goes on until last.
func (e *Exporter) deliver(ctx, last context.Context) {
	for try := 1; ; try++ {
		pause, again := e.once(last)
		switch {
		case !again || ctx.Err() != nil:
			return
		case try == tries:
			e.lose(&e.failed)
			return
		}
		if pause == 0 {
			pause = min(firstPause<<(try-1), longestPause)
			pause += time.Duration(rand.Int64N(int64(pause) / 4)) //nolint:gosec // so that sidecars do not come all at once
		}
		t := time.NewTimer(min(pause, longestAsked))
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// once sends the batch once. again says that it is to be sent again, after a pause that the collector asks for where it does.
func (e *Exporter) once(ctx context.Context) (pause time.Duration, again bool) {
	limited, cancel := context.WithTimeout(ctx, e.o.Timeout)
	defer cancel()
	answer, err := e.o.Sender.Send(limited, e.o.Dialect.request(e.items))
	v := verdict{err: err, retry: true}
	if err == nil {
		v = e.o.Dialect.judge(answer)
	}
	switch {
	case v.err == nil:
		rejected := min(uint64(v.rejected), uint64(e.count))
		e.refused.Add(rejected)
		e.sent.Add(uint64(e.count) - rejected)
		e.count = 0
		e.works(v)
		return 0, false
	case ctx.Err() != nil:
		return 0, true
	}
	e.fails(v.err)
	if !v.retry {
		e.lose(&e.refused)
	}
	return v.after, v.retry
}

// fails says once that sending fails.
func (e *Exporter) fails(err error) {
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("no answer within " + e.o.Timeout.String())
	}
	if !e.failing {
		e.o.Logger.Warn("collector does not take what it is sent: what does not fit into the queue is dropped",
			slog.String("collector", e.o.To), slog.Any("error", err))
	}
	e.failing = true
}

// works says that sending works again, and once what a collector does not take of what it takes.
func (e *Exporter) works(v verdict) {
	if e.failing {
		e.o.Logger.Info("collector takes what it is sent again", slog.String("collector", e.o.To))
	}
	e.failing = false
	if (v.rejected > 0 || v.said != "") && !e.complained {
		e.complained = true
		e.o.Logger.Warn("collector takes a part of what it is sent", slog.String("collector", e.o.To),
			slog.Int64("rejected", v.rejected), slog.String("why", v.said))
	}
}
