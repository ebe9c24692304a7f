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
	l, err := Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), Accepting{Clients: Remote})
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

func option(t *testing.T, c *net.TCPConn, name int) int {
	t.Helper()
	return socketOption(t, c, unix.IPPROTO_TCP, name)
}

func socketOption(t *testing.T, c *net.TCPConn, level, name int) (value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), level, name) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return value
}

// TestLocalConnectionsAreNotProbed wants no keep-alive between a sidecar and its own app, on either side.
func TestLocalConnectionsAreNotProbed(t *testing.T) {
	for _, c := range []struct {
		name    string
		clients Clients
		dialer  Dialer
		want    int // SO_KEEPALIVE of the accepted and of the dialled connection
	}{
		{"remote", Remote, Dialer{}, 1},
		{"local", Local, Dialer{}.ToApp(), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), Accepting{Clients: c.clients})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			client, err := c.dialer.DialTCP(t.Context(), addrPort(l.Addr()))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			for side, conn := range map[string]*net.TCPConn{"accepted": server.(*net.TCPConn), "dialled": client} {
				if got := socketOption(t, conn, unix.SOL_SOCKET, unix.SO_KEEPALIVE); got != c.want {
					t.Errorf("SO_KEEPALIVE of the %s connection is %d, want %d", side, got, c.want)
				}
				if got := option(t, conn, unix.TCP_NODELAY); got != 1 {
					t.Errorf("TCP_NODELAY of the %s connection is %d", side, got)
				}
			}
		})
	}
}
