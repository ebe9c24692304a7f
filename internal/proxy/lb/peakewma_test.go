package lb

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// traffic has calls come at random times, as many a second, each of which its endpoint answers as it says. It gives the
// share of each endpoint. Time is the bubble's.
func traffic(p *testPicker, perSecond float64, d time.Duration, answer func(e *testEndpoint) Outcome) map[string]float64 {
	var calls sync.WaitGroup
	counts, total := map[string]float64{}, 0.0
	random := rand.New(rand.NewPCG(1, 2))
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Duration(random.ExpFloat64() / perSecond * float64(time.Second))) {
		e := p.Pick(&Info{}).Endpoint
		counts[e.Plan.Addr.Addr().String()]++
		total++
		e.Begin()
		calls.Go(func() {
			o := answer(e)
			time.Sleep(o.Latency)
			e.End(o)
		})
	}
	calls.Wait()
	for e := range counts {
		counts[e] /= total
	}
	return counts
}

func TestPeakEWMALeavesTheBad(t *testing.T) {
	const ms = time.Millisecond
	well := Outcome{Kind: Answered, Status: 200, Latency: 10 * ms}
	for _, tt := range []struct {
		name string
		bad  Outcome
		most float64 // of the bad one's fair share
	}{
		{"slow_by_ten", Outcome{Kind: Answered, Status: 200, Latency: 100 * ms}, .2},
		{"slow_and_the_clients_leave", Outcome{Kind: Unknown, Latency: 100 * ms}, .2},
		{"errors_at_once", Outcome{Kind: Answered, Status: 503, Latency: ms / 10}, .2},
		{"too_many_requests", Outcome{Kind: Answered, Status: 429, Latency: ms / 10}, .2},
		{"resets_at_once", Outcome{Kind: Reset, Latency: ms / 10}, .2},
		{"cut_at_once", Outcome{Kind: Cut, Status: 200, Latency: ms / 10}, .2},
	} {
		for _, n := range []int{3, 10} {
			t.Run(tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					es := equally(n)
					p := NewPicker(Options{Kind: model.PeakEWMA}, es)
					bad := es[n/2].Plan.Addr.Addr().String()
					answer := func(e *testEndpoint) Outcome {
						if e == es[n/2] {
							return tt.bad
						}
						return well
					}
					before := traffic(p, 200, 20*time.Second, func(*testEndpoint) Outcome { return well })
					if fair := 1 / float64(n); math.Abs(before[bad]-fair) > fair/4 {
						t.Errorf("of %d like endpoints one has %.3f of the calls", n, before[bad])
					}
					if got, fair := traffic(p, 200, 30*time.Second, answer)[bad], 1/float64(n); got > tt.most*fair || got == 0 {
						t.Errorf("of %d endpoints the bad one has %.4f of the calls, want above 0 and at most %.4f", n, got, tt.most*fair)
					}
					traffic(p, 200, 60*time.Second, func(*testEndpoint) Outcome { return well })
					if got, fair := traffic(p, 200, 30*time.Second, func(*testEndpoint) Outcome { return well })[bad], 1/float64(n); got < fair*3/4 {
						t.Errorf("well again for a minute, it has %.4f of the calls, want about %.4f", got, fair)
					}
				})
			})
		}
	}
}

// An endpoint that does not answer at all gets no more calls the longer nothing is heard of it.
func TestPeakEWMALeavesWhatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		es := equally(3)
		got := traffic(NewPicker(Options{Kind: model.PeakEWMA}, es), 100, 2*time.Minute, func(e *testEndpoint) Outcome {
			if e == es[0] {
				return Outcome{Latency: time.Hour}
			}
			return Outcome{Kind: Answered, Status: 200, Latency: 10 * time.Millisecond}
		})[es[0].Plan.Addr.Addr().String()]
		if got > .001 {
			t.Errorf("it has %.4f of the calls", got)
		}
	})
}

// Under LEAST_REQUEST an endpoint that fails at once attracts calls: what the penalty is for.
func TestPeakEWMABesideLeastRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		es := equally(3)
		answer := func(e *testEndpoint) Outcome {
			if e == es[0] {
				return Outcome{Kind: Answered, Status: 503, Latency: time.Millisecond}
			}
			return Outcome{Kind: Answered, Status: 200, Latency: 50 * time.Millisecond}
		}
		bad := es[0].Plan.Addr.Addr().String()
		least := traffic(NewPicker(Options{Kind: model.LeastRequest}, es), 200, 20*time.Second, answer)[bad]
		peak := traffic(NewPicker(Options{Kind: model.PeakEWMA}, es), 200, 20*time.Second, answer)[bad]
		if least < .33 || peak > .07 {
			t.Errorf("LEAST_REQUEST sends it %.3f of the calls, PEAK_EWMA %.3f", least, peak)
		}
	})
}

// The average rises at once, falls by 63 % in the time of its decay, and more is not known of what nobody calls.
func TestLatency(t *testing.T) {
	const ms = time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		e := equally(1)[0]
		if _, ok := e.Latency(time.Now()); ok {
			t.Error("a latency is known that nothing asks for")
		}
		NewPicker(Options{Kind: model.PeakEWMA}, []*testEndpoint{e})
		around := func(what string, want time.Duration) {
			t.Helper()
			if got, ok := e.Latency(time.Now()); !ok || got < want*98/100 || got > want*102/100 {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		part := func(d time.Duration) time.Duration { return time.Duration(float64(d) / math.E) } // after the decay
		around("at the beginning", firstLatency)
		ended(e, Outcome{Kind: Answered, Status: 200, Latency: 200 * ms})
		around("a peak", 200*ms)
		ended(e, Outcome{Kind: Answered, Status: 200, Latency: 10 * ms})
		around("a quick answer at the same time", 200*ms)
		ended(e, Outcome{Kind: Unknown, Latency: 10 * ms})
		around("a client that left soon", 200*ms)
		time.Sleep(latencyDecay)
		around("not called for the time of its decay", part(200*ms))
		ended(e, Outcome{Kind: Answered, Status: 200, Latency: 10 * ms})
		around("a quick answer then", part(200*ms)+10*ms-part(10*ms))
		ended(e, Outcome{Kind: Refused})
		around("a failure", failurePenalty)
		o := Outcome{Kind: Answered, Status: 200, Latency: 6 * time.Second}
		e.Begin()
		e.Answering(&o)
		around("a head", 6*time.Second)
		time.Sleep(latencyDecay)
		e.End(o)
		around("its end is nothing new", part(6*time.Second))
		time.Sleep(24 * time.Hour)
		around("a day later", leastLatency)
		ended(e, Outcome{Kind: Carried, Latency: time.Hour})
		around("an opaque connection", leastLatency)
	})
}

// Weights count among endpoints that are as quick.
func TestPeakEWMAFollowsWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		es := endpoints(6, 3, 1, 0)
		got := traffic(NewPicker(Options{Kind: model.PeakEWMA}, es), 100, time.Minute, func(*testEndpoint) Outcome {
			return Outcome{Kind: Answered, Status: 200, Latency: 10 * time.Millisecond}
		})
		for i, want := range []float64{.6, .3, .1, 0} {
			if share := got[es[i].Plan.Addr.Addr().String()]; math.Abs(share-want) > .05 {
				t.Errorf("endpoint %d has %.3f of the calls, want %.2f", i, share, want)
			}
		}
	})
}

func TestNotingALatencyAllocatesNothing(t *testing.T) {
	es := equally(2)
	p := NewPicker(Options{Kind: model.PeakEWMA}, es)
	if !slices.Equal(p.All(), es) {
		t.Error("the picker has other endpoints")
	}
	if n := testing.AllocsPerRun(100, func() {
		es[0].Begin()
		es[0].End(Outcome{Kind: Answered, Status: 200, Latency: time.Millisecond})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
