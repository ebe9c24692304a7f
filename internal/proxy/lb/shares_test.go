package lb

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"

	"fairlead.dev/fairlead/internal/model"
)

// chiSquare fails where counts are not what would come of draws in these proportions (Pearson's test). By chance that
// happens once in a million times.
func chiSquare(t *testing.T, counts, proportions []float64) {
	t.Helper()
	n, whole, sum, freedom := 0.0, 0.0, 0.0, -1.0
	for i := range counts {
		n += counts[i]
		whole += proportions[i]
	}
	for i, got := range counts {
		want := n * proportions[i] / whole
		if want == 0 {
			if got != 0 {
				t.Errorf("endpoint %d, which is to get nothing, has %.0f of %.0f", i, got, n)
			}
			continue
		}
		freedom++
		sum += (got - want) * (got - want) / want
	}
	const z = 4.75 // of the normal distribution, one in a million; Wilson and Hilferty's approximation
	if limit := freedom * math.Pow(1-2/(9*freedom)+z*math.Sqrt(2/(9*freedom)), 3); sum > limit {
		t.Errorf("counts %.0f for %v: chi square is %.1f, above %.1f", counts, proportions, sum, limit)
	}
}

// tally counts picks by endpoint.
func tally(p *testPicker, es []*testEndpoint, n int) []float64 {
	counts := make([]float64, len(es))
	index := map[string]int{}
	for i, e := range es {
		index[e.Plan.Addr.String()] = i
	}
	for range n {
		counts[index[p.Pick(&Info{}).Endpoint.Plan.Addr.String()]]++
	}
	return counts
}

// inBubble has time stand still.
func inBubble(test func(t *testing.T)) func(t *testing.T) {
	return func(t *testing.T) { synctest.Test(t, test) }
}

func TestSharesAreThoseOfTheWeights(t *testing.T) {
	many := func(weights ...uint32) []uint32 { return slices.Repeat(weights, 10) }
	ones := many(1)
	for _, tt := range []struct {
		name    string
		kind    model.LBKind
		weights []uint32
		active  []int // by endpoint
		want    []float64
	}{
		{"random", model.Random, ones, nil, nil},
		{"random_by_weight", model.Random, []uint32{5, 3, 1, 1, 0}, nil, nil},
		{"round_robin", model.RoundRobin, ones, nil, nil},
		{"round_robin_by_weight", model.RoundRobin, []uint32{5, 3, 1, 1, 0}, nil, nil},
		{"least_request_idle", model.LeastRequest, ones, nil, nil},
		{"least_request_by_weight", model.LeastRequest, []uint32{5, 3, 1, 1, 0}, nil, nil},
		{"least_request_by_weight_of_many", model.LeastRequest, many(5, 3, 1, 1, 0), nil, nil},
		{"least_request_by_weight_and_in_flight", model.LeastRequest, []uint32{6, 3, 1}, []int{5, 2, 0}, []float64{1, 1, 1}},
		{"least_request_by_weight_with_one_that_hangs", model.LeastRequest, []uint32{9, 1}, []int{8999, 0}, []float64{1, 1000}},
		{"peak_ewma", model.PeakEWMA, ones, nil, nil},
		{"peak_ewma_by_weight", model.PeakEWMA, []uint32{5, 3, 1, 1, 0}, nil, nil},
	} {
		t.Run(tt.name, inBubble(func(t *testing.T) {
			es := endpoints(tt.weights...)
			for i, n := range tt.active {
				for range n {
					es[i].Begin()
				}
			}
			if tt.want == nil {
				for _, w := range tt.weights {
					tt.want = append(tt.want, float64(w))
				}
			}
			chiSquare(t, tally(NewPicker(Options{Kind: tt.kind}, es), es, 20000), tt.want)
		}))
	}
}

// Of many endpoints, one that weighs much and hangs gets a small part of what it would.
func TestLeastRequestOfManyLeavesWhatHangs(t *testing.T) {
	es := endpoints(append(slices.Repeat([]uint32{1}, 90), 10)...)
	for range 1000 {
		es[90].Begin()
	}
	if got := tally(NewPicker(Options{Kind: model.LeastRequest}, es), es, 20000)[90] / 20000; got > .02 {
		t.Errorf("it has %.3f of the calls, want at most a fifth of the .1 that it weighs", got)
	}
}

// Keys are spread over a table as places are: what is uneven is the table, not the hash.
func TestKeysAreSpreadEvenly(t *testing.T) {
	for _, kind := range hashingKinds {
		es := equally(10)
		p := NewPicker(Options{Kind: kind}, es)
		want, got := make([]float64, len(es)), make([]float64, len(es))
		index := map[*testEndpoint]int{}
		for i, e := range es {
			index[e] = i
		}
		const places = 1 << 20
		for i := range uint64(places) {
			want[index[p.Pick(&Info{Hash: 1 + i*(math.MaxUint64/places)}).Endpoint]]++
		}
		for key := range keys {
			got[index[p.Pick(&Info{Hash: keyHash(key)}).Endpoint]]++
		}
		t.Run(kind.String(), func(t *testing.T) { chiSquare(t, got, want) })
	}
}
