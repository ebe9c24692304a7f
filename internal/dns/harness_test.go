package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// names is a Table: a name that is missing is not ours, "unknown.…" cannot be found out.
type names map[string]Answer

func (n names) Known(name string) (Answer, bool) {
	a, ok := n[name]
	return a, ok
}

func (n names) Lookup(_ context.Context, name string) (Answer, Owner) {
	if strings.HasPrefix(name, "unknown.") {
		return Answer{}, Unknown
	}
	if a, ok := n[name]; ok {
		return a, Ours
	}
	return Answer{}, NotOurs
}

func addrs(s ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func many(n int) []netip.Addr {
	var out []netip.Addr
	for i := range n {
		out = append(out, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}))
	}
	return out
}

// upstreamServer is a DNS server on loopback. answer gives the response to a query, nil for none.
type upstreamServer struct {
	addr    netip.AddrPort
	queries atomic.Int64
	answer  func(network string, query []byte) []byte
}

func newUpstreamServer(t *testing.T, answer func(network string, query []byte) []byte) *upstreamServer {
	t.Helper()
	u := &upstreamServer{answer: answer}
	udp, tcp := listenBoth(t, "127.0.0.1")
	u.addr = netip.MustParseAddrPort(udp.LocalAddr().String())
	var wg sync.WaitGroup
	t.Cleanup(func() { udp.Close(); tcp.Close(); wg.Wait() })
	wg.Go(func() {
		buf := make([]byte, maxUDP)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			u.queries.Add(1)
			if a := answer("udp", buf[:n]); a != nil {
				_, _ = udp.WriteTo(a, from)
			}
		}
	})
	wg.Go(func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			if q, err := readTCP(c); err == nil {
				u.queries.Add(1)
				if a := answer("tcp", q); a != nil {
					_ = writeTCP(c, a)
				}
			}
			c.Close()
		}
	})
	return u
}

// listenBoth opens the same port for UDP and TCP. Another process may take one of the two first; then another port.
func listenBoth(tb testing.TB, host string) (net.PacketConn, net.Listener) {
	tb.Helper()
	for {
		tcp, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			tb.Fatal(err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			return udp, tcp
		}
		tcp.Close()
	}
}

// zone is an answer function: records by "name type", NXDOMAIN for the rest.
func zone(records map[string][]dnsmessage.ResourceBody) func(string, []byte) []byte {
	return func(_ string, query []byte) []byte {
		var m dnsmessage.Message
		if m.Unpack(query) != nil || len(m.Questions) != 1 {
			return nil
		}
		q := m.Questions[0]
		m.Response, m.RecursionAvailable = true, true
		m.Additionals = nil
		bodies, ok := records[strings.ToLower(q.Name.String())+" "+strings.TrimPrefix(q.Type.String(), "Type")]
		if !ok {
			m.RCode = dnsmessage.RCodeNameError
		}
		for i, b := range bodies {
			h := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: uint32(60 + i)}
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: b})
		}
		out, err := m.Pack()
		if err != nil {
			return nil
		}
		return out
	}
}

func dialPlain(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, addr.String())
}

func newUpstream(tb testing.TB, servers ...netip.AddrPort) *Upstream {
	tb.Helper()
	u, err := NewUpstream(UpstreamOptions{Servers: servers, Dial: dialPlain})
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

// serve runs a Server on loopback, both families, and gives it with the addresses it listens on.
func serve(t *testing.T, o Options) (*Server, []string) {
	t.Helper()
	var at []string
	for _, host := range []string{"127.0.0.1", "::1"} {
		udp, tcp := listenBoth(t, host)
		o.UDP, o.TCP = append(o.UDP, udp), append(o.TCP, tcp)
		at = append(at, udp.LocalAddr().String())
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want %v", err, context.Canceled)
		}
	})
	return s, at
}

// ask sends one message and gives the answer.
func ask(tb testing.TB, network, at string, message []byte) []byte {
	tb.Helper()
	c, err := net.Dial(network, at)
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		tb.Fatal(err)
	}
	answer, err := func() ([]byte, error) {
		if network == "tcp" {
			if err := writeTCP(c, message); err != nil {
				return nil, err
			}
			return readTCP(c)
		}
		if _, err := c.Write(message); err != nil {
			return nil, err
		}
		buf := make([]byte, maxMessage)
		n, err := c.Read(buf)
		return buf[:n], err
	}()
	if err != nil {
		tb.Fatal(err)
	}
	return answer
}

func question(name string, kind dnsmessage.Type) dnsmessage.Message {
	return dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 4711, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}
}

func withEDNS(m dnsmessage.Message, size int, version uint32) dnsmessage.Message {
	var h dnsmessage.ResourceHeader
	if err := h.SetEDNS0(size, 0, false); err != nil {
		panic(err)
	}
	h.TTL |= version << 16
	m.Additionals = append(m.Additionals, dnsmessage.Resource{Header: h, Body: &dnsmessage.OPTResource{}})
	return m
}

func pack(tb testing.TB, m dnsmessage.Message) []byte {
	tb.Helper()
	b, err := m.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// text gives an answer as "CODE name TTL TYPE value, …", addresses sorted.
func text(tb testing.TB, b []byte) string {
	tb.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil {
		tb.Fatal(err)
	}
	var lines []string
	for _, r := range m.Answers {
		var value string
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			value = netip.AddrFrom4(body.A).String()
		case *dnsmessage.AAAAResource:
			value = netip.AddrFrom16(body.AAAA).String()
		case *dnsmessage.CNAMEResource:
			value = body.CNAME.String()
		case *dnsmessage.TXTResource:
			value = strings.Join(body.TXT, "|")
		}
		lines = append(lines, fmt.Sprintf("%s %d %s %s", r.Header.Name, r.Header.TTL, strings.TrimPrefix(r.Header.Type.String(), "Type"), value))
	}
	slices.Sort(lines)
	return strings.TrimSpace(strings.TrimPrefix(m.RCode.String(), "RCode") + " " + strings.Join(lines, ", "))
}

const users = "users-service.myapp.svc.cluster.local."

func testTable() names {
	return names{
		"users-service.myapp.svc.cluster.local": {Addrs: addrs("10.96.0.10", "fd96::10")},
		"web.myapp.svc.cluster.local":           {Addrs: addrs("10.1.0.1", "10.1.0.2"), TTL: 5 * time.Second},
		"empty.myapp.svc.cluster.local":         {},
		"mapped.myapp.svc.cluster.local":        {Addrs: addrs("::ffff:10.1.0.9")},
		"big.myapp.svc.cluster.local":           {Addrs: many(300)},
		"ext.myapp.svc.cluster.local":           {CNAME: "db.example.com"},
		"ext2.myapp.svc.cluster.local":          {CNAME: "ext3.myapp.svc.cluster.local."},
		"ext3.myapp.svc.cluster.local":          {CNAME: "users-service.myapp.svc.cluster.local"},
		"gone.myapp.svc.cluster.local":          {CNAME: "nowhere.example.com"},
		"loop.myapp.svc.cluster.local":          {CNAME: "loop.myapp.svc.cluster.local"},
		"bad.myapp.svc.cluster.local":           {CNAME: strings.Repeat("x", 300)},
	}
}
