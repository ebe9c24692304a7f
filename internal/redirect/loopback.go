package redirect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// PrepareLoopback brings the loopback interface up and adds ::6, from which the sidecar dials its app over IPv6
// (127.0.0.6 needs nothing: all of 127.0.0.0/8 is local). It may be repeated. Where IPv6 is switched off the address
// is left out.
func PrepareLoopback() error {
	lo, err := net.InterfaceByName(loopback)
	if err != nil {
		return fmt.Errorf("redirect: %w", err)
	}
	c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return fmt.Errorf("redirect: loopback: %w", err)
	}
	return errors.Join(prepare(c, lo.Index), c.Close())
}

func prepare(c *netlink.Conn, index int) error {
	if err := execute(c, unix.RTM_NEWLINK, 0, linkUp(index)); err != nil {
		return fmt.Errorf("redirect: loopback up: %w", err)
	}
	if !hasIPv6() {
		return nil
	}
	message, err := addressAdd(index)
	if err != nil {
		return fmt.Errorf("redirect: add ::6/128 to loopback: %w", err)
	}
	if err := execute(c, unix.RTM_NEWADDR, netlink.Create|netlink.Replace, message); err != nil {
		return fmt.Errorf("redirect: add ::6/128 to loopback: %w", err)
	}
	return nil
}

func execute(c *netlink.Conn, kind netlink.HeaderType, flags netlink.HeaderFlags, data []byte) error {
	_, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Request | netlink.Acknowledge | flags},
		Data:   data,
	})
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (CAP_NET_ADMIN is needed in the pod's network namespace)", err)
	}
	return err
}

// linkUp is struct ifinfomsg (rtnetlink(7)): family, padding, type, index, flags, mask of flags to change.
func linkUp(index int) []byte {
	b := make([]byte, 4, unix.SizeofIfInfomsg)
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	b = binary.NativeEndian.AppendUint32(b, unix.IFF_UP)
	return binary.NativeEndian.AppendUint32(b, unix.IFF_UP)
}

// addressAdd is struct ifaddrmsg (rtnetlink(7)) with the address as its attributes.
func addressAdd(index int) ([]byte, error) {
	b := []byte{unix.AF_INET6, 128, 0, unix.RT_SCOPE_HOST}
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	addr := make([]byte, 16)
	addr[15] = 6
	e := netlink.NewAttributeEncoder()
	e.Bytes(unix.IFA_LOCAL, addr)
	e.Bytes(unix.IFA_ADDRESS, addr)
	attributes, err := e.Encode()
	return append(b, attributes...), err
}

// hasIPv6 reports whether addresses can be added: neither compiled out nor switched off by sysctl.
func hasIPv6() bool {
	b, err := os.ReadFile("/proc/sys/net/ipv6/conf/lo/disable_ipv6")
	return err == nil && strings.TrimSpace(string(b)) == "0"
}
