package lb

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

const (
	defaultRing = 1024
	// maxRing bounds the memory of a ring, at 8 bytes a place; the bound is Envoy's.
	maxRing = 8 << 20
	// indexBits of a place say whose it is, the others where: as many candidates have places.
	indexBits = 20
	indexMask = 1<<indexBits - 1
)

// ring is consistent hashing (Karger et al. 1997): each candidate has places on a circle, as many as it weighs, and a call
// goes to the next place behind its hash.
type ring struct {
	places []uint64 // ascending
	// starts says of each of the equal parts of the circle how many places lie before it: places are spread evenly, so that a
	// search looks at few of them, close together. One part more than there are ends the last.
	starts []uint32
	shift  uint8 // of a hash, to its part
}

func ringOf(o *Options) func([]*Host) policy {
	size := o.TableSize
	return func(candidates []*Host) policy {
		return &hashed{n: len(candidates), bound: boundOf(o, candidates), build: func() func(uint64) int {
			return newRing(candidates, float64(cmp.Or(size, defaultRing))).find
		}}
	}
}

// newRing builds a ring of at least size places. Envoy's has as many places for two candidates as for a thousand, so that
// each gets more when one goes, and takes calls from others by that. Here a candidate has size places while there are few,
// and above that fewer by the root of their number only: what moves needlessly is below 3 %.
func newRing(candidates []*Host, size float64) *ring {
	candidates = candidates[:min(len(candidates), indexMask+1)]
	each, largest := weights(candidates)
	scale := size * math.Sqrt(min(fewCandidates/float64(len(each)), 1))
	total := 0.0
	for _, w := range each {
		total += w / largest
	}
	scale = min(max(scale, size/total), maxRing/total)
	places := make([]uint64, 0, int(scale*total)+len(each))
	for i, w := range each {
		from := hostHash(candidates[i], 0)
		for n := range uint64(math.Ceil(scale * (w / largest))) {
			places = append(places, mix(from+n)&^indexMask|uint64(i))
		}
	}
	slices.Sort(places)
	return divide(places)
}

// perPart is how many places a part of the circle has on average, half of it at least: a line of the cache.
const perPart = 8

// divide finds the parts of a circle of places.
func divide(places []uint64) *ring {
	log := uint8(bits.Len(uint(len(places) / perPart)))
	r := &ring{places, make([]uint32, 1<<log+1), 64 - log}
	for _, place := range places {
		r.starts[place>>r.shift+1]++
	}
	for i := range r.starts[1:] {
		r.starts[i+1] += r.starts[i]
	}
	return r
}

// fewCandidates is up to how many candidates each has all its places.
const fewCandidates = 16

func (r *ring) find(hash uint64) int {
	part := hash >> r.shift
	first := r.starts[part]
	i, _ := slices.BinarySearch(r.places[first:r.starts[part+1]], hash)
	if i += int(first); i == len(r.places) {
		i = 0
	}
	return int(r.places[i] & indexMask)
}
