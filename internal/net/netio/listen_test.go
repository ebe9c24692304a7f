package netio

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// TestKeepAliveProbesDoNotCoincide opens connections in one instant, and wants them to be probed at many.
func TestKeepAliveProbesDoNotCoincide(t *testing.T) {
	const n = 60
	l, err := Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, accepted := map[int]int{}, map[int]int{}
	for range n {
		client, err := Dialer{}.DialTCP(t.Context(), addrPort(l.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		dialled[option(t, client, unix.TCP_KEEPIDLE)]++
		accepted[option(t, server.(*net.TCPConn), unix.TCP_KEEPIDLE)]++
		if on := option(t, server.(*net.TCPConn), unix.TCP_KEEPINTVL); on < 7 || on > 13 {
			t.Errorf("an accepted connection is probed every %d s", on)
		}
	}
	for side, times := range map[string]map[int]int{"dialled": dialled, "accepted": accepted} {
		if len(times) < 10 {
			t.Errorf("%d %s connections are probed at %d times: %v", n, side, len(times), times)
		}
	}
}

func option(t *testing.T, c *net.TCPConn, name int) (value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, name) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return value
}
