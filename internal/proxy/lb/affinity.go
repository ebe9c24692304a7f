package lb

import (
	"cmp"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
)

// Stay is where the calls of a client go, and when the last one came. The zero value is nowhere.
type Stay struct {
	At     netip.AddrPort
	called int64 // in ms
}

// affinity has all calls of a client go to one endpoint, and to the next in the client's own order where it cannot be
// called. A client that has not called for longer than the timeout goes to any, as with kube-proxy, whose list of clients
// forgets it.
type affinity struct {
	candidates int
	timeout    int64 // in ms; 0 = none
	// state is when the last call came, in ms, and below it the index of the candidate that the client goes to: one word, so
	// that calls that come together agree.
	state atomic.Int64
}

// stayBits is what of affinity.state is the index; 2^43 ms are left, which is 278 years.
const (
	stayBits = 20
	stayMask = 1<<stayBits - 1
)

func affinityOf(o *Options) func([]*Host) policy {
	return func(candidates []*Host) policy {
		a := &affinity{candidates: len(candidates), timeout: o.Timeout.Milliseconds()}
		a.state.Store(o.Stay.called << stayBits)
		return a
	}
}

func (a *affinity) choose(info *Info, try int) int {
	return (a.call(info.time().UnixMilli()) + min(try, a.candidates-1)) % a.candidates
}

func (a *affinity) rest(*Info) int {
	first, _ := a.now()
	return first
}

// now gives the index of the client's candidate, and when it has called.
func (a *affinity) now() (first int, called int64) {
	s := a.state.Load()
	return int(s & stayMask), s >> stayBits
}

// call notes a call and gives the index of its candidate.
func (a *affinity) call(now int64) int {
	for {
		first, called := a.now()
		next := first
		switch {
		case a.timeout == 0 || now <= called: // in the same millisecond, or the clock was put back
			return first
		case called > 0 && now-called > a.timeout:
			next = rand.IntN(min(a.candidates, stayMask)) //nolint:gosec // spreading load needs no secrecy
		}
		if a.state.CompareAndSwap(called<<stayBits|int64(first), now<<stayBits|int64(next)) {
			return next
		}
	}
}

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
