package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// The lab's addresses are those of a usual cluster.
const (
	nodeIP4     = "10.244.0.1"
	nodeIP6     = "fd00:10:244::1"
	dnsIP       = "10.96.0.10"
	dnsIP6      = "fd00:10:96::a"
	gateway4    = "169.254.1.1"
	gateway6    = "fe80::1"
	nodeSideMAC = "\xee\xee\xee\xee\xee\xee"
)

// podAddrs are the addresses of one pod; that of a family which the lab has not is invalid.
type podAddrs struct{ v4, v6 netip.Addr }

// first is the address by which a pod is known: status.podIP, where its probes go.
func (a podAddrs) first() netip.Addr {
	if a.v4.IsValid() {
		return a.v4
	}
	return a.v6
}

// of gives the address of one family.
func (a podAddrs) of(family corev1.IPFamily) netip.Addr {
	if family == corev1.IPv6Protocol {
		return a.v6
	}
	return a.v4
}

// list gives the addresses in the order status.podIPs has them.
func (a podAddrs) list() []netip.Addr {
	return slices.DeleteFunc([]netip.Addr{a.v4, a.v6}, func(a netip.Addr) bool { return !a.IsValid() })
}

// setupNode prepares the lab's own network namespace: loopback, the node's and the DNS server's addresses, forwarding
// between pods, and no way out.
func setupNode(family IPFamily) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("node network: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("node network: loopback: %w", err)
	}
	var addrs, defaults, sysctls []string
	if family.has(corev1.IPv4Protocol) {
		addrs, defaults = append(addrs, nodeIP4), append(defaults, "0.0.0.0/0")
		sysctls = append(sysctls, "net/ipv4/ip_forward=1", "net/ipv4/conf/all/rp_filter=0", "net/ipv4/conf/default/rp_filter=0")
	}
	if family.has(corev1.IPv6Protocol) {
		addrs, defaults = append(addrs, nodeIP6), append(defaults, "::/0")
		sysctls = append(sysctls, "net/ipv6/conf/all/forwarding=1", "net/ipv6/conf/default/accept_dad=0")
	}
	for _, a := range append(addrs, family.dnsServers()...) {
		if err := addAddr(nil, lo, netip.MustParseAddr(a)); err != nil {
			return err
		}
	}
	for _, d := range defaults {
		dst, err := netlink.ParseIPNet(d)
		if err != nil {
			return err
		}
		if err := netlink.RouteAdd(&netlink.Route{Dst: dst, Type: unix.RTN_UNREACHABLE, Priority: 4096}); err != nil {
			return fmt.Errorf("node network: unreachable default: %w", err)
		}
	}
	return writeSysctls(sysctls)
}

// writeSysctls sets "path=value" below /proc/sys in the calling thread's network namespace.
func writeSysctls(settings []string) error {
	for _, s := range settings {
		for i := range s {
			if s[i] != '=' {
				continue
			}
			if err := os.WriteFile("/proc/sys/"+s[:i], []byte(s[i+1:]), 0o600); err != nil {
				return fmt.Errorf("sysctl %s: %w", s, err)
			}
		}
	}
	return nil
}

// addAddr gives link an address of its own (/32 or /128) without duplicate detection, which would delay its use.
// A nil handle means the current namespace.
func addAddr(h *netlink.Handle, link netlink.Link, a netip.Addr) error {
	addr := &netlink.Addr{IPNet: netlink.NewIPNet(a.AsSlice())}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	add := netlink.AddrAdd
	if h != nil {
		add = h.AddrAdd
	}
	if err := add(link, addr); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("address %s on %s: %w", a, link.Attrs().Name, err)
	}
	return nil
}

// podMAC derives the pod's hardware address from its first address, so that both sides know it without asking.
func podMAC(addrs podAddrs) []byte {
	ip := addrs.first().AsSlice()
	return append([]byte{0x0a, 0x58}, ip[len(ip)-4:]...)
}

// attach gives the pod its interface: one routed veth pair, no bridge. Neighbour entries on both sides are static, so
// the first packet never waits for ARP or ND.
func (s *sandbox) attach(vethName string, addrs podAddrs) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = vethName, []byte(nodeSideMAC)
	err := netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: "eth0", PeerHardwareAddr: podMAC(addrs), PeerNamespace: netlink.NsFd(s.net.Fd()),
	})
	if err != nil {
		return fmt.Errorf("veth pair %s: %w", vethName, err)
	}
	if err := s.inNetwork(func() error { return setupPodSide(addrs) }); err != nil {
		return err
	}
	return setupNodeSide(vethName, addrs)
}

// setupPodSide runs inside the pod's network namespace.
func setupPodSide(addrs podAddrs) error {
	sysctls := []string{"net/ipv4/ip_unprivileged_port_start=0", "net/ipv4/conf/all/rp_filter=0", "net/ipv4/conf/eth0/rp_filter=0"}
	if addrs.v6.IsValid() {
		sysctls = append(sysctls, "net/ipv6/conf/eth0/accept_dad=0", "net/ipv6/conf/eth0/accept_ra=0", "net/ipv6/conf/lo/disable_ipv6=0")
	}
	if err := writeSysctls(sysctls); err != nil {
		return err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("pod network: %w", err)
	}
	defer h.Close()
	for _, name := range []string{"lo", "eth0"} {
		link, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("pod network: %s: %w", name, err)
		}
		if err := h.LinkSetUp(link); err != nil {
			return fmt.Errorf("pod network: %s up: %w", name, err)
		}
		if name != "eth0" {
			continue
		}
		for _, a := range addrs.list() {
			if err := addAddr(h, link, a); err != nil {
				return err
			}
			if err := defaultRoute(h, link, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// defaultRoute sends everything of a's family to the node through a gateway address that exists nowhere.
func defaultRoute(h *netlink.Handle, link netlink.Link, a netip.Addr) error {
	gw, dst := netip.MustParseAddr(gateway4), "0.0.0.0/0"
	if a.Is6() {
		gw, dst = netip.MustParseAddr(gateway6), "::/0"
	}
	index := link.Attrs().Index
	err := h.NeighSet(&netlink.Neigh{LinkIndex: index, IP: gw.AsSlice(), HardwareAddr: []byte(nodeSideMAC), State: netlink.NUD_PERMANENT})
	if err != nil {
		return fmt.Errorf("pod network: neighbour %s: %w", gw, err)
	}
	all, err := netlink.ParseIPNet(dst)
	if err != nil {
		return err
	}
	route := &netlink.Route{LinkIndex: index, Dst: all, Gw: gw.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}
	if err := h.RouteAdd(route); err != nil {
		return fmt.Errorf("pod network: default route via %s: %w", gw, err)
	}
	return nil
}

// setupNodeSide routes the pod's addresses to its veth.
func setupNodeSide(vethName string, addrs podAddrs) error {
	link, err := netlink.LinkByName(vethName)
	if err != nil {
		return fmt.Errorf("veth %s: %w", vethName, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("veth %s up: %w", vethName, err)
	}
	index := link.Attrs().Index
	for _, a := range addrs.list() {
		err := netlink.NeighSet(&netlink.Neigh{LinkIndex: index, IP: a.AsSlice(), HardwareAddr: podMAC(addrs), State: netlink.NUD_PERMANENT})
		if err != nil {
			return fmt.Errorf("neighbour %s on %s: %w", a, vethName, err)
		}
		route := &netlink.Route{LinkIndex: index, Dst: netlink.NewIPNet(a.AsSlice()), Scope: netlink.SCOPE_LINK, Src: nodeAddr(a).AsSlice()}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("route to %s: %w", a, err)
		}
	}
	return nil
}

// detach removes the pod's interface at once; closing the namespace would do so too, but later.
func detach(vethName string) error {
	link, err := netlink.LinkByName(vethName)
	if err != nil {
		if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone {
			return nil
		}
		return fmt.Errorf("veth %s: %w", vethName, err)
	}
	if err := netlink.LinkDel(link); err != nil {
		return fmt.Errorf("remove veth %s: %w", vethName, err)
	}
	return nil
}
