package lb

// Sizes of tables are prime numbers, so that a permutation has every place; default and bound are Envoy's.
const (
	defaultMaglev = 65537
	maxMaglev     = 5000011
)

// maglev is the table of Eisenbud et al. (NSDI 2016, §3.4): the candidates take turns in claiming the next free place of
// their own permutation, as many turns as they weigh, so that shares are even and a change moves few places.
type maglev struct{ table []uint32 }

func maglevOf(o *Options) func([]*Host) policy {
	return func(candidates []*Host) policy {
		size := o.TableSize
		if size > maxMaglev || !isPrime(size) {
			size = defaultMaglev
		}
		build := func() func(uint64) int { return newMaglev(candidates, uint64(size)).find }
		return &hashed{n: len(candidates), bound: boundOf(o, candidates), build: build}
	}
}

func newMaglev(candidates []*Host, size uint64) *maglev {
	const free = ^uint32(0)
	table := make([]uint32, size)
	for i := range table {
		table[i] = free
	}
	type claimant struct{ next, skip uint64 }
	claims := make([]claimant, len(candidates))
	for i, h := range candidates {
		claims[i] = claimant{next: hostHash(h, 0) % size, skip: hostHash(h, 1)%(size-1) + 1}
	}
	each, largest := weights(candidates)
	turns := make([]float64, len(candidates)) // how much of a turn each has saved up
	for taken := uint64(0); taken < size; {
		for i := range claims {
			turns[i] += each[i] / largest
			if turns[i] < 1 || taken == size {
				continue
			}
			turns[i]--
			c := &claims[i]
			for table[c.next] != free {
				c.next = (c.next + c.skip) % size
			}
			table[c.next] = uint32(i)
			taken++
		}
	}
	return &maglev{table}
}

func (m *maglev) find(hash uint64) int { return int(m.table[hash%uint64(len(m.table))]) }

func isPrime(n uint32) bool {
	for d := uint32(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return n > 1
}
