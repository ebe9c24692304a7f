package observe

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Link is one stream of messages to the other end. Send is for one goroutine at a time, and so is Receive.
type Link interface {
	// Send waits while the other end does not read.
	Send(message []byte) error
	Receive() ([]byte, error)
	// Close ends the stream, and so what waits in the other methods. It may be called from any goroutine.
	Close()
}

const (
	// SummaryEvery is how often a sidecar sends its summary.
	SummaryEvery = 10 * time.Second
	// MaxSummary bounds a summary, in bytes.
	MaxSummary = 64 << 10
)

// AgentOptions configure NewAgent.
type AgentOptions struct {
	// Tap is the sink of the sidecar. Required.
	Tap *Tap
	// Summary gives the summary of what was since it was called last; nil sends none, as does an empty one. It is called by
	// one goroutine, and only while there is a link that takes what it gives.
	Summary func() []byte
	// Every is the time between summaries; 0 means SummaryEvery.
	Every time.Duration
	// Logger is required.
	Logger *slog.Logger
}

// Agent is the sidecar's end of the channel.
type Agent struct {
	o AgentOptions
	// last has who waits for a summary to be sent at once.
	last chan chan<- struct{}
	// serving says that there is a link.
	serving atomic.Bool
}

// NewAgent checks the options.
func NewAgent(o AgentOptions) (*Agent, error) {
	if o.Tap == nil || o.Logger == nil {
		return nil, errors.New("observation: Tap and Logger are required")
	}
	if o.Every == 0 {
		o.Every = SummaryEvery
	}
	return &Agent{o: o, last: make(chan chan<- struct{})}, nil
}

// Last sends a summary at once: the last one of a sidecar that ends, whose calls of up to ten seconds nobody would hear of otherwise.
// It returns when the link has taken it, or ctx ends, as it must: the control plane may have stalled. Without a link it does nothing.
func (a *Agent) Last(ctx context.Context) {
	if !a.serving.Load() {
		return
	}
	sent := make(chan struct{})
	select {
	case a.last <- sent:
	case <-ctx.Done():
		return
	}
	select {
	case <-sent:
	case <-ctx.Done():
	}
}

// Serve does what the control plane asks over a link, until that is over or ctx ends; the link must end with ctx. What was
// asked for ends with the link. It is called one call at a time.
func (a *Agent) Serve(ctx context.Context, link Link) error {
	ctx, cancel := context.WithCancel(ctx)
	wake := make(chan struct{}, 1)
	a.serving.Store(true)
	defer a.serving.Store(false)
	var sending sync.WaitGroup
	sending.Go(func() {
		a.send(ctx, link, wake)
		link.Close()
	})
	err := a.receive(ctx, link, wake)
	a.o.Tap.end(0)
	cancel()
	sending.Wait()
	return err
}

func (a *Agent) receive(ctx context.Context, link Link, wake chan struct{}) error {
	for {
		message, err := link.Receive()
		if err != nil {
			return err
		}
		wish, err := parseAsk(message)
		if err != nil {
			a.o.Logger.LogAttrs(ctx, slog.LevelWarn, "observation: a question was not understood", slog.Any("error", err))
			continue
		}
		if wish.untap != 0 {
			a.o.Tap.end(wish.untap)
		}
		if wish.tap != nil {
			if err := a.o.Tap.begin(wish.tap, wake); err != nil {
				a.o.Logger.LogAttrs(ctx, slog.LevelWarn, "observation: tap refused", slog.Any("error", err))
			}
		}
	}
}

// send sends what taps have kept, and the summary when its time has come. A link that does not take a message makes the
// next one later, and what it holds greater.
func (a *Agent) send(ctx context.Context, link Link, wake <-chan struct{}) {
	tick := time.NewTicker(a.o.Every)
	defer tick.Stop()
	var out []byte
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			out, err = a.sendSummary(ctx, link, out)
		case sent := <-a.last:
			out, err = a.sendSummary(ctx, link, out)
			close(sent)
		case <-wake:
			out, err = a.sendTapped(link, out)
		}
		if err != nil {
			return
		}
	}
}

func (a *Agent) sendSummary(ctx context.Context, link Link, out []byte) ([]byte, error) {
	summary := a.summary(ctx)
	if len(summary) == 0 {
		return out, nil
	}
	out = (&said{summary: summary}).append(out[:0])
	return out, link.Send(out)
}

// sendTapped sends one message for each tap that has something.
func (a *Agent) sendTapped(link Link, out []byte) ([]byte, error) {
	for _, t := range a.o.Tap.list() {
		kept, some := t.drain()
		if !some {
			continue
		}
		out = (&said{tapped: []tapped{kept}}).append(out[:0])
		if err := link.Send(out); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (a *Agent) summary(ctx context.Context) []byte {
	if a.o.Summary == nil {
		return nil
	}
	summary := a.o.Summary()
	if len(summary) > MaxSummary {
		a.o.Logger.LogAttrs(ctx, slog.LevelWarn, "observation: the summary is too long and is left out", slog.Int("bytes", len(summary)))
		return nil
	}
	return summary
}
