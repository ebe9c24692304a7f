package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

func TestNames(t *testing.T) {
	c := ResolvConf{Search: []string{"myapp.svc.cluster.local", "svc.cluster.local"}, Ndots: 2}
	for name, want := range map[string]string{
		"users":       "users.myapp.svc.cluster.local users.svc.cluster.local users",
		"users.myapp": "users.myapp.myapp.svc.cluster.local users.myapp.svc.cluster.local users.myapp",
		"a.example.x": "a.example.x a.example.x.myapp.svc.cluster.local a.example.x.svc.cluster.local",
		"users.":      "users",
	} {
		if got := strings.Join(c.Names(name), " "); got != want {
			t.Errorf("Names(%q) = %s, want %s", name, got, want)
		}
	}
}

func TestParseResolvConf(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     ResolvConf
		err      string
	}{
		{
			name: "kubernetes", in: "search myapp.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n",
			want: ResolvConf{Servers: ports("10.96.0.10"), Search: []string{"myapp.svc.cluster.local", "svc.cluster.local"}, Ndots: 5},
		},
		{
			name: "comments_and_oddities", in: "# c\n; d\nnameserver\nnameserver x\nnameserver fd00::a # here\noptions timeout:2 ndots:99 rotate\ndomain a\nsearch b",
			want: ResolvConf{Servers: ports("fd00::a"), Search: []string{"b"}, Ndots: 15},
		},
		{
			name: "too_many_servers", in: "nameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\nnameserver 4.4.4.4",
			want: ResolvConf{Servers: ports("1.1.1.1", "2.2.2.2", "3.3.3.3"), Ndots: 1},
		},
		{name: "nothing", in: "\n", err: `no line "nameserver ADDRESS"`},
		{name: "endless_line", in: strings.Repeat("x", 1<<17), err: "token too long"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseResolvConf(strings.NewReader(tc.in))
			if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("error %v, want one that mentions %q", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("ParseResolvConf (-want +got):\n%s", diff)
			}
		})
	}
}

func ports(hosts ...string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, h := range hosts {
		out = append(out, netip.AddrPortFrom(netip.MustParseAddr(h), 53))
	}
	return out
}

func failing(code dnsmessage.RCode) func(string, []byte) []byte {
	return func(_ string, query []byte) []byte {
		a := append([]byte(nil), query...)
		a[2] |= 0x80
		a[3] = a[3]&0xf0 | byte(code)
		return a
	}
}

func TestExchangeAsksTheNextServer(t *testing.T) {
	good := zone(map[string][]dnsmessage.ResourceBody{"a.example. A": {&dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}}})
	forger := func(network string, query []byte) []byte {
		a := good(network, query)
		a[0]++
		return a
	}
	other := func(network string, query []byte) []byte {
		a := good(network, query)
		a[headerSize+1] ^= 0x20 // another case of the name: not what was asked
		return a
	}
	dead := netip.MustParseAddrPort("127.0.0.1:1")
	ok := newUpstreamServer(t, good).addr
	for _, tc := range []struct {
		name    string
		servers []netip.AddrPort
		want    string
	}{
		{name: "first_is_dead", servers: []netip.AddrPort{dead, ok}, want: "Success a.example. 60 A 192.0.2.1"},
		{name: "first_fails", servers: []netip.AddrPort{newUpstreamServer(t, failing(dnsmessage.RCodeServerFailure)).addr, ok}, want: "Success a.example. 60 A 192.0.2.1"},
		{name: "first_refuses", servers: []netip.AddrPort{newUpstreamServer(t, failing(dnsmessage.RCodeRefused)).addr, ok}, want: "Success a.example. 60 A 192.0.2.1"},
		{name: "all_refuse", servers: []netip.AddrPort{newUpstreamServer(t, failing(dnsmessage.RCodeRefused)).addr, dead}, want: "Refused"},
		{name: "nxdomain_is_an_answer", servers: []netip.AddrPort{newUpstreamServer(t, failing(dnsmessage.RCodeNameError)).addr, ok}, want: "NameError"},
		{name: "a_forged_id", servers: []netip.AddrPort{newUpstreamServer(t, forger).addr, ok}, want: "Success a.example. 60 A 192.0.2.1"},
		{name: "another_question", servers: []netip.AddrPort{newUpstreamServer(t, other).addr, ok}, want: "Success a.example. 60 A 192.0.2.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel() // those that wait for a silent server do it together
			u := newUpstream(t, tc.servers...)
			b, err := u.Exchange(t.Context(), "udp", pack(t, question("a.example.", dnsmessage.TypeA)))
			if err != nil {
				t.Fatal(err)
			}
			if got := text(t, b); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestExchangeGivesUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		u, err := NewUpstream(UpstreamOptions{
			Servers: ports("192.0.2.1", "192.0.2.2"),
			Dial: func(context.Context, string, netip.AddrPort) (net.Conn, error) {
				dials++
				near, far := net.Pipe()
				go func() {
					buf := make([]byte, maxUDP)
					for {
						if _, err := far.Read(buf); err != nil {
							return
						}
					}
				}()
				return near, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = u.Exchange(t.Context(), "udp", pack(t, question("a.example.", dnsmessage.TypeA)))
		if took := time.Since(start); !errors.Is(err, ErrNoAnswer) || took != DefaultTimeout || dials != 3 {
			t.Errorf("Exchange: %v after %s and %d attempts, want %v after %s and 3", err, took, dials, ErrNoAnswer, DefaultTimeout)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { time.Sleep(time.Second / 2); cancel() }()
		start = time.Now()
		if _, err := u.Exchange(ctx, "tcp", pack(t, question("a.example.", dnsmessage.TypeA))); !errors.Is(err, context.Canceled) || time.Since(start) != time.Second/2 {
			t.Errorf("Exchange cancelled: %v after %s", err, time.Since(start))
		}
	})
}

func TestResolve(t *testing.T) {
	records := zone(map[string][]dnsmessage.ResourceBody{
		"both.example. A":    {&dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}, &dnsmessage.AResource{A: [4]byte{192, 0, 2, 2}}},
		"both.example. AAAA": {&dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("x.example.")}, &dnsmessage.AAAAResource{AAAA: [16]byte{0x20, 1}}},
		"four.example. A":    {&dnsmessage.AResource{A: [4]byte{192, 0, 2, 4}}},
		"six.example. A":     nil,
		"six.example. AAAA":  {&dnsmessage.AAAAResource{AAAA: [16]byte{0x20, 6}}},
		"none.example. A":    nil,
		"none.example. AAAA": nil,
	})
	up := newUpstreamServer(t, func(network string, query []byte) []byte {
		a := records(network, query)
		if network == "udp" && strings.Contains(string(query), "\x03big") {
			a[2] |= 0x02 // truncated
		}
		if network == "tcp" && strings.Contains(string(query), "\x03big") {
			return zone(map[string][]dnsmessage.ResourceBody{"big.example. A": {&dnsmessage.AResource{A: [4]byte{192, 0, 2, 9}}}})(network, query)
		}
		if strings.Contains(string(query), "\x04fail") {
			return failing(dnsmessage.RCodeServerFailure)(network, query)
		}
		return a
	})
	r := NewResolver(newUpstream(t, up.addr))
	for _, tc := range []struct {
		name, host string
		want       Resolved
		err        string
	}{
		{name: "both_families", host: "both.example", want: Resolved{Addrs: addrs("192.0.2.1", "192.0.2.2", "2001::"), TTL: time.Minute}},
		{name: "final_dot", host: "four.example.", want: Resolved{Addrs: addrs("192.0.2.4"), TTL: time.Minute}},
		{name: "ipv6_only", host: "six.example", want: Resolved{Addrs: addrs("2006::"), TTL: time.Minute}},
		{name: "truncated_then_tcp", host: "big.example", want: Resolved{Addrs: addrs("192.0.2.9"), TTL: time.Minute}},
		{name: "no_addresses", host: "none.example", err: ErrNotFound.Error()},
		{name: "no_such_name", host: "nowhere.example", err: ErrNotFound.Error()},
		{name: "server_failure", host: "fail.example", err: `resolve "fail.example": the server answered ServerFailure`},
		{name: "no_name", host: strings.Repeat("x", 300), err: "resolve"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := r.Resolve(t.Context(), tc.host)
			if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("error %v, want one that mentions %q", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("Resolve (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNewUpstreamRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		o    UpstreamOptions
		err  string
	}{
		{name: "no_servers", o: UpstreamOptions{Dial: dialPlain}, err: "Servers"},
		{name: "no_dial", o: UpstreamOptions{Servers: ports("192.0.2.1")}, err: "Dial"},
		{name: "negative_timeout", o: UpstreamOptions{Servers: ports("192.0.2.1"), Dial: dialPlain, Timeout: -1}, err: "Timeout"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := NewUpstream(tc.o); err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("NewUpstream: error %v, want one that mentions %q", err, tc.err)
			}
		})
	}
	if _, err := newUpstream(t, ports("192.0.2.1")...).Exchange(t.Context(), "udp", []byte{1}); err == nil {
		t.Error("a query of one byte was sent")
	}
}
