package netio

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"fairlead.dev/fairlead/internal/leaktest"
	"fairlead.dev/fairlead/internal/netnstest"
)

// TestMain runs the tests in a network namespace of their own, so that they can redirect connections. Root makes just
// that; anybody else makes a user namespace around it, in which one is root.
func TestMain(m *testing.M) {
	os.Exit(netnstest.Run(func() int {
		if err := loopbackUp(); err != nil {
			fmt.Fprintln(os.Stderr, "loopback:", err)
			return 1
		}
		return leaktest.Run(m.Run)
	}))
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	addr, err := netlink.ParseAddr("::6/128")
	if err != nil {
		return err
	}
	return netlink.AddrReplace(lo, addr) // the workers of a fuzz run share the namespace
}

// tcpPair gives both ends of a connection over loopback.
func tcpPair(tb testing.TB) (near, far *net.TCPConn) {
	tb.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: []byte{127, 0, 0, 1}})
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	near, err = net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		tb.Fatal(err)
	}
	far, err = l.AcceptTCP()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

func wantError(tb testing.TB, err error, part string) {
	tb.Helper()
	switch {
	case part == "" && err != nil:
		tb.Errorf("error %v, want none", err)
	case part != "" && err == nil:
		tb.Errorf("no error, want one that mentions %q", part)
	case part != "" && !strings.Contains(err.Error(), part):
		tb.Errorf("error %v, want one that mentions %q", err, part)
	}
}
