package lb

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// mixed is n answers, of which the given percentage are errors, never many in a row.
func mixed(n, percent int) (out []Outcome) {
	for i := range n {
		status := 200
		if (i+1)*percent/100 > i*percent/100 {
			status = 500
		}
		out = append(out, Outcome{Kind: Answered, Status: status})
	}
	return out
}

func TestFailurePercentage(t *testing.T) {
	rules := model.OutlierDetection{FailurePercent: 30, MaxEjectionPercent: 100, Interval: 10 * time.Second, BaseEjectionTime: 30 * time.Second}
	with := func(change func(*model.OutlierDetection)) model.OutlierDetection {
		r := rules
		change(&r)
		return r
	}
	split := with(func(r *model.OutlierDetection) { r.SplitLocal = true })
	good := mixed(60, 10)
	for _, tt := range []struct {
		name  string
		rules model.OutlierDetection
		// calls are those of each endpoint, all in one interval.
		calls [][]Outcome
		want  []int // the endpoints that are ejected
		why   string
	}{
		{"as_many_as_may_not_be", rules, [][]Outcome{mixed(60, 30), good, good, good, good}, []int{0}, "18 of 60 calls failed in 10s"},
		{"one_less", rules, [][]Outcome{mixed(60, 29), good, good, good, good}, nil, ""},
		{"several", rules, [][]Outcome{good, mixed(60, 50), good, mixed(100, 100), good, good}, []int{1, 3}, "30 of 60 calls failed in 10s"},
		{"too_few_calls", rules, [][]Outcome{mixed(49, 100), good, good, good, good, good}, nil, ""},
		{"enough_calls", rules, [][]Outcome{mixed(50, 100), good, good, good, good}, []int{0}, "50 of 50 calls failed in 10s"},
		{"too_few_endpoints_with_calls", rules, [][]Outcome{mixed(60, 100), good, good, good, mixed(49, 0), mixed(10, 0)}, nil, ""},
		{"as_many_as_may_be", with(func(r *model.OutlierDetection) { r.MaxEjectionPercent = 20 }), [][]Outcome{mixed(60, 90), mixed(60, 90), good, good, good}, []int{-1}, ""},
		{"codes", with(func(r *model.OutlierDetection) { r.Codes = []int{429} }), [][]Outcome{mixed(60, 90), slices.Repeat(answers(429, 200), 30), good, good, good}, []int{1}, "30 of 60 calls failed in 10s"},
		{"what_this_side_found_out", rules, [][]Outcome{slices.Repeat([]Outcome{{Kind: Refused}, answers(200)[0]}, 30), good, good, good, good}, []int{0}, "30 of 60 calls failed in 10s"},
		{"split", split, [][]Outcome{slices.Repeat([]Outcome{{Kind: Refused}, answers(200)[0]}, 60), good, good, good, good}, nil, ""},
		{"not_asked", with(func(r *model.OutlierDetection) { r.FailurePercent = 0 }), [][]Outcome{mixed(60, 100), good, good, good, good}, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewGroup("users")
				p := guarded(g, tt.rules, len(tt.calls))
				for i, e := range p.All() {
					ended(e, tt.calls[i]...)
				}
				if n := len(outOf(p)); n != 0 {
					t.Fatalf("%d are ejected before the interval has ended", n)
				}
				time.Sleep(10*time.Second + time.Millisecond)
				ended(p.All()[len(tt.calls)-1], answers(200)...)
				got := outOf(p)
				if len(tt.want) > 0 && tt.want[0] == -1 { // whichever
					if len(got) != 1 {
						t.Errorf("ejected are %v, want one", got)
					}
					return
				}
				if !slices.Equal(got, tt.want) {
					t.Fatalf("ejected are %v, want %v", got, tt.want)
				}
				if len(got) > 0 {
					why, until, _ := p.All()[got[0]].Outlier(time.Now())
					if left := time.Until(until); why != tt.why || left != 30*time.Second-time.Millisecond {
						t.Errorf("%q for %v, want %q for 30 s from the end of the interval", why, left, tt.why)
					}
				}
			})
		})
	}
}

// outOf lists which endpoints are ejected.
func outOf(p *testPicker) (out []int) {
	for i, e := range p.All() {
		if isOut(e) {
			out = append(out, i)
		}
	}
	return out
}

// Each interval is counted by its own, and what was ejected in it is not judged by what came before.
func TestFailurePercentageByInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := model.OutlierDetection{FailurePercent: 50, Consecutive5xx: 3, MaxEjectionPercent: 100, Interval: 10 * time.Second, BaseEjectionTime: 10 * time.Second}
		p := guarded(NewGroup("users"), rules, 6)
		calls := func(bad []Outcome) {
			ended(p.All()[0], bad...)
			for _, e := range p.All()[1:] {
				ended(e, mixed(60, 0)...)
			}
		}
		calls(slices.Repeat(answers(500, 500, 200), 10)) // 30 of them
		time.Sleep(10 * time.Second)
		calls(slices.Repeat(answers(500, 500, 200), 10))
		if isOut(p.All()[0]) {
			t.Error("calls of two intervals were added up")
		}
		time.Sleep(10 * time.Second)
		calls(append(slices.Repeat(answers(500, 500, 200), 20), answers(500, 500, 500)...))
		if why, _, _ := p.All()[0].Outlier(time.Now()); why != "3 errors in a row" {
			t.Fatalf("ejected because of %q", why)
		}
		time.Sleep(25 * time.Second) // it is back, and nobody has called since
		ended(p.All()[1], answers(200)...)
		if got := outOf(p); got != nil {
			t.Errorf("ejected are %v, of which one had its time", got)
		}
	})
}

// The share of local failures is of the connections that were tried.
func TestFailurePercentageOfLocalFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := model.OutlierDetection{FailurePercent: 50, SplitLocal: true, MaxEjectionPercent: 100, Interval: 10 * time.Second, BaseEjectionTime: 10 * time.Second}
		p := guarded(NewGroup("users"), rules, 5)
		for i, e := range p.All() {
			for range 30 {
				if i == 0 {
					ended(e, Outcome{Kind: Reset})
				}
				e.Accepted()
				e.Accepted()
			}
			if i == 1 {
				ended(e, slices.Repeat([]Outcome{{Kind: Refused}}, 60)...)
			}
		}
		time.Sleep(10 * time.Second)
		ended(p.All()[4], answers(200)...)
		if got := outOf(p); !slices.Equal(got, []int{1}) {
			t.Errorf("ejected are %v, want the second alone", got)
		}
		if why, _, _ := p.All()[1].Outlier(time.Now()); why != "60 of 120 calls by local origin failed in 10s" {
			t.Errorf("ejected because of %q", why)
		}
	})
}
