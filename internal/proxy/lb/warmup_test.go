package lb

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// A new endpoint gets the share that Envoy's formula gives it, at each age.
func TestWarmUpCurve(t *testing.T) {
	minute := model.WarmUp{Duration: time.Minute, MinimumPercent: 10, Aggression: 1}
	quick := model.WarmUp{Duration: time.Minute, MinimumPercent: 10, Aggression: 2}
	slow := model.WarmUp{Duration: time.Minute, MinimumPercent: 0, Aggression: .5}
	for _, tt := range []struct {
		name string
		rule model.WarmUp
		want [6]float64 // of its weight, after 0, 3, 15, 30, 45 and 60 s
	}{
		{"steady", minute, [6]float64{.1, .1, .25, .5, .75, 1}},
		{"quick_at_first", quick, [6]float64{.1, math.Sqrt(.05), .5, math.Sqrt(.5), math.Sqrt(.75), 1}},
		{"slow_at_first", slow, [6]float64{0, .0025, .0625, .25, .5625, 1}},
	} {
		for _, kind := range []model.LBKind{model.RoundRobin, model.LeastRequest} {
			for _, weights := range [][]uint32{{1, 1, 1, 1}, {2, 1, 1, 3}, slices.Repeat([]uint32{1}, 20)} {
				t.Run(fmt.Sprint(tt.name, "/", kind, "/", len(weights), weights[0]), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						old := endpoints(weights...)
						time.Sleep(time.Hour)
						es := slices.Concat(endpoints(weights...)[:1], old[1:]) // the first is new
						p := NewPicker(Options{Kind: kind, WarmUp: &tt.rule}, es)
						for i, at := range []int{0, 3, 15, 30, 45, 60} {
							time.Sleep(time.Duration(at)*time.Second - time.Duration(time.Now().UnixNano()-es[0].ready.Load()))
							want := []float64{tt.want[i] * float64(weights[0])}
							for _, w := range weights[1:] {
								want = append(want, float64(w))
							}
							if want[0] == 0 {
								want[0] = 1e-10 // a millisecond of it
							}
							chiSquare(t, tally(p, es, 10000), want)
							if got := es[0].Warmth(&tt.rule, time.Now()); math.Abs(got-100*tt.want[i]) > .1 {
								t.Errorf("after %d s it is warm by %.1f %%, want %.1f", at, got, 100*tt.want[i])
							}
						}
					})
				})
			}
		}
	}
}

// When the warm-up of an endpoint begins.
func TestWarmUpBegins(t *testing.T) {
	rule := &model.WarmUp{Duration: time.Minute, MinimumPercent: 10, Aggression: 1}
	synctest.Test(t, func(t *testing.T) {
		warm := func(e *testEndpoint, want float64, what string) {
			t.Helper()
			if got := e.Warmth(rule, time.Now()); math.Abs(got-want) > .1 {
				t.Errorf("%s: warm by %.1f %%, want %.1f", what, got, want)
			}
		}
		as := func(e *testEndpoint, h plan.Health) *testEndpoint {
			p := e.Plan
			p.Health = h
			return e.With(p)
		}
		e := as(equally(1)[0], plan.Unhealthy)
		time.Sleep(time.Hour)
		e = as(e, plan.Healthy)
		warm(e, 10, "just become ready, known for an hour")
		time.Sleep(30 * time.Second)
		e = as(e, plan.Healthy)
		e = e.Attach("something else")
		NewPicker(Options{Kind: model.RoundRobin}, []*testEndpoint{e})
		warm(e, 50, "after edits")
		e = as(e, plan.Unhealthy)
		time.Sleep(15 * time.Second)
		e = as(e, plan.Healthy)
		warm(e, 10, "ready again")
		if got := e.Warmth(nil, time.Now()); got != 100 {
			t.Errorf("without a rule: warm by %.1f %%", got)
		}
	})
}

// Where all are new, all have their share, and one call goes through.
func TestWarmUpOfAll(t *testing.T) {
	rule := &model.WarmUp{Duration: time.Minute, MinimumPercent: 0, Aggression: 1}
	for _, kind := range []model.LBKind{model.RoundRobin, model.LeastRequest} {
		for _, n := range []int{1, 5, 20} {
			synctest.Test(t, func(t *testing.T) {
				es := equally(n)
				counts := tally(NewPicker(Options{Kind: kind, WarmUp: rule}, es), es, 10000)
				if n > 1 {
					chiSquare(t, counts, slices.Repeat([]float64{1}, n))
				}
			})
		}
	}
}

func TestPickWhileWarmingAllocatesNothing(t *testing.T) {
	rule := &model.WarmUp{Duration: time.Hour, MinimumPercent: 10, Aggression: 2}
	for _, kind := range []model.LBKind{model.RoundRobin, model.LeastRequest} {
		for _, n := range []int{4, 40} {
			p, info := NewPicker(Options{Kind: kind, WarmUp: rule}, equally(n)), &Info{}
			if got := testing.AllocsPerRun(100, func() { p.Pick(info) }); got != 0 {
				t.Errorf("%v of %d: %v allocations per pick", kind, n, got)
			}
		}
	}
}
