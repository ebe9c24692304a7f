package lb

import (
	"math/rand/v2"
	"sort"
)

// random draws candidates by weight.
type random struct {
	anywhere
	// cumulative holds running weights; nil where all weigh the same.
	cumulative []uint64
}

func newRandom(candidates []*Host) policy {
	r := drawOf(candidates)
	return &r
}

func drawOf(candidates []*Host) random {
	r := random{anywhere: anywhere(len(candidates))}
	if !sameWeights(candidates) {
		r.cumulative = cumulate(candidates)
	}
	return r
}

func (r *random) choose(*Info, int) int {
	if r.cumulative == nil {
		return rand.IntN(int(r.anywhere)) //nolint:gosec // spreading load needs no secrecy
	}
	total := r.cumulative[len(r.cumulative)-1]
	if total == 0 {
		return 0
	}
	n := rand.Uint64N(total) //nolint:gosec // as above
	return sort.Search(len(r.cumulative), func(i int) bool { return r.cumulative[i] > n })
}

// two draws two candidates, different ones where all weigh the same and there are two.
func (r *random) two(info *Info, try int) (i, j int) {
	n := int(r.anywhere)
	switch {
	case n == 1:
		return 0, 0
	case r.cumulative != nil:
		return r.choose(info, try), r.choose(info, try)
	}
	i = rand.IntN(n)     //nolint:gosec // spreading load needs no secrecy
	j = rand.IntN(n - 1) //nolint:gosec // as above
	if j >= i {
		j++
	}
	return i, j
}

func sameWeights(hosts []*Host) bool {
	for _, h := range hosts {
		if h.Plan.Weight != hosts[0].Plan.Weight {
			return false
		}
	}
	return true
}

func cumulate(hosts []*Host) []uint64 {
	sums, sum := make([]uint64, len(hosts)), uint64(0)
	for i, h := range hosts {
		sum += uint64(h.Plan.Weight)
		sums[i] = sum
	}
	return sums
}
