package main

import (
	"math"
	"slices"
	"testing"
)

func TestRatiosPairsAPeerWithOursBesideIt(t *testing.T) {
	block := func(round int, of string, cpu float64) Block {
		return Block{Of: of, Round: round, CPU: cpu, Requests: 1}
	}
	noisy := block(0, "nginx", 1)
	noisy.Noisy = true
	failed := block(0, "nginx", 1)
	failed.Error = "refused"
	blocks := []Block{
		block(0, ours, 10), block(0, "nginx", 40), block(0, ours, 30), noisy, block(0, ours, 50), failed, block(0, ours, 50),
		// The machine is half as fast in the next round: neither its blocks nor the others' are paired with this one's.
		block(1, ours, 60), block(1, "nginx", 60), block(1, ours, 60),
	}
	got := ratios(blocks, "nginx", func(b *Block) float64 { return b.CPU })
	if want := []float64{0.5, 1}; !slices.Equal(got, want) {
		t.Errorf("ratios = %v, want %v", got, want)
	}
	if got := ratios(blocks, "envoy", func(b *Block) float64 { return b.CPU }); got != nil {
		t.Errorf("ratios to a peer that did not run: %v", got)
	}
}

func TestRatioOf(t *testing.T) {
	if got := ratioOf([]float64{0.5, 2}); math.Abs(got.Mid-1) > 1e-9 || got.Low != 0.5 || got.High != 2 {
		t.Errorf("ratioOf(0.5, 2) = %+v, want 1 between them", got)
	}
	if got := ratioOf([]float64{0.8, 0.8, 0.8}); math.Abs(got.Low-0.8) > 1e-9 || math.Abs(got.High-0.8) > 1e-9 {
		t.Errorf("ratioOf of equal ratios = %+v", got)
	}
	wide, narrow := ratioOf([]float64{0.5, 1, 1.5, 2}), ratioOf([]float64{1.1, 1.15, 1.12, 1.13})
	if wide.High-wide.Low <= narrow.High-narrow.Low {
		t.Errorf("scattered ratios give %+v, others %+v", wide, narrow)
	}
	if got := ratioOf(nil); !math.IsNaN(got.Mid) {
		t.Errorf("ratioOf() = %+v", got)
	}
}
