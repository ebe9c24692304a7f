package netio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrLoop means that a connection was made straight to the proxy's own listener: relaying it to where it wanted to go
// would bring it back.
var ErrLoop = errors.New("the connection was made to the proxy's own port, not redirected to it")

// OriginalDst gives the address that the client dialled before the kernel redirected the connection here
// (SO_ORIGINAL_DST, answered by conntrack). IPv4 addresses come in their 4-byte form. A connection that was not
// redirected is ErrLoop.
func OriginalDst(c *net.TCPConn) (netip.AddrPort, error) {
	local := addrPort(c.LocalAddr())
	raw, err := c.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("original destination of %s: %w", c.RemoteAddr(), err)
	}
	var dst netip.AddrPort
	var sysErr error
	err = raw.Control(func(fd uintptr) {
		if local.Addr().Is4() {
			dst, sysErr = originalDst4(int(fd))
		} else {
			dst, sysErr = originalDst6(int(fd))
		}
	})
	switch err := errors.Join(err, sysErr); {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOPROTOOPT):
		// Conntrack does not know the connection, or is not even loaded: no rule redirected it.
		return netip.AddrPort{}, fmt.Errorf("%s to %s: %w", c.RemoteAddr(), local, ErrLoop)
	case err != nil:
		return netip.AddrPort{}, fmt.Errorf("original destination of %s: %w", c.RemoteAddr(), err)
	case dst == local:
		return netip.AddrPort{}, fmt.Errorf("%s to %s: %w", c.RemoteAddr(), local, ErrLoop)
	}
	return dst, nil
}

// originalDst4 reads a sockaddr_in (16 bytes: family, port, address) through the getter for ipv6_mreq, the type of
// package unix that is a plain array of at least that size.
func originalDst4(fd int) (netip.AddrPort, error) {
	m, err := unix.GetsockoptIPv6Mreq(fd, unix.SOL_IP, unix.SO_ORIGINAL_DST)
	if err != nil {
		return netip.AddrPort{}, err
	}
	b := m.Multiaddr
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:4])), nil
}

// originalDst6 reads a sockaddr_in6 through the getter for ip6_mtuinfo, which begins with one.
func originalDst6(fd int) (netip.AddrPort, error) {
	m, err := unix.GetsockoptIPv6MTUInfo(fd, unix.SOL_IPV6, unix.SO_ORIGINAL_DST)
	if err != nil {
		return netip.AddrPort{}, err
	}
	// sin6_port is in network order whatever the machine's is.
	port := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, m.Addr.Port))
	return netip.AddrPortFrom(netip.AddrFrom16(m.Addr.Addr), port), nil
}

// addrPort gives the address of a TCP or UDP socket without a 4-in-6 wrapping, and the zero value for others.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// control runs set on a socket that is being made.
func control(set func(fd int, network string) error) func(network, address string, c syscall.RawConn) error {
	return func(network, _ string, c syscall.RawConn) error {
		var setErr error
		err := c.Control(func(fd uintptr) { setErr = set(int(fd), network) })
		return errors.Join(err, setErr)
	}
}

// setMark marks every packet of the socket; the redirection rules exempt what carries the mark.
func setMark(fd int, mark uint32) error {
	if mark == 0 {
		return nil
	}
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark))
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("set SO_MARK %#x: %w (CAP_NET_ADMIN is needed in the pod's network namespace)", mark, err)
	}
	if err != nil {
		return fmt.Errorf("set SO_MARK %#x: %w", mark, err)
	}
	return nil
}
