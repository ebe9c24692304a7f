package lb

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"strconv"
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
	var buf [128]byte
	return hash(binary.LittleEndian.AppendUint64(h.hashKey(buf[:0]), n), 0)
}

// hashKey appends what tells a host from others: its address, or the name of a pod whose successors have the same name, and
// its users with that.
func (h *Host) hashKey(to []byte) []byte {
	if !h.Plan.Stable {
		return h.Plan.Addr.AppendTo(to)
	}
	w := &h.Plan.Workload
	for _, part := range [...]string{w.Cluster, w.Namespace, w.Pod} {
		to = append(append(to, part...), '/')
	}
	return strconv.AppendUint(to, uint64(h.Plan.Addr.Port()), 10)
}

// byHashKey is the order of the candidates of hashing policies: equal sets give equal tables, in whatever order discovery has
// them. Pods that are stable come last.
func byHashKey(a, b *Host) int {
	switch {
	case !a.Plan.Stable && !b.Plan.Stable:
		return a.Plan.Addr.Compare(b.Plan.Addr)
	case !a.Plan.Stable:
		return -1
	case !b.Plan.Stable:
		return 1
	}
	var x, y [128]byte
	return cmp.Or(bytes.Compare(a.hashKey(x[:0]), b.hashKey(y[:0])), a.Plan.Addr.Compare(b.Plan.Addr))
}

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
