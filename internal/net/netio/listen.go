package netio

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// keepAlive finds peers that vanished without a word: first probe after about 60 s of silence, given up after five, about
// 50 s later. Every connection has times of its own: thousands that fell silent together, as after a load test or a
// deployment, would else send each of their probes in the same instant, more than the receiver's backlog holds, and be
// given up together with their peer alive.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: seconds(45, 75), Interval: seconds(7, 13), Count: 5}
}

// seconds is a random time of whole seconds, all that the kernel takes.
func seconds(from, to int) time.Duration {
	return time.Duration(from+rand.IntN(to-from+1)) * time.Second //nolint:gosec // spreading load needs no secrecy
}

// Clients says where the clients of a listener are.
type Clients uint8

// The zero value is invalid.
const (
	// Remote clients may vanish without a word: their connections have keep-alive.
	Remote Clients = iota + 1
	// Local clients are processes of this network namespace, or were redirected in it: their kernel is this one, which
	// ends their connections with them. Nothing is probed, which is four system calls less for a connection.
	Local
)

// Accepting says what a listener takes.
type Accepting struct {
	// Mark, where not 0, is inherited by accepted connections (SO_MARK).
	Mark    uint32
	Clients Clients
}

// prepare sets what accepted connections inherit.
func (a Accepting) prepare(fd int, _ string) error {
	if err := setMark(fd, a.Mark); err != nil || a.Clients != Remote {
		return err
	}
	probes := keepAlive()
	for option, value := range map[int]int{unix.TCP_KEEPINTVL: int(probes.Interval / time.Second), unix.TCP_KEEPCNT: probes.Count} {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, option, value); err != nil {
			return fmt.Errorf("set keep-alive of a listener: %w", err)
		}
	}
	return nil
}

// Listener accepts TCP connections that have TCP_NODELAY set, and keep-alive where their clients are Remote.
type Listener struct {
	*net.TCPListener

	clients Clients
}

// Accept implements net.Listener. What every connection has alike it has from the listener.
func (l *Listener) Accept() (net.Conn, error) {
	conn, err := l.AcceptTCP()
	if err != nil {
		return nil, err // a nil *net.TCPConn must not become a non-nil net.Conn
	}
	if l.clients == Remote {
		own := net.KeepAliveConfig{Enable: true, Idle: keepAlive().Idle, Interval: -1, Count: -1}
		conn.SetKeepAliveConfig(own) //nolint:errcheck // a connection that is broken already says so when it is read
	}
	return conn, nil
}

// Listen opens a TCP listener. A wildcard address takes its own family only, so that "0.0.0.0" and "::" can be opened
// side by side and every accepted connection has one family for certain.
func Listen(ctx context.Context, addr netip.AddrPort, a Accepting) (*Listener, error) {
	lc := net.ListenConfig{
		KeepAlive: -1, // Accept sets what differs
		Control:   control(a.prepare),
	}
	l, err := lc.Listen(ctx, family("tcp", addr.Addr()), addr.String())
	if err != nil {
		return nil, explainBind(err)
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("listen %s: got a %T", addr, l), l.Close())
	}
	return &Listener{tcp, a.Clients}, nil
}

// ListenAll opens port on every IPv4 and every IPv6 address. On a machine without IPv6 it gives the IPv4 listener
// alone.
func ListenAll(ctx context.Context, port uint16, a Accepting) ([]*Listener, error) {
	l4, err := Listen(ctx, netip.AddrPortFrom(netip.IPv4Unspecified(), port), a)
	if err != nil {
		return nil, err
	}
	if port == 0 {
		port = addrPort(l4.Addr()).Port()
	}
	l6, err := Listen(ctx, netip.AddrPortFrom(netip.IPv6Unspecified(), port), a)
	if noIPv6(err) {
		return []*Listener{l4}, nil
	}
	if err != nil {
		return nil, errors.Join(err, l4.Close())
	}
	return []*Listener{l4, l6}, nil
}

// ListenPacket opens a UDP socket. The DNS server must be given loopback addresses, not a wildcard: the answer has to
// leave from the address that the kernel redirected the question to, or conntrack does not recognise it.
func ListenPacket(ctx context.Context, addr netip.AddrPort, mark uint32) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: control(func(fd int, _ string) error { return setMark(fd, mark) })}
	p, err := lc.ListenPacket(ctx, family("udp", addr.Addr()), addr.String())
	if err != nil {
		return nil, explainBind(err)
	}
	udp, ok := p.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("listen %s: got a %T", addr, p), p.Close())
	}
	return udp, nil
}

func family(network string, a netip.Addr) string {
	if a.Unmap().Is4() {
		return network + "4"
	}
	return network + "6"
}

func explainBind(err error) error {
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("%w (another process has the port: is a sidecar running here already?)", err)
	}
	return err
}

// noIPv6 tells a machine without IPv6 from a port that cannot be opened.
func noIPv6(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)
}
