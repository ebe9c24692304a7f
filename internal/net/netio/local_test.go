package netio

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vishvananda/netlink"
)

func TestLocalAddrs(t *testing.T) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	change := func(do func(netlink.Link, *netlink.Addr) error, address string) {
		t.Helper()
		a, err := netlink.ParseAddr(address)
		if err == nil {
			err = do(lo, a)
		}
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"192.168.99.1/32", "fd99::1/128"} {
		change(netlink.AddrAdd, address)
		t.Cleanup(func() { change(netlink.AddrDel, address) })
	}
	tests := []struct {
		name, addr string
		want       bool
	}{
		{"IPv4 of an interface", "192.168.99.1", true},
		{"the same in IPv6", "::ffff:192.168.99.1", true},
		{"IPv6 of an interface", "fd99::1", true},
		{"nobody's", "192.168.99.2", false},
		{"nobody's in IPv6", "fd99::2", false},
		{"loopback", "127.0.0.1", false},
		{"another loopback address", "127.0.0.6", false},
		{"loopback in IPv6", "::1", false},
		{"where the leg to the app comes from", "::6", false},
		{"every address", "0.0.0.0", false},
	}
	var l LocalAddrs
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := l.Contains(netip.MustParseAddr(tt.addr)); got != tt.want {
				t.Errorf("Contains(%s) = %t, want %t", tt.addr, got, tt.want)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		var l LocalAddrs
		late := netip.MustParseAddr("192.168.99.3")
		if l.Contains(late) {
			t.Fatalf("%s is there before it was added", late)
		}
		change(netlink.AddrAdd, "192.168.99.3/32")
		time.Sleep(localAge)
		if !l.Contains(late) {
			t.Errorf("%s is not known although it was added %s ago", late, localAge)
		}
		change(netlink.AddrDel, "192.168.99.3/32")
		time.Sleep(localAge)
		if l.Contains(late) {
			t.Errorf("%s is still known although it went %s ago", late, localAge)
		}
	})
}
