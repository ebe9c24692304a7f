package browser

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/tracing"
	"github.com/chromedp/chromedp"
)

// traceEvent is an event of the browser's own trace. Times are in microseconds; CPU is what the thread itself has run.
type traceEvent struct {
	Name string  `json:"name"`
	At   float64 `json:"ts"`
	Took float64 `json:"dur"`
	CPU  float64 `json:"tdur"`
	Pid  int     `json:"pid"`
	Tid  int     `json:"tid"`
	Args struct {
		Name string `json:"name"`
		Data struct {
			URL string `json:"documentLoaderURL"`
		} `json:"data"`
	} `json:"args"`
}

// recording is a trace.
type recording []traceEvent

// record gives what the browser notes while do runs, in order.
func record(t *testing.T, ctx context.Context, do func()) recording {
	t.Helper()
	var mu sync.Mutex
	var all recording
	var broken error
	complete := make(chan struct{})
	err := chromedp.Listen(ctx, func(ev any) {
		switch e := ev.(type) {
		case *tracing.EventDataCollected:
			mu.Lock()
			defer mu.Unlock()
			for _, v := range e.Value {
				var one traceEvent
				if err := json.Unmarshal(v, &one); err != nil && broken == nil {
					broken = fmt.Errorf("%s: %w", v, err)
				}
				all = append(all, one)
			}
		case *tracing.EventTracingComplete:
			close(complete)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = chromedp.Call(ctx, tracing.Start, tracing.StartParams{TraceConfig: &tracing.TraceConfig{
		RecordMode:         tracing.TraceConfigRecordModeRecordUntilFull,
		IncludedCategories: []string{"devtools.timeline", "disabled-by-default-devtools.timeline", "loading", "blink.user_timing"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	do()
	if _, err := chromedp.Call(ctx, tracing.End, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-complete:
	case <-time.After(patience):
		t.Fatal("the browser does not hand out its trace")
	}
	mu.Lock()
	defer mu.Unlock()
	if broken != nil {
		t.Fatal(broken)
	}
	slices.SortFunc(all, func(a, b traceEvent) int { return cmp.Compare(a.At, b.At) })
	return all
}

// find gives the first event that is wanted.
func (r recording) find(t *testing.T, what string, wanted func(*traceEvent) bool) traceEvent {
	t.Helper()
	i := slices.IndexFunc(r, func(e traceEvent) bool { return wanted(&e) })
	if i < 0 {
		t.Fatalf("the trace has no %s among %d events", what, len(r))
	}
	return r[i]
}

// thread is the thread of a process that has a name, of the given process, or of any where that is zero.
func (r recording) thread(t *testing.T, name string, pid int) traceEvent {
	t.Helper()
	return r.find(t, "thread "+name, func(e *traceEvent) bool {
		return e.Name == "thread_name" && strings.HasPrefix(e.Args.Name, name) && (pid == 0 || e.Pid == pid)
	})
}

// tasks are those that a thread began from one moment to another.
func (r recording) tasks(thread traceEvent, from, to float64) (out []traceEvent) {
	for _, e := range r {
		if e.Name == "RunTask" && e.Pid == thread.Pid && e.Tid == thread.Tid && e.At >= from && e.At < to {
			out = append(out, e)
		}
	}
	return out
}

// cpu is how long tasks have run together, and the longest of them.
func cpu(tasks []traceEvent) (sum, longest time.Duration) {
	for _, e := range tasks {
		took := time.Duration(e.CPU) * time.Microsecond
		sum, longest = sum+took, max(longest, took)
	}
	return sum, longest
}
