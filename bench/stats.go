package main

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Interval is a ratio with its 95 % confidence interval.
type Interval struct{ Low, Mid, High float64 }

// bootstraps is how many resamples an interval is made of.
const bootstraps = 4000

// ratioOf gives the geometric mean of ratios and, by resampling them, its interval. The generator is seeded alike each
// time: the same figures give the same report.
func ratioOf(ratios []float64) Interval {
	if len(ratios) == 0 {
		return Interval{math.NaN(), math.NaN(), math.NaN()}
	}
	logs := make([]float64, len(ratios))
	for i, r := range ratios {
		logs[i] = math.Log(r)
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // no secrecy
	means := make([]float64, bootstraps)
	for i := range means {
		sum := 0.0
		for range logs {
			sum += logs[random.IntN(len(logs))]
		}
		means[i] = sum / float64(len(logs))
	}
	slices.Sort(means)
	sum := 0.0
	for _, l := range logs {
		sum += l
	}
	return Interval{
		math.Exp(means[bootstraps*25/1000]), math.Exp(sum / float64(len(logs))), math.Exp(means[bootstraps*975/1000-1]),
	}
}

// median of some figures, 0 of none.
func median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(of))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// ratios pairs each good block of a peer with the mean of the good blocks of ours directly before and after it, and gives
// ours ÷ peer by what a block is measured in.
func ratios(blocks []Block, peer string, of func(*Block) float64) []float64 {
	var out []float64
	for i := range blocks {
		b := &blocks[i]
		if b.Of != peer || !b.good() || of(b) <= 0 {
			continue
		}
		var near []float64
		for _, j := range []int{before(blocks, i), after(blocks, i)} {
			if j >= 0 && blocks[j].good() && of(&blocks[j]) > 0 {
				near = append(near, of(&blocks[j]))
			}
		}
		if len(near) > 0 {
			out = append(out, median(near)/of(b))
		}
	}
	return out
}

// before gives the last block of ours before i in the same round, after the first one after it; -1 for none.
func before(blocks []Block, i int) int {
	for j := i - 1; j >= 0 && blocks[j].Round == blocks[i].Round; j-- {
		if blocks[j].Of == ours {
			return j
		}
	}
	return -1
}

func after(blocks []Block, i int) int {
	for j := i + 1; j < len(blocks) && blocks[j].Round == blocks[i].Round; j++ {
		if blocks[j].Of == ours {
			return j
		}
	}
	return -1
}
