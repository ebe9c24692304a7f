package history

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/traffic"
)

// clock is a time that tests move.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newClock() *clock { return &clock{time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)} }

func pod(i int) model.Key { return model.Key{Namespace: "shop", Name: fmt.Sprint("orders-", i)} }

func edge(peer string) traffic.Edge {
	return traffic.Edge{Direction: traffic.Outbound, Protocol: traffic.HTTP, Service: peer + ".shop", Peer: traffic.Peer{Namespace: "shop", Workload: peer}}
}

func requests(n uint64) traffic.Sample {
	s := traffic.Sample{Responses: [traffic.Classes]uint64{2: n}, Received: 10 * n, Sent: 100 * n}
	s.Latency[7] = n
	return s
}

func report(rows ...traffic.Row) *traffic.Report {
	return &traffic.Report{Milliseconds: 10_000, Rows: rows}
}

// total sums what a window has of all edges.
func total(st *Store, window time.Duration) (sum traffic.Sample, seconds float64, flows int) {
	a := st.Sum(Query{Window: window})
	for i := range a.Flows {
		s := a.Flows[i].Sample()
		sum.Add(&s)
		seconds = a.Flows[i].Seconds
	}
	return sum, seconds, len(a.Flows)
}

// TestWindows: one request in the first step, two in the second, and so on for two hours. Every window has exactly its own,
// and says how long it is.
func TestWindows(t *testing.T) {
	c := newClock()
	st := New(c.now, Defaults())
	const steps = 720
	for i := range uint64(steps) {
		st.Add(pod(0), report(traffic.Row{Edge: edge("users"), Sample: requests(i + 1)}))
		if i < steps-1 {
			c.at = c.at.Add(Step)
		}
	}
	for _, tt := range []struct {
		window time.Duration
		steps  uint64 // that are summed
	}{
		{time.Second, 1},
		{10 * time.Second, 1},
		{time.Minute, 6},
		{9 * time.Minute, 54},
		{10 * time.Minute, 60},
		{11 * time.Minute, 66},
		{11*time.Minute + 10*time.Second, 67},
		{59*time.Minute + 50*time.Second, 359},
		{time.Hour, 360},
		{3 * time.Hour, 360},
	} {
		sum, seconds, _ := total(st, tt.window)
		want := uint64(0)
		for i := range tt.steps {
			want += steps - i
		}
		if sum.Requests() != want || sum.Latency.Count() != want || sum.Received != 10*want || seconds != float64(10*tt.steps) {
			t.Errorf("window %s: %d requests in %.0f s, want %d in %d s", tt.window, sum.Requests(), seconds, want, 10*tt.steps)
		}
	}
	if a := st.Sum(Query{Window: time.Minute}); !a.Since.Equal(c.at.Add(-Kept)) {
		t.Errorf("since %s at %s", a.Since, c.at)
	}
}

// TestOpenConnectionsAreThoseOfTheLastReport: a sidecar that is silent has none that anybody knows of.
func TestOpenConnectionsAreThoseOfTheLastReport(t *testing.T) {
	c := newClock()
	st := New(c.now, Defaults())
	for open := range uint64(3) {
		st.Add(pod(0), report(traffic.Row{Edge: edge("db"), Sample: traffic.Sample{Opened: 1, Open: open + 1}}))
		c.at = c.at.Add(Step)
	}
	sum, _, _ := total(st, time.Minute)
	if sum.Open != 3 || sum.Opened != 3 {
		t.Errorf("%d open of %d opened, want 3 of 3", sum.Open, sum.Opened)
	}
	c.at = c.at.Add((liveSteps + 1) * Step)
	if sum, _, _ = total(st, 5*time.Minute); sum.Open != 0 || sum.Opened != 3 {
		t.Errorf("after a silence: %d open of %d opened, want 0 of 3", sum.Open, sum.Opened)
	}
}

func TestWhatIsOldIsForgotten(t *testing.T) {
	c := newClock()
	st := New(c.now, Defaults())
	st.Add(pod(0), report(traffic.Row{Edge: edge("users"), Sample: requests(1)}))
	c.at = c.at.Add(Kept + 2*time.Minute)
	st.Add(pod(1), report(traffic.Row{Edge: edge("users"), Sample: requests(1)}))
	c.at = c.at.Add(2 * time.Minute)
	st.Add(pod(1), report())
	if len(st.reporters) != 1 || st.edges.Load() != 1 {
		t.Errorf("%d reporters with %d edges are kept, want 1 with 1", len(st.reporters), st.edges.Load())
	}
}

// TestReportersAreDescribedOnce: what is known of a pod stays as long as its reports do, though it has gone.
func TestReportersAreDescribedOnce(t *testing.T) {
	c := newClock()
	st := New(c.now, Defaults())
	asked := 0
	add := func(i int, known *traffic.Pod) {
		st.Add(pod(i), report(traffic.Row{Edge: edge("users"), Sample: requests(1)}))
		st.Describe(pod(i), func() *traffic.Pod { asked++; return known })
	}
	add(0, nil)
	if got := st.Described(); len(got) != 0 {
		t.Errorf("nothing is known, and yet %+v", got)
	}
	add(0, &traffic.Pod{Name: "orders-0", Workload: "orders"})
	add(0, nil)
	if got := st.Described(); len(got) != 1 || got[0].Workload != "orders" || asked != 2 {
		t.Errorf("%+v after %d questions", got, asked)
	}
	c.at = c.at.Add(Kept + 2*time.Minute)
	add(1, nil)
	if got := st.Described(); len(got) != 0 {
		t.Errorf("%+v an hour after its last report", got)
	}
}

// TestEdgesAreBounded: what has no place of its own is counted, and the cut is told.
func TestEdgesAreBounded(t *testing.T) {
	c := newClock()
	st := New(c.now, Options{MaxEdges: 3, MaxBytes: DefaultMaxBytes})
	var rows []traffic.Row
	for i := range 5 {
		rows = append(rows, traffic.Row{Edge: edge(fmt.Sprint("peer-", i)), Sample: requests(10)})
	}
	for range 2 {
		st.Add(pod(0), report(rows...))
		c.at = c.at.Add(Step)
	}
	a := st.Sum(Query{Window: time.Minute})
	got := map[string]uint64{}
	for i := range a.Flows {
		s := a.Flows[i].Sample()
		got[a.Flows[i].Edge.Peer.Workload] = s.Requests()
	}
	if want := map[string]uint64{"peer-0": 20, "peer-1": 20, "peer-2": 20, "other": 40}; !maps.Equal(got, want) || a.Cut != 2 {
		t.Errorf("%v, %d edges cut; want %v, 2", got, a.Cut, want)
	}
	st = New(c.now, Defaults())
	for i := range 2 * maxReporterEdges {
		st.Add(pod(0), report(traffic.Row{Edge: edge(fmt.Sprint("peer-", i)), Sample: requests(1)}))
	}
	if sum, _, flows := total(st, time.Minute); flows != maxReporterEdges+1 || sum.Requests() != 2*maxReporterEdges {
		t.Errorf("one reporter has %d edges with %d requests", flows, sum.Requests())
	}
}

// TestSilenceIsNotCovered: rates are by the time that a sidecar has counted, not by the window.
func TestSilenceIsNotCovered(t *testing.T) {
	c := newClock()
	st := New(c.now, Defaults())
	st.Add(pod(0), &traffic.Report{Milliseconds: 4_000, Rows: []traffic.Row{{Edge: edge("users"), Sample: requests(8)}}})
	c.at = c.at.Add(20 * time.Second)
	st.Add(pod(0), &traffic.Report{Milliseconds: 20_000, Rows: []traffic.Row{{Edge: edge("users"), Sample: requests(40)}}})
	if sum, seconds, _ := total(st, time.Minute); seconds != 24 || sum.Requests() != 48 {
		t.Errorf("%d requests in %v s, want 48 in 24", sum.Requests(), seconds)
	}
}

// busy is what an edge of a load that stays the same has in ten seconds: mean requests, their latencies spread over six buckets or
// so, answers of any size about a mean, one failure in a hundred.
func busy(r *rand.Rand, mean float64, middle int) traffic.Sample {
	s := traffic.Sample{Open: 2}
	for n := int(mean + math.Sqrt(mean)*r.NormFloat64() + 0.5); n > 0; n-- {
		s.Latency[min(max(middle+int(math.Round(1.2*r.NormFloat64())), 0), traffic.Buckets-1)]++
		s.Sent += uint64(600 * math.Exp(0.5*r.NormFloat64()))
		s.Received += 40
		if r.IntN(100) == 0 {
			s.Responses[5]++
			s.Failures++
			continue
		}
		s.Responses[2]++
	}
	return s
}

// wild is a load that nothing can be foretold of.
func wild(r *rand.Rand, middle int) traffic.Sample {
	s := traffic.Sample{Received: r.Uint64N(1 << 16), Sent: r.Uint64N(1 << 20), Open: 2}
	for range 5 { // five buckets of any number of requests
		n := 1 + r.Uint64N(60)
		s.Latency[middle+r.IntN(5)] += n
		s.Responses[2] += n
	}
	if r.IntN(10) == 0 {
		s.Responses[5], s.Failures = 1, 1
		s.Latency[middle]++
	}
	return s
}

// TestMemory holds the store to its budget: a thousand sidecars with twenty edges each, all of them busy in every step of an
// hour, 3.5 requests a second on each in the mean. Under a load that stays the same the hour is kept by steps; under one that jumps
// from step to step the older part of it is told by minutes. History: 60 MB is what the design allows.
func TestMemory(t *testing.T) {
	const sidecars, edges, budget = 1000, 20, 60 << 20
	// Some of the sidecars are measured; each keeps its own.
	const measured = sidecars / 250
	const loadSamples = 50
	var loads [31][loadSamples]traffic.Sample
	gen := rand.New(rand.NewPCG(7, 8))
	for i := range loads {
		for j := range loads[i] {
			loads[i][j] = busy(gen, float64(5+2*i), 8+i%12)
		}
	}
	for _, tt := range []struct {
		name   string
		sample func(r *rand.Rand, sidecar, edge int) traffic.Sample
		// exact is how much of the hour has to be there by steps.
		exact int64
	}{
		{"steady", func(r *rand.Rand, sidecar, edge int) traffic.Sample {
			return loads[(sidecar*edges+edge)%len(loads)][r.IntN(loadSamples)]
		}, hour},
		{"wild", func(r *rand.Rand, sidecar, edge int) traffic.Sample { return wild(r, 10+(sidecar+edge)%10) }, leastFine},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			c := newClock()
			var before, after runtime.MemStats
			for last := uint64(1); last != before.HeapAlloc; { // what pools and weak maps hold goes with a later collection
				last = before.HeapAlloc
				runtime.GC()
				runtime.ReadMemStats(&before)
			}
			st := New(c.now, Options{MaxEdges: DefaultMaxEdges, MaxBytes: DefaultMaxBytes * measured / sidecars})
			for range hour + 2*stepsPerMinute - 1 {
				c.at = c.at.Add(Step)
				for i := range measured {
					rep := report()
					for e := range edges {
						peer := edge(fmt.Sprint("peer-", e))
						peer.Peer.Pod, peer.Peer.Identity = fmt.Sprint("peer-", e, "-", i), "spiffe://cluster.local/ns/shop/sa/peer"
						rep.Rows = append(rep.Rows, traffic.Row{Edge: peer, Sample: tt.sample(r, i, e)})
					}
					st.Add(pod(i), rep)
				}
			}
			st.pages = sync.Pool{}
			runtime.GC()
			runtime.GC()
			runtime.ReadMemStats(&after)
			used := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) * sidecars / measured
			fine := min(stepOf(c.at)-st.fineFrom.Load(), hour)
			t.Logf("%.1f MB for %d sidecars with %d edges, reckoned %.1f MB; %d of %d steps", float64(used)/(1<<20), sidecars, edges,
				float64(st.sweepReporters(stepOf(c.at), new(pages))*sidecars/measured)/(1<<20), fine, hour)
			if used > budget || fine < tt.exact {
				t.Errorf("%d bytes, and %d steps; the budget is %d for %d", used, fine, budget, tt.exact)
			}
			runtime.KeepAlive(st)
		})
	}
}
