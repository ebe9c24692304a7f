package proxy

import (
	"math"
	"net/netip"
	"runtime/debug"
	"testing"

	"fairlead.dev/fairlead/internal/plan"
)

func TestQuotasAreSharedByPeer(t *testing.T) {
	var q quotas
	a := peerKey{netip.MustParseAddr("10.0.0.1"), "spiffe://cluster.local/ns/shop/sa/web"}
	other := peerKey{netip.MustParseAddr("10.0.0.2"), a.identity}
	first, leaveFirst := q.enter(a, 1000)
	second, leaveSecond := q.enter(a, 1000)
	third, leaveThird := q.enter(other, 1000)
	if first != second {
		t.Error("two connections of one peer have quotas of their own")
	}
	if first == third {
		t.Error("another pod of the same identity shares the quota")
	}
	leaveFirst()
	if again, leave := q.enter(a, 1000); again != second {
		t.Error("the quota was forgotten while a connection was open")
	} else {
		leave()
	}
	leaveSecond()
	leaveThird()
	if n := len(q.peers); n != 0 {
		t.Errorf("%d peers are kept without a connection", n)
	}
}

// TestPeerRequestsFollowTheMemoryLimit: what the mesh says counts, else what the limit has room for.
func TestPeerRequestsFollowTheMemoryLimit(t *testing.T) {
	old := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(old)
	for _, tc := range []struct {
		name        string
		limit       int64 // of memory
		set         uint32
		want, alone int // the bound, and what the shares give one peer alone
	}{
		{name: "no_limit", limit: math.MaxInt64, want: 1000, alone: 10922},
		{name: "a_small_one", limit: 64 << 20 / 10 * 9, want: 921, alone: 614},
		{name: "a_large_one", limit: 1 << 30, want: 16383, alone: 10922},
		{name: "said", limit: 1 << 30, set: 50, want: 50, alone: 10922},
	} {
		t.Run(tc.name, func(t *testing.T) {
			debug.SetMemoryLimit(tc.limit)
			var l meshLimits
			o := newOverload(&l)
			l.put(plan.Limits{PeerRequests: tc.set})
			if got := l.peerRequests(); got != tc.want {
				t.Errorf("peerRequests() = %d, want %d", got, tc.want)
			}
			one, n := share{of: &o.shares}, 0
			for one.Enter() == nil {
				n++
			}
			if n != tc.alone {
				t.Errorf("one peer alone has %d, want %d", n, tc.alone)
			}
		})
	}
}
