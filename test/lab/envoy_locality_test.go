//go:build envoy

package lab_test

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"fairlead.dev/fairlead/test/envoy"
)

// placement is a localityLbSetting with the state of the endpoints, and the percentage of the calls that each zone gets.
type placement struct {
	name, setting string
	ready         []int // of each zone's endpoints
	ejected       []int // of each zone's; zones must be reached by calls when it is their turn
	// minHealth is minHealthPercent.
	minHealth int
	// weights are those of the zones for distribute; without it priorities say where calls go.
	weights []int
	want    []float64
	ours    []float64 // where Fairlead differs on purpose
}

func placements() []placement {
	const evenly, shares = "{}", "{distribute: [{from: west/a, to: {west/a: 60, west/b: 30, east/c: 10}}]}"
	all := []int{4, 4, 2, 2}
	return []placement{
		{name: "well", setting: evenly, ready: all, want: []float64{100, 0, 0, 0}},
		{name: "three-of-four", setting: evenly, ready: []int{3, 4, 2, 2}, want: []float64{100, 0, 0, 0}},
		{name: "half", setting: evenly, ready: []int{2, 4, 2, 2}, want: []float64{70, 30, 0, 0}},
		{name: "one-of-four", setting: evenly, ready: []int{1, 4, 2, 2}, want: []float64{35, 65, 0, 0}},
		{name: "none-of-four", setting: evenly, ready: []int{0, 4, 2, 2}, want: []float64{0, 100, 0, 0}},
		{name: "half-and-half", setting: evenly, ready: []int{2, 2, 2, 2}, want: []float64{70, 30, 0, 0}},
		{name: "three-levels", setting: evenly, ready: []int{1, 1, 2, 2}, want: []float64{35, 35, 15, 15}},
		{name: "short-of-all", setting: evenly, ready: []int{1, 1, 0, 0}, want: []float64{50, 50, 0, 0}},
		{name: "only-the-last", setting: evenly, ready: []int{0, 0, 2, 2}, want: []float64{0, 0, 50, 50}},
		// Within a level Envoy weighs zones by what they are short of, so that each endpoint of such a zone gets more than the
		// others of the level; Fairlead calls those alike.
		{
			name: "uneven-level", setting: evenly, ready: []int{0, 0, 1, 2},
			want: []float64{0, 0, 41.2, 58.8}, ours: []float64{0, 0, 33.3, 66.7},
		},
		{name: "region-failover", setting: "{failover: [{from: west, to: east}]}", ready: []int{0, 0, 2, 2}, want: []float64{0, 0, 50, 50}},
		{name: "shares", setting: shares, ready: all, weights: []int{60, 30, 10, 0}, want: []float64{60, 30, 10, 0}},
		{name: "shares-three-of-four", setting: shares, ready: []int{3, 4, 2, 2}, weights: []int{60, 30, 10, 0}, want: []float64{60, 30, 10, 0}},
		{name: "shares-half", setting: shares, ready: []int{2, 4, 2, 2}, weights: []int{60, 30, 10, 0}, want: []float64{51.2, 36.6, 12.2, 0}},
		{name: "shares-one-of-four", setting: shares, ready: []int{1, 2, 2, 2}, weights: []int{60, 30, 10, 0}, want: []float64{40.4, 40.4, 19.2, 0}},
		{name: "shares-none", setting: shares, ready: []int{0, 4, 2, 2}, weights: []int{60, 30, 10, 0}, want: []float64{0, 75, 25, 0}},
		{name: "shares-only-the-last", setting: shares, ready: []int{0, 0, 1, 2}, weights: []int{60, 30, 10, 0}, want: []float64{0, 0, 100, 0}},
		{name: "ejections-spill", setting: evenly, ready: all, ejected: []int{2, 0, 0, 0}, want: []float64{70, 30, 0, 0}},
		{name: "ejections-spill-shares", setting: shares, ready: all, ejected: []int{2, 0, 0, 0}, weights: []int{60, 30, 10, 0}, want: []float64{51.2, 36.6, 12.2, 0}},
		// A level below the threshold does not panic while the levels together can carry all calls.
		{name: "no-panic", setting: evenly, ready: all, minHealth: 60, ejected: []int{3, 0, 0, 0}, want: []float64{35, 65, 0, 0}},
		{name: "panic", setting: evenly, ready: all, minHealth: 60, ejected: []int{3, 3, 2, 2}, want: []float64{33.3, 33.3, 16.7, 16.7}},
		// Envoy's panic calls all endpoints alike; Fairlead goes on sharing out as the rule says.
		{
			name: "panic-shares", setting: shares, ready: all, minHealth: 60, ejected: []int{3, 3, 0, 0}, weights: []int{60, 30, 10, 0},
			want: []float64{40, 40, 20, 0}, ours: []float64{60, 30, 10, 0},
		},
	}
}

// twin gives the host on which both sides obey the placement.
func (p *placement) twin() twin {
	priorities := []int{0, 1, 2, 2}
	return twin{
		name: p.name,
		policy: fmt.Sprintf("loadBalancer: {simple: ROUND_ROBIN, localityLbSetting: %s}, outlierDetection: {consecutive5xxErrors: 1, "+
			"interval: 600s, baseEjectionTime: 600s, maxEjectionPercent: 100, minHealthPercent: %d}", p.setting, p.minHealth),
		endpoints: func(i int) (bool, bool) {
			for z, place := range zones() {
				if i >= place.first && i < place.first+place.size {
					return true, i < place.first+p.ready[z]
				}
			}
			return false, false
		},
		// As Istio has it: pilot/pkg/networking/core/loadbalancer, and applyOutlierDetection.
		cluster: func(name string, addrs []netip.Addr) envoy.Tree {
			var list []envoy.Locality
			for i, z := range zones() {
				l := envoy.Locality{Region: z.region, Zone: z.zone, Priority: priorities[i], Weight: z.size, Endpoints: at8080(addrs[z.first:][:z.size]), Healthy: p.ready[i]}
				if p.weights != nil {
					if l.Priority, l.Weight = 0, p.weights[i]; l.Weight == 0 {
						continue
					}
				}
				list = append(list, l)
			}
			return envoy.Tree{
				"load_assignment":  envoy.Assignment(name, list),
				"common_lb_config": envoy.Tree{"locality_weighted_lb_config": envoy.Tree{}, "healthy_panic_threshold": envoy.Tree{"value": p.minHealth}},
				"outlier_detection": envoy.Tree{
					"consecutive_5xx": 1, "enforcing_consecutive_5xx": 100, "enforcing_success_rate": 0, "interval": "600s",
					"base_ejection_time": "600s", "max_ejection_time": "600s", "max_ejection_percent": 100,
				},
			}
		},
	}
}

// TestEnvoyLocality gives a sidecar and an Envoy the same places, settings and health: zones get the same shares of the calls.
func TestEnvoyLocality(t *testing.T) {
	all := placements()
	twins := make([]twin, len(all))
	for i := range all {
		twins[i] = all[i].twin()
	}
	p := startPair(t, twins)
	for i := range all {
		t.Run(all[i].name, func(t *testing.T) {
			for _, s := range p.sides(t, &p.twins[i]) {
				p.eject(t, &p.twins[i], s, all[i].ejected)
				want := all[i].want
				if all[i].ours != nil && s.name == "fairlead" {
					want = all[i].ours
				}
				p.expectShares(t, &p.twins[i], s, want)
			}
		})
	}
}

// eject has endpoints fail, the last ones of each zone.
func (p *pair) eject(t *testing.T, w *twin, s side, counts []int) {
	t.Helper()
	for z, n := range counts {
		for i := range n {
			place := zones()[z]
			victim := p.addrs[place.first+place.size-1-i]
			eventually(t, fmt.Sprint(s.name, " to eject ", victim), func() bool {
				for range 50 {
					if by, status := w.ask(t.Context(), s, "", victim.String()+"=500"); by == victim && status == 500 {
						break
					}
				}
				set, err := s.ejected()
				if err != nil {
					t.Fatal(err)
				}
				return set[victim]
			})
		}
	}
}

// expectShares wants the zones to get these percentages of the calls, within what is left to chance.
func (p *pair) expectShares(t *testing.T, w *twin, s side, want []float64) {
	t.Helper()
	const calls, askers = 1200, 4
	zoneOf := map[netip.Addr]int{}
	for z, place := range zones() {
		for i := range place.size {
			zoneOf[p.addrs[place.first+i]] = z
		}
	}
	var got []float64
	eventually(t, fmt.Sprintf("%s to share calls out by %v", s.name, want), func() bool {
		var mu sync.Mutex
		var wg sync.WaitGroup
		counts, failed := make([]int, len(want)), 0
		for range askers {
			wg.Go(func() {
				for range calls / askers {
					by, status := w.ask(t.Context(), s, "", "")
					mu.Lock()
					if z, ok := zoneOf[by]; ok && status == 200 {
						counts[z]++
					} else {
						failed++
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		got = got[:0]
		for _, n := range counts {
			got = append(got, 100*float64(n)/calls)
		}
		for z := range want {
			deviation := math.Sqrt(want[z] * (100 - want[z]) / calls)
			if math.Abs(got[z]-want[z]) > 3.5*deviation+.5 {
				if failed == 0 {
					t.Logf("%s: %.1f, want %.1f", s.name, got, want)
				}
				return false
			}
		}
		return failed == 0
	})
	t.Logf("%-8s %s", s.name, strings.Trim(fmt.Sprintf("%5.1f", got), "[]"))
}
