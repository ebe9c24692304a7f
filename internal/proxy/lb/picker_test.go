package lb

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// What is attached does not matter here.
type (
	testEndpoint = Endpoint[string]
	testPicker   = Picker[string]
)

// pick is a pick by a call that went to some endpoints in vain.
func pick(p *testPicker, tried ...*testEndpoint) *testEndpoint {
	return p.Pick(triedInfo(tried)).Endpoint
}

func triedInfo(tried []*testEndpoint) *Info {
	info := &Info{}
	for _, e := range tried {
		info.Tried = append(info.Tried, e.Plan.Addr)
	}
	return info
}

func endpoints(weights ...uint32) []*testEndpoint {
	var es []*testEndpoint
	for i, w := range weights {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i + 1)}), 8080)
		es = append(es, NewEndpoint(plan.Endpoint{Addr: addr, Weight: w, Health: plan.Healthy}, ""))
	}
	return es
}

func share(p *testPicker, n int) map[*testEndpoint]float64 {
	counts := map[*testEndpoint]int{}
	for range n {
		counts[pick(p)]++
	}
	got := map[*testEndpoint]float64{}
	for e, c := range counts {
		got[e] = float64(c) / float64(n)
	}
	return got
}

func TestPickShares(t *testing.T) {
	tests := []struct {
		name    string
		kind    model.LBKind
		weights []uint32
		want    []float64
		within  float64
	}{
		{"round_robin_is_exact", model.RoundRobin, []uint32{1, 1, 1, 1}, []float64{.25, .25, .25, .25}, 0.0001},
		{"round_robin_follows_weights_exactly", model.RoundRobin, []uint32{3, 1}, []float64{.75, .25}, 0.0001},
		{"round_robin_zero_weight_gets_nothing", model.RoundRobin, []uint32{1, 0}, []float64{1, 0}, 0.0001},
		{"random_is_even", model.Random, []uint32{1, 1}, []float64{.5, .5}, 0.03},
		{"random_follows_weights", model.Random, []uint32{9, 1}, []float64{.9, .1}, 0.03},
		{"least_request_is_even_when_idle", model.LeastRequest, []uint32{1, 1, 1}, []float64{.333, .333, .333}, 0.03},
		{"unset_means_least_request", model.LBUnset, []uint32{1, 1}, []float64{.5, .5}, 0.03},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			es := endpoints(tt.weights...)
			got := share(NewPicker(Options{Kind: tt.kind}, es), 16000)
			for i, e := range es {
				if math.Abs(got[e]-tt.want[i]) > tt.within {
					t.Errorf("endpoint %d got %.3f of the picks, want %.3f", i, got[e], tt.want[i])
				}
			}
		})
	}
}

func TestPickLeastRequestPrefersTheIdle(t *testing.T) {
	es := endpoints(1, 1)
	for range 5 {
		es[0].Begin()
	}
	if got := share(NewPicker(Options{Kind: model.LeastRequest}, es), 100)[es[1]]; got != 1 {
		t.Errorf("idle endpoint got %.2f of the picks, want all: with two endpoints both are always compared", got)
	}
}

func TestPickAvoids(t *testing.T) {
	tests := []struct {
		name  string
		setup func(es []*testEndpoint) (tried []*testEndpoint)
		want  []int // acceptable endpoints
	}{
		{"tried_endpoints", func(es []*testEndpoint) []*testEndpoint { return es[:2] }, []int{2}},
		{"ejected_endpoints", func(es []*testEndpoint) []*testEndpoint {
			es[0].refused(time.Now())
			es[1].refused(time.Now())
			return nil
		}, []int{2}},
		{"nothing_when_all_are_ejected", func(es []*testEndpoint) []*testEndpoint {
			for _, e := range es {
				e.refused(time.Now())
			}
			return es[:1]
		}, []int{1, 2}},
		{"nothing_when_all_were_tried", func(es []*testEndpoint) []*testEndpoint { return es }, []int{0, 1, 2}},
		{"unhealthy_endpoints", func(es []*testEndpoint) []*testEndpoint {
			es[1].Plan.Health = plan.Unhealthy
			es[2].Plan.Health = plan.Draining
			return nil
		}, []int{0}},
		{"draining_ones_only_while_others_exist", func(es []*testEndpoint) []*testEndpoint {
			es[0].Plan.Health = plan.Unhealthy
			es[1].Plan.Health = plan.Unhealthy
			es[2].Plan.Health = plan.Draining
			return nil
		}, []int{2}},
	}
	for _, kind := range everyKind {
		for _, tt := range tests {
			t.Run(fmt.Sprint(tt.name, "/", kind), func(t *testing.T) {
				es := endpoints(1, 1, 1)
				tried := tt.setup(es)
				p := NewPicker(Options{Kind: kind}, es)
				for range 50 {
					got := pick(p, tried...)
					ok := false
					for _, i := range tt.want {
						ok = ok || got == es[i]
					}
					if !ok {
						t.Fatalf("Pick = %v, want one of %v", got.Plan.Addr, tt.want)
					}
				}
			})
		}
	}
	if got := NewPicker[string](Options{Kind: model.Random}, nil).Pick(&Info{}); got.Endpoint != nil || got.String() != "no candidate" {
		t.Errorf("Pick of nothing = %v, want nil", got)
	}
}

func TestAcceptedEndsAnEjection(t *testing.T) {
	e := endpoints(1)[0]
	e.refused(time.Now())
	if !e.Ejected(time.Now) {
		t.Fatal("Ejected = false right after a refused connection")
	}
	later := func() time.Time { return time.Now().Add(firstPause) }
	if e.Ejected(later) {
		t.Errorf("Ejected = true after %v", firstPause)
	}
	e.Accepted()
	if e.Ejected(time.Now) {
		t.Error("Ejected = true after a connection was accepted")
	}
}

func TestWithKeepsWhatWasSeen(t *testing.T) {
	e := endpoints(1)[0]
	e.Begin()
	e.refused(time.Now())
	changed := e.Plan
	changed.Weight = 5
	got := e.With(changed)
	if got.Plan.Weight != 5 || got.Active() != 1 || !got.Ejected(time.Now) {
		t.Errorf("With = weight %d, active %d, ejected %v; want 5, 1, true", got.Plan.Weight, got.Active(), got.Ejected(time.Now))
	}
	e.End(Outcome{})
	if got.Active() != 0 {
		t.Error("a request that ends on the old value must count on the new one")
	}
}

// What discovery says of an endpoint while a request is tried makes no other endpoint of it, nor does a new beginning.
func TestPickAvoidsWhatWasTriedBeforeAnUpdate(t *testing.T) {
	for name, renew := range map[string]func(e *testEndpoint) *testEndpoint{
		"updated":   func(e *testEndpoint) *testEndpoint { p := e.Plan; p.Subsets = []string{"v1"}; return e.With(p) },
		"attached":  func(e *testEndpoint) *testEndpoint { return e.Attach("something else") },
		"begun_new": func(e *testEndpoint) *testEndpoint { return NewEndpoint(e.Plan, "") },
	} {
		t.Run(name, func(t *testing.T) {
			es := endpoints(1, 1)
			p := NewPicker(Options{}, []*testEndpoint{renew(es[0]), es[1]})
			for range 100 {
				if got := pick(p, es[0]); got != es[1] {
					t.Fatalf("picked %s, which was tried already", got.Plan.Addr)
				}
			}
		})
	}
}

// everyKind are the algorithms.
var everyKind = []model.LBKind{model.RoundRobin, model.Random, model.LeastRequest, model.PeakEWMA, model.Utilization, model.RingHash, model.Maglev}

func TestPickAllocatesNothing(t *testing.T) {
	for _, kind := range everyKind {
		p := NewPicker(Options{Kind: kind, Group: NewGroup("g"), BalanceFactor: 100}, endpoints(1, 2, 3))
		fresh, tried := &Info{Hash: 7}, triedInfo(p.All()[:1])
		if n := testing.AllocsPerRun(100, func() { p.Pick(fresh); p.Pick(tried) }); n != 0 {
			t.Errorf("%v: %v allocations per pick, want 0", kind, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, n := range []int{10, 10000} {
		for _, kind := range everyKind {
			b.Run(fmt.Sprintf("endpoints=%d/%v", n, kind), func(b *testing.B) {
				weights := make([]uint32, n)
				for i := range weights {
					weights[i] = 1
				}
				p := NewPicker(Options{Kind: kind}, endpoints(weights...))
				p.Prepare()
				info := &Info{At: time.Now()}
				b.ReportAllocs()
				for b.Loop() {
					info.Hash += 1 << 40
					p.Pick(info)
				}
			})
		}
	}
}
