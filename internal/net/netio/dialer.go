package netio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// inboundSource4 and inboundSource6 give the addresses from which a sidecar dials its own app: the redirection rules
// let them pass, which is what keeps the inbound leg from being captured as outbound.
func inboundSource4() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 6}) }
func inboundSource6() netip.Addr { return netip.AddrFrom16([16]byte{15: 6}) }

// Dialer opens connections that the redirection rules let pass. The zero value dials plainly. It is immutable once
// used and safe for concurrent use.
type Dialer struct {
	// Mark is set on every packet (SO_MARK). 0 sets none.
	Mark uint32
	// Source4 and Source6 are local addresses by family; zero leaves the choice to the kernel.
	Source4, Source6 netip.Addr
	// Timeout bounds the connect, beside the context. 0 means no bound of its own.
	Timeout time.Duration
	// UserTimeout is how long sent data may stay unacknowledged before the connection is given up (TCP_USER_TIMEOUT,
	// RFC 5482). 0 leaves the kernel's, about 15 minutes.
	UserTimeout time.Duration

	local bool // the other end is in this network namespace: its kernel is ours, and no keep-alive is needed
}

// ToApp gives d with the source addresses of the leg from the sidecar to its own app, which is not probed.
func (d Dialer) ToApp() Dialer {
	d.local = true
	d.Source4, d.Source6 = inboundSource4(), inboundSource6()
	return d
}

// DialTCP connects to addr. TCP_NODELAY is set, and keep-alive but to the own app.
func (d Dialer) DialTCP(ctx context.Context, addr netip.AddrPort) (*net.TCPConn, error) {
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	c, err := d.dialer().DialTCP(ctx, family("tcp", addr.Addr()), netip.AddrPortFrom(d.source(addr.Addr()), 0), addr)
	if err != nil {
		return nil, d.explain(err, addr)
	}
	return c, nil
}

// Dial connects to addr over "tcp" or "udp".
func (d Dialer) Dial(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	switch network {
	case "tcp":
		c, err := d.DialTCP(ctx, addr)
		if err != nil {
			return nil, err // a nil *net.TCPConn must not become a non-nil net.Conn
		}
		return c, nil
	case "udp":
		c, err := d.dialer().DialUDP(ctx, family("udp", addr.Addr()), netip.AddrPortFrom(d.source(addr.Addr()), 0), addr)
		if err != nil {
			return nil, d.explain(err, addr)
		}
		return c, nil
	}
	return nil, fmt.Errorf("dial %s: network %q is neither tcp nor udp", addr, network)
}

func (d Dialer) source(dst netip.Addr) netip.Addr {
	if dst.Is4() {
		return d.Source4
	}
	return d.Source6
}

func (d Dialer) dialer() *net.Dialer {
	dialer := &net.Dialer{Timeout: d.Timeout, Control: control(d.prepare)}
	if d.local {
		dialer.KeepAlive = -1
	} else {
		dialer.KeepAliveConfig = keepAlive()
	}
	return dialer
}

func (d Dialer) prepare(fd int, network string) error {
	if err := setMark(fd, d.Mark); err != nil {
		return err
	}
	if network != "tcp4" && network != "tcp6" {
		return nil
	}
	if d.UserTimeout > 0 {
		ms := int(min(d.UserTimeout.Milliseconds(), 1<<31-1))
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, ms); err != nil {
			return fmt.Errorf("set TCP_USER_TIMEOUT %d ms: %w", ms, err)
		}
	}
	// With a source address the kernel would pick the port at bind, before it knows the destination, and run out after
	// 28,000 connections in all instead of per destination.
	if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return fmt.Errorf("set IP_BIND_ADDRESS_NO_PORT: %w", err)
	}
	return nil
}

func (d Dialer) explain(err error, addr netip.AddrPort) error {
	if errors.Is(err, unix.EADDRNOTAVAIL) && d.source(addr.Addr()) == inboundSource6() {
		return fmt.Errorf("%w (is ::6/128 on the loopback interface? fairlead-proxy init puts it there)", err)
	}
	return err
}
