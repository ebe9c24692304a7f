package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A wire joins the networks of two labs. Each has a pair of interfaces, one end on its node and the other in a network namespace
// that has nothing else, and a packet socket at that end; one of the two supervisors copies frames between the two sockets. So
// neither needs a right in the other's namespaces, which an ordinary user could not have in two at once, and everything is gone
// when the sockets are closed, however that comes about.

const (
	// wireMAC is that of the end on the node, in both labs: what one sends to its gateway is for the other.
	wireMAC   = "\x0a\x58\xff\xff\xff\x01"
	wireEnd   = "wire"
	gatewayW4 = "169.254.1.2"
	gatewayW6 = "fe80::2"
	// maxFrame is more than a frame of an interface of 1,500 bytes has, which is what the ends have: the kernel makes segments of
	// what is longer before it comes to them.
	maxFrame = 4096
)

// wireName is the interface on the node that leads to another lab.
func wireName(to podNetwork) string { return fmt.Sprintf("lab%d", to) }

// newWire makes the interfaces and the routes to a lab's pods, and gives the packet socket at the far end.
func newWire(to podNetwork, prefixes []netip.Prefix) (*os.File, error) {
	far, err := newFarEnd()
	if err != nil {
		return nil, err
	}
	defer far.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = wireName(to), []byte(wireMAC)
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: wireEnd, PeerNamespace: netlink.NsFd(far.Fd())}); err != nil {
		return nil, fmt.Errorf("interface %s: %w", attrs.Name, err)
	}
	socket, err := openFarEnd(far)
	if err != nil {
		return nil, errors.Join(err, removeWire(to))
	}
	if err := setupNearEnd(attrs.Name, prefixes); err != nil {
		return nil, errors.Join(err, socket.Close(), removeWire(to))
	}
	return socket, nil
}

// removeWire removes the interfaces at once; closing the socket does so too, but later.
func removeWire(to podNetwork) error { return detach(wireName(to)) }

// newFarEnd makes a network namespace.
func newFarEnd() (far *os.File, err error) {
	err = onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network for a link: %w", err)
		}
		far, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return far, err
}

// openFarEnd gives a packet socket that sees what is sent to the far end, and sends from there.
func openFarEnd(far *os.File) (socket *os.File, err error) {
	err = onOwnThread(func() error {
		if err := unix.Setns(int(far.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network of a link: %w", err)
		}
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		link, err := h.LinkByName(wireEnd)
		if err != nil {
			return err
		}
		if err := h.LinkSetUp(link); err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
		socket = os.NewFile(uintptr(fd), wireEnd)
		all := uint16(unix.ETH_P_ALL)
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return errors.Join(fmt.Errorf("packet socket: %w", err), socket.Close())
		}
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) // more room for bursts, where that is allowed
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: link.Attrs().Index}); err != nil {
			return errors.Join(fmt.Errorf("packet socket: %w", err), socket.Close())
		}
		return nil
	})
	return socket, err
}

// setupNearEnd routes the prefixes through the end on the node. Checksums and segments are made there: nobody makes them later.
func setupNearEnd(name string, prefixes []netip.Prefix) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := withoutOffloads(name); err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	index := link.Attrs().Index
	for _, p := range prefixes {
		gw := netip.MustParseAddr(gatewayW4)
		if p.Addr().Is6() {
			gw = netip.MustParseAddr(gatewayW6)
		}
		if err := netlink.NeighSet(&netlink.Neigh{LinkIndex: index, IP: gw.AsSlice(), HardwareAddr: []byte(wireMAC), State: netlink.NUD_PERMANENT}); err != nil {
			return fmt.Errorf("neighbour %s on %s: %w", gw, name, err)
		}
		dst, err := netlink.ParseIPNet(p.String())
		if err != nil {
			return err
		}
		if err := netlink.RouteReplace(&netlink.Route{LinkIndex: index, Dst: dst, Gw: gw.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}); err != nil {
			return fmt.Errorf("route to %s: %w", p, err)
		}
	}
	return nil
}

// ethtoolSetTxChecksum is ETHTOOL_STXCSUM of linux/ethtool.h: without it the kernel neither leaves checksums to an interface nor
// gives it more than one segment.
const ethtoolSetTxChecksum = 0x17

func withoutOffloads(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	return ethtool(fd, name, ethtoolSetTxChecksum, 0)
}

// carry copies frames between two packet sockets until ctx ends or one of them is of no use any more, and closes both.
func carry(ctx context.Context, a, b *os.File) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, way := range [][2]*os.File{{a, b}, {b, a}} {
		wg.Go(func() { cancel(copyFrames(way[1], way[0])) })
	}
	<-ctx.Done()
	err := errors.Join(a.Close(), b.Close())
	wg.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// copyFrames copies until one of the two sockets is closed or its interface gone. A frame that finds no room is lost, as on any
// wire.
func copyFrames(to, from *os.File) error {
	frame := make([]byte, maxFrame)
	for {
		n, err := from.Read(frame)
		if err != nil {
			return err
		}
		if _, err := to.Write(frame[:n]); err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EMSGSIZE) {
			return err
		}
	}
}
