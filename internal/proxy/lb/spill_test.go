package lb

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// of is a hundred endpoints of which so many can be called.
func of(available ...int) []headcount {
	var out []headcount
	for _, n := range available {
		out = append(out, headcount{known: 100, healthy: 100, available: n})
	}
	return out
}

// The tables of Envoy's documentation, "Priority levels" and "Panic threshold". Its algorithm gives what is left by rounding
// to the first level, which two rows of the tables do not show. Left out are the rows that leave out the overprovisioning.
func TestLevelLoads(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		levels    []headcount
		threshold int
		loads     []int
		panic     []bool
	}{
		{"all_well", of(100, 100), 0, []int{100, 0}, nil},
		{"just_enough", of(72, 100), 0, []int{100, 0}, nil},
		{"just_not_enough", of(71, 100), 0, []int{99, 1}, nil},
		{"half", of(50, 100), 0, []int{70, 30}, nil},
		{"a_quarter", of(25, 100), 0, []int{35, 65}, nil},
		{"none", of(0, 100), 0, []int{0, 100}, nil},
		{"both_just_enough", of(72, 72), 0, []int{100, 0}, nil},
		{"both_just_not_enough", of(71, 71), 0, []int{99, 1}, nil},
		{"half_of_both", of(50, 50), 0, []int{70, 30}, nil},
		{"a_quarter_of_both", of(25, 25), 0, []int{50, 50}, nil},
		{"three_half", of(50, 50, 100), 0, []int{70, 30, 0}, nil},
		{"three_quarter", of(25, 25, 100), 0, []int{35, 35, 30}, nil},
		{"three_short_of_all", of(25, 25, 20), 0, []int{37, 35, 28}, nil}, // 35, 35 and 28 of 98; the table has 36, 36 and 28, rounded
		{"nobody", of(0, 0), 0, []int{100, 0}, nil},
		{"no_panic_while_the_other_carries_all", of(25, 100), 50, []int{35, 65}, []bool{false, false}},
		{"panic_of_both", of(25, 25), 50, []int{50, 50}, []bool{true, true}},
		{"panic_of_one", of(5, 65), 50, []int{8, 92}, []bool{true, false}}, // 7 and 91 of 98; the table has 7 and 93, rounded
		{"panic_by_number", []headcount{{10, 10, 1}, {30, 30, 3}}, 50, []int{25, 75}, []bool{true, true}},
		{"panic_when_all_are_gone", of(0, 0), 1, []int{50, 50}, []bool{true, true}},
		{"not_ready_is_no_panic", []headcount{{100, 20, 20}}, 50, []int{100}, []bool{false}},
		{"one_level", of(10), 0, []int{100}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			loads, panics := levelLoads(tt.levels, tt.threshold)
			if diff := cmp.Diff(tt.loads, loads); diff != "" {
				t.Errorf("loads (-want +got):\n%s", diff)
			}
			want := tt.panic
			if want == nil {
				want = make([]bool, len(tt.levels))
			}
			if !slices.Equal(panics, want) {
				t.Errorf("panics = %v, want %v", panics, want)
			}
		})
	}
}

// The table of Envoy's documentation, "Locality weighted load balancing": a locality of weight 1 beside one of weight 2.
func TestWeightedLoads(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ healthy, want int }{{100, 33}, {72, 33}, {69, 33}, {50, 26}, {25, 15}, {0, 0}} {
		loads, _ := weightedLoads(of(tt.healthy, 100), []float64{1, 2}, 0)
		if got := int(math.Round(100 * float64(loads[0]) / float64(loads[0]+loads[1]))); got != tt.want {
			t.Errorf("with %d %% healthy: %d %% of the calls, want %d", tt.healthy, got, tt.want)
		}
	}
	loads, panics := weightedLoads(of(10, 20), []float64{80, 20}, 30)
	if !slices.Equal(panics, []bool{true, true}) || math.Abs(float64(loads[0])/float64(loads[0]+loads[1])-0.8) > 1e-5 {
		t.Errorf("in panic: %v %v, want shares as written and ejected endpoints called", loads, panics)
	}
	if loads, panics := weightedLoads(of(10, 100), []float64{80, 20}, 30); slices.Contains(panics, true) || loads[0] >= loads[1] {
		t.Errorf("55 %% healthy in all: %v %v, want no panic and most calls where the endpoints are", loads, panics)
	}
}

// fleet makes n endpoints in each locality.
func fleet(n int, places ...string) []*testEndpoint {
	var out []*testEndpoint
	for i, e := range endpoints(slices.Repeat([]uint32{1}, n*len(places))...) {
		e.Plan.Locality, _ = model.ParseLocality(places[i/n])
		out = append(out, e)
	}
	return out
}

func in(place string) Place {
	l, _ := model.ParseLocality(place)
	return Place{Locality: l}
}

// byPlace gives the percentage of calls that go to each locality.
func byPlace(p *testPicker) map[string]float64 {
	got := map[string]float64{}
	for e, part := range share(p, 20000) {
		got[e.Plan.Locality.String()] += 100 * part
	}
	return got
}

// equalShares reports whether shares are within two points of what is wanted: more than five standard deviations of 20,000 calls.
func equalShares(got, want map[string]float64) bool {
	for place, part := range want {
		if math.Abs(got[place]-part) > 2 {
			return false
		}
	}
	for place, part := range got {
		if want[place] == 0 && part > 0 {
			return false
		}
	}
	return true
}

// Calls stay where they are until health falls below the threshold, then as many leave as the endpoints there are short of,
// whatever it is that endpoints are missing by.
func TestSpillOver(t *testing.T) {
	for cause, fail := range map[string]func(e *testEndpoint){
		"not_ready":       func(e *testEndpoint) { e.Plan.Health = plan.Unhealthy },
		"refused":         func(e *testEndpoint) { e.refused(time.Now()) },
		"ejected":         func(e *testEndpoint) { e.End(Outcome{Kind: Answered, Status: 500}) },
		"ejected_locally": func(e *testEndpoint) { e.End(Outcome{Kind: Reset}) },
	} {
		for _, tt := range []struct {
			missing int
			want    map[string]float64
		}{
			{0, map[string]float64{"west/a": 100}},
			{28, map[string]float64{"west/a": 100}},
			{29, map[string]float64{"west/a": 99, "west/b": 1}},
			{50, map[string]float64{"west/a": 70, "west/b": 30}},
			{75, map[string]float64{"west/a": 35, "west/b": 65}},
			{100, map[string]float64{"west/b": 100}},
		} {
			for _, kind := range everyKind {
				if kind != model.LeastRequest && cause != "ejected" {
					continue // the policy does not see what is missing, nor why
				}
				t.Run(fmt.Sprintf("%s/%d/%v", cause, tt.missing, kind), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						es := fleet(100, "west/a", "west/b", "east/c")
						g := NewGroup("g")
						g.SetOutlierDetection(&model.OutlierDetection{Consecutive5xx: 1, MaxEjectionPercent: 100})
						build := func() *testPicker {
							return NewPicker(Options{Group: g, Kind: kind, Locality: &model.LocalityLB{}, Here: in("west/a")}, es)
						}
						p := build()
						missing := p.all[:tt.missing]
						if cause == "not_ready" {
							missing = es[:tt.missing]
						}
						for _, e := range missing {
							fail(e)
						}
						if cause == "not_ready" {
							p = build() // what discovery says comes with another picker
						}
						time.Sleep(time.Millisecond) // so long changes are left unseen
						if got := byPlace(p); !equalShares(got, tt.want) {
							t.Errorf("%d of 100 missing: shares %v, want %v", tt.missing, got, tt.want)
						}
					})
				})
			}
		}
	}
}

// What was short comes back as its endpoints do.
func TestSpillOverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		es := fleet(4, "west/a", "west/b")
		p := NewPicker(Options{Kind: model.Random, Locality: &model.LocalityLB{}, Here: in("west/a")}, es)
		local := map[string]float64{"west/a": 100}
		for _, e := range es[:2] {
			e.refused(time.Now())
		}
		time.Sleep(time.Millisecond)
		if got := byPlace(p); !equalShares(got, map[string]float64{"west/a": 70, "west/b": 30}) {
			t.Errorf("two of four refuse: %v", got)
		}
		es[0].Accepted()
		time.Sleep(time.Millisecond)
		if got := byPlace(p); !equalShares(got, local) {
			t.Errorf("one accepts again: %v, want all in the zone, for three of four are enough", got)
		}
		es[0].refused(time.Now())
		time.Sleep(firstPause)
		pick(p) // the pauses are over: both get a trial, and are no better than that until something is heard of it
		for range 100 {
			pick(p)
		}
		time.Sleep(time.Millisecond)
		if !es[0].OnTrial(time.Now) || !es[1].OnTrial(time.Now) {
			t.Fatal("no trial after the pause")
		}
		if got := byPlace(p); !equalShares(got, map[string]float64{"west/a": 70, "west/b": 30}) {
			t.Errorf("two of four on trial: %v", got)
		}
	})
}

// A level all of whose endpoints pause is tried again, though no calls fall to it.
func TestSpillOverTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		es := fleet(1, "west/a", "west/b")
		p := NewPicker(Options{Locality: &model.LocalityLB{}, Here: in("west/a")}, es)
		es[0].refused(time.Now())
		time.Sleep(time.Millisecond)
		if got := picks(p, es[0]); got != 0 {
			t.Errorf("picked %d times while it pauses", got)
		}
		time.Sleep(firstPause)
		if got := picks(p, es[0]); got != 1 {
			t.Errorf("picked %d times after the pause, want one trial", got)
		}
		es[0].Accepted()
		time.Sleep(time.Millisecond)
		if got := picks(p, es[0]); got != 100 {
			t.Errorf("picked %d times of 100 after the trial", got)
		}
	})
}

// In panic the ejected endpoints of a level are called; a level that others can help needs none.
func TestPanicOfALevel(t *testing.T) {
	for _, tt := range []struct {
		name    string
		far     int // of four, so many are ejected
		percent uint32
		want    map[string]float64
		ejected bool // some ejected one is called
	}{
		{"others_help", 0, 50, map[string]float64{"west/b": 100}, false},
		{"none_is_left", 4, 50, map[string]float64{"west/a": 50, "west/b": 50}, true},
		{"none_is_left_and_no_panic", 4, 0, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				es := fleet(4, "west/a", "west/b")
				g := NewGroup("g")
				g.SetOutlierDetection(&model.OutlierDetection{Consecutive5xx: 1, MaxEjectionPercent: 100, MinHealthPercent: tt.percent})
				p := NewPicker(Options{Group: g, Kind: model.Random, Locality: &model.LocalityLB{}, Here: in("west/a"), Panic: tt.percent}, es)
				for _, e := range slices.Concat(p.all[:4], p.all[4:4+tt.far]) {
					e.End(Outcome{Kind: Answered, Status: 500})
				}
				time.Sleep(time.Millisecond)
				ejected := false
				for range 100 {
					if e := pick(p); e != nil {
						_, _, out := e.Outlier(time.Now())
						ejected = ejected || out
					}
				}
				if ejected != tt.ejected {
					t.Errorf("ejected ones are called = %v, want %v", ejected, tt.ejected)
				}
				if tt.want != nil && !equalShares(byPlace(p), tt.want) {
					t.Errorf("shares %v, want %v", byPlace(p), tt.want)
				}
				if tt.want == nil && pick(p) != nil {
					t.Error("an endpoint is called though all are ejected")
				}
			})
		})
	}
}

// Calls that are alike stay together while calls leave the level, and no more of them move than have to.
func TestSpillOverKeepsUsersTogether(t *testing.T) {
	es := fleet(10, "west/a", "west/b")
	o := Options{Kind: model.Maglev, Locality: &model.LocalityLB{}, Here: in("west/a")}
	before := NewPicker(o, es)
	for _, e := range es[:5] {
		e.Plan.Health = plan.Unhealthy
	}
	after := NewPicker(o, es)
	left, moved := 0, 0
	for user := range 10000 {
		info := &Info{Hash: HashOf(fmt.Appendf(nil, "user-%d", user))}
		old, now := before.Pick(info).Endpoint, after.Pick(info).Endpoint
		if again := after.Pick(info).Endpoint; again != now {
			t.Fatalf("one user came to %v and %v", now, again)
		}
		switch {
		case now.Plan.Locality.Zone == "b":
			left++
		case old.Plan.Health == plan.Healthy && old != now:
			moved++
		}
	}
	if left < 2800 || left > 3200 {
		t.Errorf("%d of 10000 users left the zone, want 30 %%", left)
	}
	if moved > 300 {
		t.Errorf("%d of 10000 users moved though they and their pod stayed", moved)
	}
}

// The time is not asked for, and nothing is counted, while all is well.
func TestPickByLocalityAllocatesNothing(t *testing.T) {
	for _, kind := range everyKind {
		for name, setting := range settings() {
			es := fleet(3, "west/a", "west/b", "east/c")
			p := NewPicker(Options{Kind: kind, Locality: setting, Here: in("west/a")}, es)
			fresh, tried := &Info{Hash: 7}, triedInfo(es[:3])
			for range 2 {
				if n := testing.AllocsPerRun(100, func() { p.Pick(fresh); p.Pick(tried) }); n != 0 {
					t.Errorf("%v, %s: %v allocations per pick, want 0", kind, name, n)
				}
				es[0].refused(time.Now()) // and with a pause
			}
		}
	}
}

func settings() map[string]*model.LocalityLB {
	return map[string]*model.LocalityLB{
		"levels": {},
		"distribute": {Distribute: []model.LocalityShares{{From: "*", To: []model.LocalityShare{
			{To: "west/a", Percent: 80}, {To: "west/b", Percent: 15}, {To: "east", Percent: 5},
		}}}},
	}
}

func BenchmarkPickByLocality(b *testing.B) {
	for _, n := range []int{10, 10000} {
		for name, setting := range settings() {
			for _, state := range []string{"well", "paused"} {
				b.Run(fmt.Sprintf("endpoints=%d/%s/%s", n, name, state), func(b *testing.B) {
					es := fleet(n/3+1, "west/a", "west/b", "east/c")
					p := NewPicker(Options{Kind: model.LeastRequest, Locality: setting, Here: in("west/a")}, es)
					if state == "paused" {
						es[0].refused(time.Now().Add(time.Hour))
					}
					info := &Info{}
					b.ReportAllocs()
					for b.Loop() {
						p.Pick(info)
					}
				})
			}
		}
	}
}
