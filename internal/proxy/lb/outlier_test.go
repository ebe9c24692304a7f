package lb

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// guarded is a picker of n endpoints under rules.
func guarded(g *Group, rules model.OutlierDetection, n int) *testPicker {
	g.SetOutlierDetection(&rules)
	return NewPicker(Options{Group: g, Kind: model.RoundRobin}, equally(n))
}

// ended has calls to an endpoint end one after the other.
func ended(e *testEndpoint, outcomes ...Outcome) {
	for _, o := range outcomes {
		e.Begin()
		e.End(o)
	}
}

func answers(statuses ...int) (out []Outcome) {
	for _, s := range statuses {
		out = append(out, Outcome{Kind: Answered, Status: s})
	}
	return out
}

func isOut(e *testEndpoint) bool {
	_, _, out := e.Outlier(time.Now())
	return out
}

func TestOutlierCounts(t *testing.T) {
	base := model.OutlierDetection{Consecutive5xx: 3, MaxEjectionPercent: 100}
	with := func(change func(*model.OutlierDetection)) model.OutlierDetection {
		r := base
		change(&r)
		return r
	}
	gateway := with(func(r *model.OutlierDetection) { r.Consecutive5xx, r.ConsecutiveGateway = 0, 2 })
	split := with(func(r *model.OutlierDetection) { r.SplitLocal, r.ConsecutiveLocal = true, 2 })
	codes := with(func(r *model.OutlierDetection) { r.Codes = []int{429, 503} })
	refused, reset, late, gone := Outcome{Kind: Refused}, Outcome{Kind: Reset}, Outcome{Kind: TimedOut}, Outcome{}
	for _, tt := range []struct {
		name     string
		rules    model.OutlierDetection
		outcomes []Outcome
		want     string // why it is ejected; empty where it is not
	}{
		{"errors", base, answers(500, 503, 599), "3 errors in a row"},
		{"too_few", base, answers(500, 503), ""},
		{"not_in_a_row", base, answers(500, 500, 200, 500, 500), ""},
		{"client_errors_are_none", base, answers(404, 404, 404, 404), ""},
		{"what_this_side_found_out", base, []Outcome{refused, reset, late}, "3 errors in a row"},
		{"clients_that_leave_say_nothing", base, []Outcome{refused, gone, reset, gone, late}, "3 errors in a row"},
		{"cut_is_an_answer_and_then_a_failure", base, []Outcome{refused, refused, {Kind: Cut, Status: 200}, refused, refused}, "3 errors in a row"},
		{"switched_off", with(func(r *model.OutlierDetection) { r.Consecutive5xx = 0 }), answers(500, 500, 500, 500), ""},
		{"gateway_errors", gateway, answers(503, 504), "2 gateway errors in a row"},
		{"other_errors_between", gateway, answers(503, 500, 504), ""},
		{"split_local", split, []Outcome{refused, late}, "2 local origin failures in a row"},
		{"split_local_are_no_errors", split, []Outcome{{Kind: Answered, Status: 500}, {Kind: Answered, Status: 500}, refused}, ""},
		{"codes", codes, answers(429, 503, 429), "3 errors in a row"},
		{"other_codes", codes, answers(500, 500, 500, 500), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := guarded(NewGroup("users"), tt.rules, 2).All()[0]
			ended(e, tt.outcomes...)
			if why, _, _ := e.Outlier(time.Now()); why != tt.want {
				t.Errorf("ejected because of %q, want %q", why, tt.want)
			}
		})
	}
	t.Run("a_connection_ends_local_failures", func(t *testing.T) {
		e := guarded(NewGroup("users"), split, 2).All()[0]
		ended(e, refused)
		e.Accepted()
		ended(e, refused)
		if isOut(e) {
			t.Error("ejected")
		}
	})
	t.Run("an_answer_counts_as_it_begins_and_once", func(t *testing.T) {
		e := guarded(NewGroup("users"), base, 2).All()[0]
		for range 2 {
			o := Outcome{Kind: Answered, Status: 500}
			e.Begin()
			e.Answering(&o)
			e.End(o)
		}
		if isOut(e) {
			t.Error("ejected after two errors")
		}
		o := Outcome{Kind: Answered, Status: 500}
		e.Begin()
		e.Answering(&o)
		if !isOut(e) {
			t.Error("not ejected as the third begins")
		}
	})
	t.Run("an_opaque_connection_is_a_success_as_it_begins", func(t *testing.T) {
		e := guarded(NewGroup("users"), base, 2).All()[0]
		ended(e, refused, refused)
		e.Begin()
		e.Carrying()
		ended(e, refused)
		e.End(Outcome{Kind: Carried})
		ended(e, refused)
		if isOut(e) {
			t.Error("ejected")
		}
	})
}

// Times are Envoy's: an ejection lasts as many times the base as there were, and to the next interval; intervals without
// one take it back.
func TestOutlierTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := model.OutlierDetection{Consecutive5xx: 1, MaxEjectionPercent: 100, Interval: 10 * time.Second, BaseEjectionTime: 25 * time.Second}
		p := guarded(NewGroup("users"), rules, 2)
		e, start := p.All()[0], time.Now()
		returns := func() time.Duration {
			t.Helper()
			ended(e, answers(500)...)
			if !isOut(e) {
				t.Fatal("not ejected")
			}
			for isOut(e) {
				if n := picks(p, e); n != 0 {
					t.Fatalf("picked %d times while ejected", n)
				}
				time.Sleep(time.Second)
			}
			if n := picks(p, e); n < 40 {
				t.Errorf("picked %d times of 100 once it is back", n)
			}
			return time.Since(start)
		}
		time.Sleep(3 * time.Second)
		var got []time.Duration
		got = append(got, returns(), // at 3 s for 25 s: to the sweep at 30 s
			returns()) // at 30 s for 50 s: 80 s
		time.Sleep(20 * time.Second) // two intervals take both back
		got = append(got, returns()) // at 100 s for 25 s: 130 s
		want := []time.Duration{30 * time.Second, 80 * time.Second, 130 * time.Second}
		if !slices.Equal(got, want) {
			t.Errorf("back after %v, want %v", got, want)
		}
		for range 20 {
			returns()
		}
		before := time.Since(start)
		if last := returns() - before; last != maxEjection {
			t.Errorf("the longest ejection is %v, want %v", last, maxEjection)
		}
	})
}

func TestOutlierBounds(t *testing.T) {
	for _, tt := range []struct {
		name               string
		endpoints, failing int
		max, min           uint32
		ejected            int
		picked             int // how many of the failing are called all the same
	}{
		{"a_tenth", 20, 5, 10, 0, 2, 3},
		{"a_tenth_of_few_is_none", 9, 5, 10, 0, 0, 5},
		{"all", 3, 3, 100, 0, 3, 0},
		{"enough_are_left", 10, 5, 100, 50, 5, 0},
		{"too_few_are_left", 10, 6, 100, 50, 6, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := guarded(NewGroup("users"), model.OutlierDetection{Consecutive5xx: 1, MaxEjectionPercent: tt.max, MinHealthPercent: tt.min}, tt.endpoints)
			out, called := 0, map[*testEndpoint]bool{}
			for _, e := range p.All()[:tt.failing] {
				ended(e, answers(500)...)
				if isOut(e) {
					out++
				}
			}
			for range 50 * tt.endpoints {
				if e := pick(p); e != nil && slices.Contains(p.All()[:tt.failing], e) {
					called[e] = true
				}
			}
			if out != tt.ejected || len(called) != tt.picked {
				t.Errorf("%d ejected and %d of the failing called, want %d and %d", out, len(called), tt.ejected, tt.picked)
			}
		})
	}
	t.Run("all_ejected_is_none_to_call", func(t *testing.T) {
		p := guarded(NewGroup("users"), model.OutlierDetection{Consecutive5xx: 1, MaxEjectionPercent: 100}, 2)
		for _, e := range p.All() {
			ended(e, answers(500)...)
		}
		for _, tried := range [][]*testEndpoint{nil, p.All()[:1], p.All()} {
			if got := p.Pick(triedInfo(tried)); got.Endpoint != nil || got.Why != None {
				t.Errorf("picked %v", got)
			}
		}
	})
}

// A change of rules or of endpoints forgets nothing.
func TestOutlierOutlivesUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, rules := NewGroup("users"), model.OutlierDetection{Consecutive5xx: 2, MaxEjectionPercent: 50, BaseEjectionTime: time.Minute}
		g.SetOutlierDetection(&rules)
		es := equally(4)
		p := NewPicker(Options{Group: g}, es)
		ended(p.All()[0], answers(500, 500)...)
		ended(p.All()[1], answers(500)...)
		heavier := es[0].Plan
		heavier.Weight = 7
		rules.MaxEjectionPercent = 100
		g.SetOutlierDetection(&rules)
		now := NewPicker(Options{Group: g}, []*testEndpoint{es[3], es[0].With(heavier), es[1]})
		if e := now.All()[1]; !isOut(e) || e.Plan.Weight != 7 {
			t.Errorf("%v is back", e)
		}
		ended(now.All()[2], answers(500)...)
		if !isOut(now.All()[2]) || !isOut(p.All()[1]) {
			t.Error("the first error of the second was forgotten")
		}
		again := NewPicker(Options{Group: g}, []*testEndpoint{es[1]})
		back := NewPicker(Options{Group: g}, []*testEndpoint{es[0], es[1]})
		if isOut(back.All()[0]) || !isOut(again.All()[0]) {
			t.Error("an endpoint that was gone is another one")
		}
		g.SetOutlierDetection(nil)
		if free := NewPicker(Options{Group: g}, es); isOut(free.All()[1]) || picks(free, free.All()[1]) == 0 {
			t.Error("without rules nothing is ejected")
		}
	})
}

func TestOutlierAllocatesNothing(t *testing.T) {
	p := guarded(NewGroup("users"), model.OutlierDetection{Consecutive5xx: 1, MaxEjectionPercent: 50}, 4)
	ended(p.All()[0], answers(500)...)
	info, ok := &Info{}, Outcome{Kind: Answered, Status: 200}
	if n := testing.AllocsPerRun(100, func() {
		e := p.Pick(info).Endpoint
		e.Begin()
		e.Accepted()
		e.End(ok)
	}); n != 0 {
		t.Errorf("%v allocations per call, want 0", n)
	}
}

func BenchmarkPickWatched(b *testing.B) {
	p := guarded(NewGroup("users"), model.OutlierDetection{Consecutive5xx: 1, MaxEjectionPercent: 50}, 10000)
	ended(p.All()[0], answers(500)...)
	info := &Info{}
	b.ReportAllocs()
	for b.Loop() {
		p.Pick(info)
	}
}

func TestOutlierOfNothingAsked(t *testing.T) {
	p := NewPicker(Options{Group: NewGroup("users")}, equally(2))
	ended(p.All()[0], answers(slices.Repeat([]int{500}, 100)...)...)
	if isOut(p.All()[0]) || strings.Contains(p.Pick(&Info{}).String(), "eject") {
		t.Error("ejected although nothing asks for it")
	}
}
