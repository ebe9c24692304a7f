package redirect

import (
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"fairlead.dev/fairlead/internal/leaktest"
	"fairlead.dev/fairlead/internal/netnstest"
)

// TestMain runs the tests in a network namespace of their own. Root makes just that; another user makes a user
// namespace around it, in which the tests are root but only one user ID exists.
func TestMain(m *testing.M) {
	os.Exit(netnstest.Run(func() int { return leaktest.Run(m.Run) }))
}

// The network of the tests: a pod and a peer, joined by a pair of virtual Ethernet devices. The peer is also the
// pod's router, so addresses that no interface has, such as a Service's, are routed to it.
const (
	podIP4, peerIP4 = "10.7.0.2", "10.7.0.3"
	podIP6, peerIP6 = "fd07::2", "fd07::3"
)

// network makes the pod's and the peer's namespaces and gives a way to run code in each: sockets made there stay
// there.
type network struct{ pod, peer netns.NsHandle }

func newNetwork(tb testing.TB) *network {
	tb.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := netns.Get()
	must(tb, err)
	defer own.Close()
	n := &network{}
	n.peer, err = netns.New()
	must(tb, err)
	n.pod, err = netns.New()
	must(tb, err)
	tb.Cleanup(func() { n.pod.Close(); n.peer.Close() })

	must(tb, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(n.peer),
	}))
	must(tb, PrepareLoopback())
	setUp(tb, podIP4+"/24", podIP6+"/64")
	eth0, err := netlink.LinkByName("eth0")
	must(tb, err)
	for _, gateway := range []string{peerIP4, peerIP6} {
		gw, err := netlink.ParseIPNet(gateway + "/32")
		must(tb, err)
		must(tb, netlink.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: gw.IP}))
	}
	must(tb, netns.Set(n.peer))
	must(tb, PrepareLoopback())
	setUp(tb, peerIP4+"/24", peerIP6+"/64")
	must(tb, netns.Set(own))
	return n
}

func setUp(tb testing.TB, addresses ...string) {
	tb.Helper()
	eth0, err := netlink.LinkByName("eth0")
	must(tb, err)
	for _, a := range addresses {
		addr, err := netlink.ParseAddr(a)
		must(tb, err)
		addr.Flags = syscall.IFA_F_NODAD // an address is usable at once, not after a second of detection
		must(tb, netlink.AddrAdd(eth0, addr))
	}
	must(tb, netlink.LinkSetUp(eth0))
}

// in runs do in a namespace, on a thread of its own that ends with it.
func (n *network) in(tb testing.TB, ns netns.NsHandle, do func()) {
	tb.Helper()
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread has changed and must not be used again.
		runtime.LockOSThread()
		err := netns.Set(ns)
		if err == nil {
			do()
		}
		done <- err
	}()
	must(tb, <-done)
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
