package otlp

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"slices"
	"sync"
)

// maxEnding bounds the outputs that still send what they hold, two seconds each.
const maxEnding = 4

// Outputs are the collectors in use, a queue and an exporter each, and what became of all items so far. The zero value has none. It
// is safe for concurrent use.
type Outputs struct {
	mu     sync.Mutex // of what follows
	used   []*Output
	ending []*Output // at most maxEnding
	past   Counts    // of outputs that are no more
	over   bool
}

// Output is a collector in use: items are put into its queue.
type Output struct {
	*Queue

	key      any
	exporter *Exporter
	stop     context.CancelFunc
	done     chan struct{}
}

// Choice chooses the outputs that are in use from now on.
type Choice struct {
	former []*Output
	used   []*Output
}

// Use gives the output of a key, one that is in use where one has an equal key; else one begins as options say, but for their
// queue. Keys are compared with reflect.DeepEqual.
func (c *Choice) Use(key any, options func() Options) *Output {
	same := func(o *Output) bool { return reflect.DeepEqual(o.key, key) }
	if i := slices.IndexFunc(c.used, same); i >= 0 {
		return c.used[i]
	}
	i := slices.IndexFunc(c.former, same)
	if i < 0 {
		c.used = append(c.used, begin(key, options()))
	} else {
		c.used = append(c.used, c.former[i])
	}
	return c.used[len(c.used)-1]
}

func begin(key any, options Options) *Output {
	ctx, stop := context.WithCancel(context.Background()) //nolint:forbidigo // it goes on when the proxy ends, to send what is left
	options.Queue = NewQueue(Places, BatchItems)
	o := &Output{Queue: options.Queue, key: key, exporter: NewExporter(options), stop: stop, done: make(chan struct{})}
	go func() {
		defer close(o.done)
		o.exporter.Run(ctx)
	}()
	return o
}

// Change has choose say which outputs are in use from now on; when it returns nobody may put items into others any more. These send
// what they hold for at most two seconds, in which Change does not wait unless too many do so already. After Close nothing happens.
func (o *Outputs) Change(choose func(*Choice)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return
	}
	c := Choice{former: o.used}
	choose(&c)
	o.used = c.used
	for _, former := range c.former {
		if !slices.Contains(o.used, former) {
			former.stop()
			o.ending = append(o.ending, former)
		}
	}
	for len(o.ending) > maxEnding {
		o.forget(o.ending[0])
	}
}

// forget waits for an output that was told to end, and keeps what it counted.
func (o *Outputs) forget(e *Output) {
	<-e.done
	o.past = o.past.Plus(e.exporter.Counts())
	o.ending = slices.DeleteFunc(o.ending, func(other *Output) bool { return other == e })
}

// Close ends all sending, after at most two seconds in which what is left is sent.
func (o *Outputs) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	for _, e := range o.used {
		e.stop()
	}
	o.ending, o.used = append(o.ending, o.used...), nil
	for len(o.ending) > 0 {
		o.forget(o.ending[0])
	}
}

// Counts says what became of items so far, those of outputs that are no more too.
func (o *Outputs) Counts() Counts {
	o.mu.Lock()
	defer o.mu.Unlock()
	sum := o.past
	for _, e := range slices.Concat(o.used, o.ending) {
		sum = sum.Plus(e.exporter.Counts())
	}
	return sum
}

// WriteMetrics writes the counts as two metrics, in the Prometheus text format 0.0.4.
func (c Counts) WriteMetrics(w io.Writer, sent, dropped string) error {
	_, err := fmt.Fprintf(w, "# TYPE %[1]s counter\n%[1]s %[2]d\n# TYPE %[3]s counter\n%[3]s{reason=\"full\"} %[4]d\n%[3]s{reason=\"refused\"} %[5]d\n%[3]s{reason=\"unreachable\"} %[6]d\n",
		sent, c.Sent, dropped, c.Full, c.Refused, c.Failed)
	return err
}
