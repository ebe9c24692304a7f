package lb

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

func utilizationRule() *model.BackendUtilization {
	return &model.BackendUtilization{Stabilization: 10 * time.Second, Expiration: 3 * time.Minute, Update: time.Second}
}

// Reports become weights after they have lasted, follow each other once a second, and lapse.
func TestUtilizationWeights(t *testing.T) {
	rule := utilizationRule()
	synctest.Test(t, func(t *testing.T) {
		es := equally(4)
		p := NewPicker(Options{Kind: model.Utilization, Utilization: rule}, es)
		shares := func(what string, want ...float64) {
			t.Helper()
			before := t.Failed()
			chiSquare(t, tally(p, es, 10000), want)
			if t.Failed() && !before {
				t.Log("first: ", what)
			}
		}
		report := func(utilizations ...float64) {
			for i, u := range utilizations {
				es[i].Report(rule, Load{Utilization: u, RPS: 100})
			}
		}
		shares("before any report", 1, 1, 1, 1)
		report(.2, .4, .8)
		time.Sleep(9 * time.Second)
		report(.2, .4, .8)
		shares("reports of nine seconds", 1, 1, 1, 1)
		time.Sleep(time.Second)
		shares("of ten, and one that reports nothing weighs as the median", 4, 2, 1, 2)
		report(.8, .4, .2)
		shares("what came within the second", 4, 2, 1, 2)
		time.Sleep(time.Second)
		shares("a second later", 1, 2, 4, 2)
		time.Sleep(3*time.Minute - time.Second)
		report(.8)
		shares("three minutes later, as one still reports", 1, 2, 4, 2)
		time.Sleep(2 * time.Second)
		shares("two have lapsed", 1, 1, 1, 1)
		report(.8, .4, .2)
		time.Sleep(time.Second)
		shares("they have to prove themselves again", 1, 1, 1, 1)
		time.Sleep(10 * time.Second)
		shares("and have", 1, 2, 4, 2)
	})
}

func TestReport(t *testing.T) {
	for _, tt := range []struct {
		name    string
		penalty float64
		load    Load
		want    float64
	}{
		{"requests by utilization", 0, Load{Utilization: .5, RPS: 1000, EPS: 100}, 2000},
		{"errors add to it", 2, Load{Utilization: .5, RPS: 1000, EPS: 100}, 1000 / .7},
		{"no requests", 0, Load{Utilization: .5}, 0},
		{"no utilization", 0, Load{RPS: 10}, 0},
		{"negative", 0, Load{Utilization: -.5, RPS: 10}, 0},
		{"errors alone", 1, Load{RPS: 10, EPS: 5}, 20},
		{"no requests and errors", 1, Load{EPS: 5}, 0},
		{"not a number", 0, Load{Utilization: math.NaN(), RPS: 1}, 0},
	} {
		rule := &model.BackendUtilization{ErrorPenalty: tt.penalty, Expiration: time.Hour}
		e := equally(1)[0]
		e.Report(rule, tt.load)
		if got := e.Reported(rule, time.Now()); math.Abs(got-tt.want) > 1e-6 {
			t.Errorf("%s: weight %v, want %v", tt.name, got, tt.want)
		}
	}
}

// One that says that it can do a thousand times as much as the others does not make picks slow, nor the others starve.
func TestUtilizationIsBounded(t *testing.T) {
	rule := &model.BackendUtilization{Expiration: time.Hour}
	es := equally(100)
	for i, e := range es {
		e.Report(rule, Load{Utilization: .5, RPS: 1 + 1e6*float64(i/99)})
	}
	p := NewPicker(Options{Kind: model.Utilization, Utilization: rule}, es)
	counts := tally(p, es, 20000)
	if counts[99] < 1500 || counts[99] > 2200 || slices.Min(counts) < 100 {
		t.Errorf("it has %.0f of 20000 calls, the least of the others %.0f", counts[99], slices.Min(counts))
	}
}

func TestUtilizationAllocatesNothing(t *testing.T) {
	rule := &model.BackendUtilization{Expiration: time.Hour, Update: 1} // weights are found anew for each pick
	es := equally(40)
	p, info := NewPicker(Options{Kind: model.Utilization, Utilization: rule}, es), &Info{}
	if n := testing.AllocsPerRun(100, func() {
		es[0].Report(rule, Load{Utilization: .5, RPS: 10})
		p.Pick(info)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
