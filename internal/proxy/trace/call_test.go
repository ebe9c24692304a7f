package trace

import (
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
)

func sideOf(t *plan.Tracing) *Side {
	s := &Side{Serving: new(atomic.Int64)}
	s.rules.Store(newRules(t, &Options{Env: func(string) string { return "" }}))
	return s
}

func collected(percent float64) *plan.Tracing {
	return &plan.Tracing{Provider: &model.TraceProvider{Name: "c", Protocol: model.TraceOTLPGRPC}, Sampling: percent, MaxTagLength: 256}
}

// TestDecision: what a request brings along is kept; the rest is sampled.
func TestDecision(t *testing.T) {
	const yes, no = "traceparent: 00-" + traceHex + "-" + spanHex + "-01", "traceparent: 00-" + traceHex + "-" + spanHex + "-00"
	for _, tt := range []struct {
		name    string
		percent float64
		head    []string
		reports bool
		flag    string // of the traceparent that goes on
	}{
		{"begun_at_100", 100, nil, true, "-01"},
		{"begun_at_0", 0, nil, false, "-00"},
		{"sampled_before_at_0", 0, []string{yes}, true, "-01"},
		{"dropped_before_at_100", 100, []string{no}, false, "-00"},
		{"b3_no_at_100", 100, []string{"b3: 0"}, false, "-00"},
		{"b3_yes_at_0", 0, []string{"x-b3-sampled: 1"}, true, "-01"},
		{"b3_undecided_at_100", 100, []string{"b3: " + traceHex + "-" + spanHex}, true, "-01"},
		{"b3_undecided_at_0", 0, []string{"b3: " + traceHex + "-" + spanHex}, false, "-00"},
		{"broken_at_100", 100, []string{"traceparent: 00-x"}, true, "-01"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := fieldsOf(tt.head...)
			c := sideOf(collected(tt.percent)).Begin(f)
			c.Try(f, time.Now())
			if c.Reports() != tt.reports {
				t.Errorf("Reports() = %v", c.Reports())
			}
			if got := string(f.Get(parentField)); !strings.HasSuffix(got, tt.flag) || !strings.HasPrefix(got, "00-") {
				t.Errorf("traceparent %q, want one that ends in %s", got, tt.flag)
			}
			after := Read(f)
			if before := Read(fieldsOf(tt.head...)); before.Trace != (ID{}) && after.Trace != before.Trace {
				t.Errorf("trace %x became %x", before.Trace, after.Trace)
			}
			if tt.reports && (after.Parent != c.span || after.Parent == spanIDOf(t, spanHex)) {
				t.Errorf("parent %x, want the span %x", after.Parent, c.span)
			}
		})
	}
}

// TestEachTryHasASpan: of one parent.
func TestEachTryHasASpan(t *testing.T) {
	f := fieldsOf("traceparent: 00-" + traceHex + "-" + spanHex + "-01")
	c := sideOf(collected(0)).Begin(f)
	seen := map[[8]byte]bool{}
	for try := 1; try <= 3; try++ {
		c.Try(f, time.Now())
		r := c.Record()
		if r.Try != try || SpanID(r.Parent) != spanIDOf(t, spanHex) || seen[r.Span] || Read(f).Parent != SpanID(r.Span) {
			t.Errorf("try %d: %+v, head %q", try, r, linesOf(f))
		}
		seen[r.Span] = true
	}
}

// TestHeadsThatPass: where no span is sent, the parent that others know stays.
func TestHeadsThatPass(t *testing.T) {
	const parent = "traceparent: 00-" + traceHex + "-" + spanHex + "-01"
	quiet, closed := collected(100), collected(100)
	quiet.NoReport, closed.NoPropagation = true, true
	for name, tt := range map[string]struct {
		rules   *plan.Tracing
		reports bool
	}{
		"no_rules": {nil, false}, "no_collector": {&plan.Tracing{Sampling: 100}, false}, "no_report": {quiet, false}, "no_propagation": {closed, true},
	} {
		f := fieldsOf(parent, "tracestate: a=1")
		c := sideOf(tt.rules).Begin(f)
		c.Try(f, time.Now())
		if got := strings.Join(linesOf(f), "\n"); got != parent+"\ntracestate: a=1" || c.Reports() != tt.reports {
			t.Errorf("%s: reports %v, head %s", name, c.Reports(), got)
		}
	}
}

// TestSampling: one percent is one percent.
func TestSampling(t *testing.T) {
	r := newRules(collected(1), nil)
	if want := uint64(math.MaxUint64 / 100); r.below < want-want/1000 || r.below > want+want/1000 {
		t.Errorf("1 %% of 2^64 is %d, want about %d", r.below, want)
	}
	if newRules(collected(100), nil).sample() != Sampled || newRules(collected(0), nil).sample() != Dropped {
		t.Error("all, or none, is not all, or none")
	}
}

// TestCounts: a call without a context is lost where the app answers a request that has one, and begins a trace elsewhere.
func TestCounts(t *testing.T) {
	client, server := sideOf(collected(0)), sideOf(collected(0))
	client.Begin(fieldsOf())
	in := server.Begin(fieldsOf("traceparent: 00-" + traceHex + "-" + spanHex + "-00"))
	in.Serve(client.Serving)
	client.Begin(fieldsOf())
	client.Begin(fieldsOf("b3: 0"))
	in.Served(client.Serving)
	in.Served(client.Serving)
	client.Begin(fieldsOf())
	if b, l, k := client.Begun.Load(), client.Lost.Load(), client.Kept.Load(); b != 2 || l != 1 || k != 1 || client.Serving.Load() != 0 {
		t.Errorf("begun %d, lost %d, kept %d; want 2, 1, 1", b, l, k)
	}
}

// TestUnsampledAllocatesNothing holds a request that is not sampled to its budget.
func TestUnsampledAllocatesNothing(t *testing.T) {
	side := sideOf(collected(0))
	for name, head := range map[string][]string{
		"begun": {"host: a", "user-agent: b"}, "w3c": {"traceparent: 00-" + traceHex + "-" + spanHex + "-00"}, "b3": {"b3: " + traceHex + "-" + spanHex + "-0"},
	} {
		from, f := fieldsOf(head...), new(httpx.Fields)
		f.CopyFrom(from)
		if n := testing.AllocsPerRun(100, func() {
			f.CopyFrom(from)
			c := side.Begin(f)
			c.Try(f, time.Time{})
			c.Record()
		}); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestSamplingByRequestID: requests with one id are sampled alike, by its number as in Envoy, and what an Envoy has decided is kept.
func TestSamplingByRequestID(t *testing.T) {
	random := collected(50)
	random.SampleAtRandom = true
	const low, high, odd = "000003e7-0000-4000-8000-000000000000", "ffffffff-0000-4000-8000-000000000000", "not-an-id" // 999 and 7295 of 10,000
	for _, tt := range []struct {
		name    string
		percent float64
		id      string
		sampled bool
	}{
		{"below", 10, low, true},
		{"not_below", 9.99, low, false},
		{"another_number", 72.95, high, false},
		{"another_number_below", 72.96, high, true},
		{"none", 0, "00000000-0000-4000-8000-000000000000", false},
		{"an_envoy_has_sampled_it", 0, "00000000-0000-9000-8000-000000000000", true},
		{"it_was_forced", 0, "00000000-0000-a000-8000-000000000000", true},
		{"not_an_id_at_0", 0, odd, false},
		{"not_an_id_at_100", 100, odd, true},
		{"no_hexadecimal_at_100", 100, "zzzzzzzz-0000-4000-8000-000000000000", true},
	} {
		c := sideOf(collected(tt.percent)).Begin(fieldsOf("x-request-id: " + tt.id))
		if c.Reports() != tt.sampled {
			t.Errorf("%s: sampled %v", tt.name, c.Reports())
		}
	}
	counts, side := map[bool]int{}, sideOf(random)
	for range 200 {
		c := side.Begin(fieldsOf("x-request-id: " + low))
		counts[c.Reports()]++
	}
	if counts[true] == 0 || counts[false] == 0 {
		t.Errorf("at random one id is sampled %v", counts)
	}
}
