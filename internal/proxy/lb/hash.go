package lb

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
)

// HashOf gives the hash of what makes calls alike, never 0. It is the same in every sidecar, and must stay so across
// versions: FNV-1a (Fowler, Noll, Vo), its bits spread by mix.
func HashOf(key []byte) uint64 { return max(hash(key, 0), 1) }

func hash(key []byte, seed uint64) uint64 {
	h := uint64(14695981039346656037) ^ seed
	for _, c := range key {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return mix(h)
}

// hostHash is the hash number n of a host.
func hostHash(h *Host, n uint64) uint64 {
	var buf [64]byte
	return hash(binary.LittleEndian.AppendUint64(h.Plan.Addr.AppendTo(buf[:0]), n), 0)
}

// byAddress is the order of the candidates of hashing policies: equal sets give equal tables, in whatever order discovery
// has them.
func byAddress(a, b *Host) int { return a.Plan.Addr.Compare(b.Plan.Addr) }

// hashed is what policies have in common that look up a hash in a table.
type hashed struct {
	n int
	// build makes the table, and gives what looks a hash up in it: find, once it is made.
	build func() (find func(hash uint64) int)
	made  sync.Once
	find  func(hash uint64) int
	bound *bound // nil for none
}

// prepare implements slow.
func (t *hashed) prepare() { t.made.Do(func() { t.find = t.build() }) }

// choose goes on to the place of another hash where the candidate at the call's own cannot be called: what an endpoint
// leaves behind falls to all others, and to the same one for calls that are alike.
func (t *hashed) choose(info *Info, try int) int {
	h := info.Hash
	if h == 0 {
		if t.bound == nil {
			return rand.IntN(t.n) //nolint:gosec // spreading load needs no secrecy
		}
		h = rand.Uint64() //nolint:gosec // as above
	}
	t.prepare()
	if t.bound != nil {
		return t.bound.choose(func(n int) int { return t.place(h, try+n) })
	}
	return t.place(h, try)
}

// place gives the candidate at the n-th place of a hash.
func (t *hashed) place(h uint64, n int) int {
	if n > 0 {
		h = mix(h + uint64(n))
	}
	return t.find(h)
}

func (t *hashed) rest(info *Info) int { return t.choose(info, 0) }

// weights give the weights of hosts, all 1 where nothing weighs anything, and the largest.
func weights(hosts []*Host) (each []float64, largest float64) {
	each = make([]float64, len(hosts))
	for i, h := range hosts {
		each[i] = float64(h.Plan.Weight)
		largest = max(largest, each[i])
	}
	if largest == 0 {
		for i := range each {
			each[i] = 1
		}
		largest = 1
	}
	return each, largest
}
