package netio

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const testMark = 0x539

// redirect sends every TCP connection of this namespace to port, except from sockets with testMark.
func redirect(tb testing.TB, port uint16) {
	tb.Helper()
	c, err := nftables.New()
	if err != nil {
		tb.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "netio"})
	chain := c.AddChain(&nftables.Chain{
		Name: "output", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(testMark)},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.Redir{RegisterProtoMin: 1},
	}})
	if err := c.Flush(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		c.DelTable(table)
		if err := c.Flush(); err != nil {
			tb.Error(err)
		}
	})
}

func TestOriginalDst(t *testing.T) {
	listeners, err := ListenAll(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range listeners {
		t.Cleanup(func() { l.Close() })
	}
	if len(listeners) != 2 {
		t.Fatalf("%d listeners, want IPv4 and IPv6", len(listeners))
	}
	port := addrPort(listeners[0].Addr()).Port()
	redirect(t, port)
	for _, tc := range []struct {
		name   string
		dst    netip.AddrPort
		mark   uint32
		family int
		err    error
	}{
		{name: "ipv4", dst: netip.MustParseAddrPort("127.0.0.9:80")},
		{name: "ipv6", dst: netip.MustParseAddrPort("[::6]:8080"), family: 1},
		{name: "ipv4_straight_to_the_listener", dst: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), mark: testMark, err: ErrLoop},
		{name: "ipv6_straight_to_the_listener", dst: netip.AddrPortFrom(netip.MustParseAddr("::1"), port), mark: testMark, family: 1, err: ErrLoop},
		{name: "captured_on_the_way_to_the_listener", dst: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), err: ErrLoop},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := &Dialer{Mark: tc.mark, Timeout: 5 * time.Second}
			c, err := d.DialTCP(t.Context(), tc.dst)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			s, err := listeners[tc.family].AcceptTCP()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			got, err := OriginalDst(s)
			if !errors.Is(err, tc.err) {
				t.Fatalf("OriginalDst: error %v, want %v", err, tc.err)
			}
			if tc.err == nil && got != tc.dst {
				t.Errorf("OriginalDst = %s, want %s", got, tc.dst)
			}
		})
	}
}

func TestOriginalDstWithoutConntrackIsALoop(t *testing.T) {
	_, far := tcpPair(t)
	if got, err := OriginalDst(far); !errors.Is(err, ErrLoop) {
		t.Errorf("OriginalDst = %s, %v, want %v", got, err, ErrLoop)
	}
}

func TestDialerSourceAndOptions(t *testing.T) {
	listeners, err := ListenAll(t.Context(), 0, testMark)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range listeners {
		t.Cleanup(func() { l.Close() })
	}
	port := addrPort(listeners[0].Addr()).Port()
	for i, tc := range []struct {
		name, dst, source string
	}{
		{name: "ipv4", dst: "127.0.0.1", source: "127.0.0.6"},
		{name: "ipv6", dst: "::1", source: "::6"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := Dialer{Mark: testMark, UserTimeout: 7 * time.Second}.ToApp()
			c, err := d.DialTCP(t.Context(), netip.AddrPortFrom(netip.MustParseAddr(tc.dst), port))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			s, err := listeners[i].AcceptTCP()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if got := addrPort(s.RemoteAddr()).Addr().String(); got != tc.source {
				t.Errorf("the app sees %s, want %s", got, tc.source)
			}
			for _, o := range []struct {
				name              string
				conn              *net.TCPConn
				level, opt, value int
			}{
				{name: "mark of the dialled socket", conn: c, level: unix.SOL_SOCKET, opt: unix.SO_MARK, value: testMark},
				{name: "mark of the accepted socket", conn: s, level: unix.SOL_SOCKET, opt: unix.SO_MARK, value: testMark},
				{name: "user timeout", conn: c, level: unix.IPPROTO_TCP, opt: unix.TCP_USER_TIMEOUT, value: 7000},
				{name: "no delay, dialled", conn: c, level: unix.IPPROTO_TCP, opt: unix.TCP_NODELAY, value: 1},
				{name: "no delay, accepted", conn: s, level: unix.IPPROTO_TCP, opt: unix.TCP_NODELAY, value: 1},
				{name: "keep-alive, accepted", conn: s, level: unix.SOL_SOCKET, opt: unix.SO_KEEPALIVE, value: 1},
			} {
				f, err := o.conn.File()
				if err != nil {
					t.Fatal(err)
				}
				got, err := unix.GetsockoptInt(int(f.Fd()), o.level, o.opt)
				if err != nil || got != o.value {
					t.Errorf("%s = %d, %v, want %d", o.name, got, err, o.value)
				}
				f.Close()
			}
		})
	}
}

func TestDialerErrors(t *testing.T) {
	closed := func() netip.AddrPort {
		l, err := Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return addrPort(l.Addr())
	}()
	d := &Dialer{}
	if c, err := d.Dial(t.Context(), "tcp", closed); !errors.Is(err, unix.ECONNREFUSED) || c != nil {
		t.Errorf("Dial of a closed port = %v, %v", c, err)
	}
	c, err := d.Dial(t.Context(), "sctp", closed)
	if c != nil {
		t.Errorf("Dial sctp = %v", c)
	}
	wantError(t, err, "neither tcp nor udp")
	d.Source4 = netip.MustParseAddr("192.0.2.1")
	if _, err := d.DialTCP(t.Context(), closed); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("Dial from an address that is not ours: %v", err)
	}
}

func TestListenSaysWhoHasThePort(t *testing.T) {
	l, err := Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Listen(t.Context(), addrPort(l.Addr()), 0)
	wantError(t, err, "another process has the port")
}

func TestListenPacketAndDialUDP(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		p, err := ListenPacket(t.Context(), netip.MustParseAddrPort(addr), testMark)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		c, err := (&Dialer{Mark: testMark}).Dial(t.Context(), "udp", addrPort(p.LocalAddr()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := c.Write([]byte("q")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 8)
		n, from, err := p.ReadFromUDPAddrPort(buf)
		if err != nil || string(buf[:n]) != "q" || from != addrPort(c.LocalAddr()) {
			t.Errorf("%s: received %q from %s, %v", addr, buf[:n], from, err)
		}
	}
}
