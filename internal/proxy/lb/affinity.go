package lb

import (
	"cmp"
	"hash/fnv"
	"net/netip"
)

// affinity has all calls of a client go to one endpoint, and to the next in the client's own order where it cannot be
// called.
type affinity int // how many candidates there are

func newAffinity(candidates []*Host) policy { return affinity(len(candidates)) }

func (n affinity) choose(_ *Info, try int) int { return min(try, int(n)-1) }

func (affinity) rest(*Info) int { return 0 }

// preferenceOf orders hosts by what a client prefers (rendezvous hashing, Thaler and Ravishankar 1998): every client has
// an order of its own, which does not depend on who else there is, nor on which proxy computes it. The one that the
// client has been using stays first as long as it is there: endpoints that come must not end sessions.
func preferenceOf(client netip.Addr, used netip.AddrPort) func(a, b *Host) int {
	return func(a, b *Host) int {
		if x, y := a.Plan.Addr == used, b.Plan.Addr == used; x != y {
			if x {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(score(client, b), score(client, a)), a.Plan.Addr.Compare(b.Plan.Addr))
	}
}

// score leaves the endpoint's port out: the ports of one Service lead a client to the same pod.
func score(client netip.Addr, h *Host) uint64 {
	sum := fnv.New64a()
	for _, a := range []netip.Addr{client, h.Plan.Addr.Addr()} {
		raw := a.As16()
		sum.Write(raw[:])
	}
	return mix(sum.Sum64())
}

// mix spreads what FNV leaves in the low bits over all of them (the finalizer of MurmurHash3). Addresses differ in their
// last bits only, and scores are compared by their highest.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
