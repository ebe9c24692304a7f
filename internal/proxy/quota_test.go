package proxy

import (
	"net/netip"
	"testing"
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
