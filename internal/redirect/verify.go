package redirect

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// verifyTimeout bounds Verify. A connection that is redirected never leaves the machine and is made at once.
const verifyTimeout = 4 * time.Second

// arrivalTimeout is how long a connection that was made may take to be seen at the other end, on the same machine. One
// that another listener than ours accepted is never seen.
const arrivalTimeout = time.Second

// ErrNotRedirected says that a connection that should have come to the sidecar went elsewhere.
var ErrNotRedirected = errors.New("traffic of this pod is not redirected to the sidecar")

// Verify tries, without any privilege, whether the rules that o means are in force in the network namespace of the
// caller: it opens the sidecar's outbound port, connects to an address that no machine has, and sees whether the
// connection comes back. The sidecar must not be running, nor may the caller run as its user or group, whose
// connections are not redirected. The error is ErrNotRedirected where there are no rules, and another one where it
// cannot be told. Options that capture nothing are always in force.
func Verify(ctx context.Context, o Options) error {
	if uid, gid := uint32(unix.Geteuid()), uint32(unix.Getegid()); o.Mark == 0 && (uid == o.ProxyUID || gid == o.ProxyGID) {
		return fmt.Errorf("redirect: verify: this process runs as user %d, group %d, and the sidecar's connections (user %d, group %d) "+
			"are never redirected; run it as another user and group", uid, gid, o.ProxyUID, o.ProxyGID)
	}
	targets := o.targets()
	if len(targets) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	var unreachable []error
	for _, target := range targets {
		if err := route(ctx, target); err != nil {
			unreachable = append(unreachable, err)
			continue
		}
		return verifyOne(ctx, target, cmp.Or(o.OutboundPort, DefaultOutboundPort))
	}
	return fmt.Errorf("redirect: verify: the pod has no route to try: %w", errors.Join(unreachable...))
}

// route checks that packets to target would leave the pod: without a route no rule sees them. To connect a datagram
// socket sends nothing. The error of a stream's connect tells less, since a router's answer gives the same one.
func route(ctx context.Context, target netip.AddrPort) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "udp", target.String())
	if err != nil {
		return err
	}
	return c.Close()
}

// verifyOne connects to target and waits for the connection at the sidecar's port, on the loopback address that the
// kernel redirects connections of its own to.
func verifyOne(ctx context.Context, target netip.AddrPort, port uint16) error {
	host := "127.0.0.1"
	if target.Addr().Is6() {
		host = "::1"
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", netip.AddrPortFrom(netip.MustParseAddr(host), port).String())
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("redirect: verify: %w: is the sidecar running already? Verify before it starts", err)
	}
	if err != nil {
		return fmt.Errorf("redirect: verify: %w", err)
	}
	arrived := make(chan string, 1)
	go func() { arrived <- receive(l) }()
	word := rand.Text()
	err = send(ctx, target, word)
	if err != nil {
		l.Close() // ends receive
	}
	var got string
	late := time.NewTimer(arrivalTimeout)
	defer late.Stop()
	select {
	case got = <-arrived:
		l.Close()
	case <-late.C:
		l.Close()
		got = <-arrived
	}
	switch {
	case got == word:
		return nil
	case err != nil:
		return fmt.Errorf("%w: a connection to %s ended with: %w", ErrNotRedirected, target, err)
	}
	return fmt.Errorf("%w: a connection to %s was answered by somebody else", ErrNotRedirected, target)
}

// receive takes one connection and gives what it brought; nothing when l is closed.
func receive(l net.Listener) string {
	c, err := l.Accept()
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(arrivalTimeout))
	b := make([]byte, len(rand.Text()))
	n, _ := io.ReadFull(c, b)
	return string(b[:n])
}

func send(ctx context.Context, target netip.AddrPort, word string) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", target.String())
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.Copy(c, strings.NewReader(word))
	return err
}

// targets gives an address and port that the rules capture, for IPv4 and for IPv6: one reserved for documentation
// (RFC 5737, RFC 3849) if possible, so that no machine gets the connection where the rules are missing.
func (o *Options) targets() []netip.AddrPort {
	v4 := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("203.0.113.1")}
	v6 := []netip.Addr{netip.MustParseAddr("2001:db8::1")}
	for _, p := range o.IncludeOutboundCIDRs {
		a := p.Masked().Addr()
		if next := a.Next(); p.Contains(next) {
			a = next // the first address is the network's
		}
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	ports := []uint16{80, 443, 8080, 40404}
	for _, r := range o.IncludeOutboundPorts {
		ports = append(ports, r.From)
	}
	var out []netip.AddrPort
	for _, family := range [][]netip.Addr{v4, v6} {
		if t := o.firstCaptured(family, ports); t.IsValid() {
			out = append(out, t)
		}
	}
	return out
}

func (o *Options) firstCaptured(addrs []netip.Addr, ports []uint16) netip.AddrPort {
	for _, a := range addrs {
		for _, p := range ports {
			if o.captures(a, p) {
				return netip.AddrPortFrom(a, p)
			}
		}
	}
	return netip.AddrPort{}
}

// captures reports whether the rules redirect the app's TCP connections to a and p to the outbound port.
func (o *Options) captures(a netip.Addr, p uint16) bool {
	contains := func(x netip.Prefix) bool { return x.Contains(a) }
	includes := func(r PortRange) bool { return r.From <= p && p <= r.To }
	switch {
	case a.IsLoopback(), a.IsUnspecified(), p == 0, p == dnsPort,
		slices.ContainsFunc(o.ExcludeOutboundPorts, includes),
		slices.ContainsFunc(o.ExcludeOutboundCIDRs, contains):
		return false
	case len(o.IncludeOutboundCIDRs) == 0:
		return true
	}
	return slices.ContainsFunc(o.IncludeOutboundCIDRs, contains) || slices.ContainsFunc(o.IncludeOutboundPorts, includes)
}

// Present reports whether our table is in the network namespace of the calling thread.
func Present() (bool, error) {
	c, err := nftables.New()
	if err != nil {
		return false, explain(err)
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, explain(err)
	}
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == Table }), nil
}
