package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

func TestServerAnswers(t *testing.T) {
	up := newUpstreamServer(t, zone(map[string][]dnsmessage.ResourceBody{
		"db.example.com. A":      {&dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}},
		"unknown.example.com. A": {&dnsmessage.AResource{A: [4]byte{192, 0, 2, 2}}},
		users + " TXT":           {&dnsmessage.TXTResource{TXT: []string{"from", "upstream"}}},
	}))
	_, at := serve(t, Options{Table: testTable(), Upstream: newUpstream(t, up.addr)})
	for _, tc := range []struct {
		name, host string
		kind       dnsmessage.Type
		want       string
	}{
		{name: "a", host: users, kind: dnsmessage.TypeA, want: "Success " + users + " 30 A 10.96.0.10"},
		{name: "aaaa", host: users, kind: dnsmessage.TypeAAAA, want: "Success " + users + " 30 AAAA fd96::10"},
		{name: "any", host: users, kind: dnsmessage.TypeALL, want: "Success " + users + " 30 A 10.96.0.10, " + users + " 30 AAAA fd96::10"},
		{name: "case_is_kept", host: "UsErS-service.MYAPP.svc.cluster.local.", kind: dnsmessage.TypeA, want: "Success UsErS-service.MYAPP.svc.cluster.local. 30 A 10.96.0.10"},
		{name: "several_with_their_ttl", host: "web.myapp.svc.cluster.local.", kind: dnsmessage.TypeA, want: "Success web.myapp.svc.cluster.local. 5 A 10.1.0.1, web.myapp.svc.cluster.local. 5 A 10.1.0.2"},
		{name: "the_other_family_is_no_data", host: "web.myapp.svc.cluster.local.", kind: dnsmessage.TypeAAAA, want: "Success"},
		{name: "no_endpoints_is_no_data", host: "empty.myapp.svc.cluster.local.", kind: dnsmessage.TypeA, want: "Success"},
		{name: "mapped_address", host: "mapped.myapp.svc.cluster.local.", kind: dnsmessage.TypeA, want: "Success mapped.myapp.svc.cluster.local. 30 A 10.1.0.9"},
		{name: "https_is_no_data", host: users, kind: typeHTTPS, want: "Success"},
		{name: "txt_is_forwarded", host: users, kind: dnsmessage.TypeTXT, want: "Success " + users + " 60 TXT from|upstream"},
		{name: "alias", host: "ext.myapp.svc.cluster.local.", kind: dnsmessage.TypeA, want: "Success db.example.com. 60 A 192.0.2.1, ext.myapp.svc.cluster.local. 30 CNAME db.example.com."},
		{name: "cname_of_an_alias", host: "ext.myapp.svc.cluster.local.", kind: dnsmessage.TypeCNAME, want: "Success ext.myapp.svc.cluster.local. 30 CNAME db.example.com."},
		{name: "alias_of_an_alias_of_ours", host: "ext2.myapp.svc.cluster.local.", kind: dnsmessage.TypeA, want: "Success ext2.myapp.svc.cluster.local. 30 CNAME ext3.myapp.svc.cluster.local., ext3.myapp.svc.cluster.local. 30 CNAME " + users + ", " + users + " 30 A 10.96.0.10"},
		{name: "alias_of_nothing", host: "gone.myapp.svc.cluster.local.", kind: dnsmessage.TypeA, want: "NameError gone.myapp.svc.cluster.local. 30 CNAME nowhere.example.com."},
		{name: "alias_of_itself", host: "loop.myapp.svc.cluster.local.", kind: dnsmessage.TypeA, want: "ServerFailure"},
		{name: "alias_that_is_no_name", host: "bad.myapp.svc.cluster.local.", kind: dnsmessage.TypeA, want: "ServerFailure"},
		{name: "not_ours", host: "db.example.com.", kind: dnsmessage.TypeA, want: "Success db.example.com. 60 A 192.0.2.1"},
		{name: "not_ours_nor_anybodys", host: "nowhere.example.com.", kind: dnsmessage.TypeA, want: "NameError"},
		{name: "unknown_is_forwarded", host: "unknown.example.com.", kind: dnsmessage.TypeA, want: "Success unknown.example.com. 60 A 192.0.2.2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := question(tc.host, tc.kind)
			for _, network := range []string{"udp", "tcp"} {
				for _, addr := range at {
					b := ask(t, network, addr, pack(t, m))
					if got := text(t, b); got != tc.want {
						t.Errorf("%s %s: %s, want %s", network, addr, got, tc.want)
					}
					if !answers(b, pack(t, m)) {
						t.Errorf("%s %s: ID or question differ", network, addr)
					}
				}
			}
		})
	}
}

func TestServerSizes(t *testing.T) {
	_, at := serve(t, Options{Table: testTable(), Upstream: newUpstream(t, netip.MustParseAddrPort("127.0.0.1:1"))})
	m := question("big.myapp.svc.cluster.local.", dnsmessage.TypeA)
	for _, tc := range []struct {
		name, network  string
		m              dnsmessage.Message
		limit          int
		truncated, opt bool
	}{
		{name: "udp", network: "udp", m: m, limit: 512, truncated: true},
		{name: "udp_with_edns", network: "udp", m: withEDNS(m, 1232, 0), limit: 1232, truncated: true, opt: true},
		{name: "udp_with_edns_that_says_little", network: "udp", m: withEDNS(m, 100, 0), limit: 512, truncated: true, opt: true},
		{name: "udp_with_edns_that_says_much", network: "udp", m: withEDNS(m, 65535, 0), limit: 4096, truncated: true, opt: true},
		{name: "tcp", network: "tcp", m: m, limit: maxMessage},
		{name: "tcp_with_edns", network: "tcp", m: withEDNS(m, 512, 0), limit: maxMessage, opt: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := ask(t, tc.network, at[0], pack(t, tc.m))
			var got dnsmessage.Message
			if err := got.Unpack(b); err != nil {
				t.Fatal(err)
			}
			if len(b) > tc.limit || got.Truncated != tc.truncated || (len(got.Additionals) == 1) != tc.opt {
				t.Errorf("%d bytes, truncated %v, %d additionals, want at most %d, %v, OPT %v",
					len(b), got.Truncated, len(got.Additionals), tc.limit, tc.truncated, tc.opt)
			}
			if full := len(got.Answers) == 300; full == tc.truncated {
				t.Errorf("%d answers, truncated %v", len(got.Answers), tc.truncated)
			}
			// 16 bytes per answer: what is left out would not have fitted.
			if tc.truncated && len(b) < tc.limit-16 {
				t.Errorf("%d bytes of %d used", len(b), tc.limit)
			}
		})
	}
}

func TestServerShuffles(t *testing.T) {
	s, _ := serve(t, Options{Table: testTable(), Upstream: newUpstream(t, netip.MustParseAddrPort("127.0.0.1:1"))})
	query := pack(t, question("big.myapp.svc.cluster.local.", dnsmessage.TypeA))
	first := s.handle(t.Context(), "tcp", nil, query)
	if bytes.Equal(first, s.handle(t.Context(), "tcp", nil, query)) {
		t.Error("300 addresses in the same order twice")
	}
}

func TestServerRefusesWhatItCannotRead(t *testing.T) {
	s, at := serve(t, Options{Table: testTable(), Upstream: newUpstream(t, netip.MustParseAddrPort("127.0.0.1:1"))})
	two := question(users, dnsmessage.TypeA)
	two.Questions = append(two.Questions, two.Questions[0])
	none := dnsmessage.Message{Header: dnsmessage.Header{ID: 1}}
	cut := pack(t, question(users, dnsmessage.TypeA))
	for _, tc := range []struct {
		name string
		in   []byte
		want string
	}{
		{name: "two_questions", in: pack(t, two), want: "FormatError"},
		{name: "no_question", in: pack(t, none), want: "FormatError"},
		{name: "cut_off", in: cut[:len(cut)-3], want: "FormatError"},
		{name: "edns_of_the_future", in: pack(t, withEDNS(question(users, dnsmessage.TypeA), 1232, 1)), want: "Success"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := ask(t, "udp", at[0], tc.in)
			if got := text(t, b); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
			if tc.name != "edns_of_the_future" {
				return
			}
			var m dnsmessage.Message
			if err := m.Unpack(b); err != nil {
				t.Fatal(err)
			}
			if got := m.Additionals[0].Header.ExtendedRCode(m.RCode); got != badVersion {
				t.Errorf("extended code %d, want %d", got, badVersion)
			}
		})
	}
	response := pack(t, dnsmessage.Message{Header: dnsmessage.Header{Response: true}})
	for _, b := range [][]byte{response, {1, 2, 3}, nil} {
		if got := s.handle(t.Context(), "udp", nil, b); got != nil {
			t.Errorf("%x was answered", b)
		}
	}
}

// TestServerFlooded: one client has as many questions in work as it may, for an upstream that says nothing. What it asks
// beyond that is refused; others are answered.
func TestServerFlooded(t *testing.T) {
	const slots, flood = 8, 64
	up := newUpstreamServer(t, func(network string, query []byte) []byte {
		if network == "udp" && bytes.Contains(query, []byte("flood")) {
			return nil
		}
		return zone(map[string][]dnsmessage.ResourceBody{
			"other.example.org. A":   {&dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}},
			"other.flood.example. A": {&dnsmessage.AResource{A: [4]byte{192, 0, 2, 2}}},
		})(network, query)
	})
	// However slow the machine, what waits for the upstream goes on to wait: an end of its time is an answer, too, and frees a place.
	patient, err := NewUpstream(UpstreamOptions{Servers: []netip.AddrPort{up.addr}, Dial: dialPlain, Timeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	s, at := serve(t, Options{Table: testTable(), Upstream: patient, Concurrency: slots})
	flooder, err := net.Dial("udp", at[0])
	if err != nil {
		t.Fatal(err)
	}
	defer flooder.Close()
	for i := range flood {
		if _, err := flooder.Write(pack(t, question(fmt.Sprintf("r%d.flood.example.", i), dnsmessage.TypeA))); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, maxUDP)
	for range flood - slots/2 {
		n, err := flooder.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, buf[:n]); got != "ServerFailure" {
			t.Errorf("answer to the flood: %s, want ServerFailure", got)
		}
	}
	if got := s.counts[dropped].Load(); got != flood-slots/2 {
		t.Errorf("%d dropped, want %d", got, flood-slots/2)
	}
	for _, tc := range []struct{ name, network, ask, want string }{
		{"a_name_of_the_mesh", "udp", users, "Success " + users + " 30 A 10.96.0.10"},
		{"a_name_of_the_mesh_over_TCP", "tcp", users, "Success " + users + " 30 A 10.96.0.10"},
		{"a_forwarded_name", "udp", "other.example.org.", "Success other.example.org. 60 A 192.0.2.1"},
		{"a_name_of_the_flooded_zone", "tcp", "other.flood.example.", "Success other.flood.example. 60 A 192.0.2.2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := text(t, ask(t, tc.network, at[0], pack(t, question(tc.ask, dnsmessage.TypeA)))); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
	// From the flooder's own socket too: no slot is needed for what is known.
	if _, err := flooder.Write(pack(t, question(users, dnsmessage.TypeA))); err != nil {
		t.Fatal(err)
	}
	n, err := flooder.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := text(t, buf[:n]), "Success "+users+" 30 A 10.96.0.10"; got != want {
		t.Errorf("a known name asked by the flooder: %s, want %s", got, want)
	}
}

func TestServerCountsAndLogs(t *testing.T) {
	var log bytes.Buffer
	dead := netip.MustParseAddrPort("127.0.0.1:1")
	o := Options{Table: testTable(), Upstream: newUpstream(t, dead), Logger: slog.New(slog.NewTextHandler(&log, nil))}
	udp, tcp := listenBoth(t, "127.0.0.1")
	o.UDP, o.TCP = []net.PacketConn{udp}, []net.Listener{tcp}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{users, "a.example.com."} {
		s.handle(t.Context(), "udp", nil, pack(t, question(host, dnsmessage.TypeA)))
	}
	s.handle(t.Context(), "udp", nil, []byte("noise"))
	const want = `# TYPE fairlead_dns_questions_total counter
fairlead_dns_questions_total{outcome="answered"} 1
fairlead_dns_questions_total{outcome="forwarded"} 0
fairlead_dns_questions_total{outcome="failed"} 1
fairlead_dns_questions_total{outcome="dropped"} 0
fairlead_dns_questions_total{outcome="malformed"} 1
`
	var page strings.Builder
	if err := s.WriteMetrics(&page); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, page.String()); diff != "" {
		t.Errorf("WriteMetrics (-want +got):\n%s", diff)
	}
	for _, part := range []string{"a.example.com.", "127.0.0.1:1", "connection refused"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("log does not mention %q: %s", part, log.String())
		}
	}
	// A socket that is closed under it ends Run.
	tcp.Close()
	if err := s.Run(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run with a closed socket = %v, want %v", err, net.ErrClosed)
	}
}

func TestServerOneTCPConnectionManyQuestions(t *testing.T) {
	_, at := serve(t, Options{Table: testTable(), Upstream: newUpstream(t, netip.MustParseAddrPort("127.0.0.1:1"))})
	c, err := net.Dial("tcp", at[0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		if err := writeTCP(c, pack(t, question(users, dnsmessage.TypeA))); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		b, err := readTCP(c)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, b); !strings.Contains(got, "10.96.0.10") {
			t.Errorf("answer %s", got)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	u := newUpstream(t, netip.MustParseAddrPort("127.0.0.1:53"))
	logger := slog.New(slog.DiscardHandler)
	for _, tc := range []struct {
		name string
		o    Options
		err  string
	}{
		{name: "no_table", o: Options{Upstream: u, Logger: logger}, err: "Table"},
		{name: "no_upstream", o: Options{Table: names{}, Logger: logger}, err: "Upstream"},
		{name: "no_logger", o: Options{Table: names{}, Upstream: u}, err: "Logger"},
		{name: "no_sockets", o: Options{Table: names{}, Upstream: u, Logger: logger}, err: "sockets"},
		{name: "negative_concurrency", o: Options{Table: names{}, Upstream: u, Logger: logger, UDP: make([]net.PacketConn, 1), Concurrency: -1}, err: "Concurrency"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := New(tc.o); err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("New: error %v, want one that mentions %q", err, tc.err)
			}
		})
	}
}

func FuzzHandle(f *testing.F) {
	f.Add(pack(f, question(users, dnsmessage.TypeA)), false)
	f.Add(pack(f, question("ext2.myapp.svc.cluster.local.", dnsmessage.TypeAAAA)), true)
	f.Add(pack(f, withEDNS(question("big.myapp.svc.cluster.local.", dnsmessage.TypeALL), 1400, 0)), false)
	f.Add(pack(f, withEDNS(question("a.example.", dnsmessage.TypeMX), 1400, 3)), false)
	f.Add([]byte{}, true)
	upstream, err := NewUpstream(UpstreamOptions{
		Servers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")},
		Dial: func(context.Context, string, netip.AddrPort) (net.Conn, error) {
			return nil, errors.New("no network")
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	s, err := New(Options{Table: testTable(), Upstream: upstream, Logger: slog.New(slog.DiscardHandler), UDP: make([]net.PacketConn, 1)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, overTCP bool) {
		network, limit := "udp", maxUDP
		if overTCP {
			network, limit = "tcp", maxMessage
		}
		before := bytes.Clone(b)
		answer := s.handle(t.Context(), network, nil, b)
		if !bytes.Equal(before, b) {
			t.Fatal("the query was changed")
		}
		if answer == nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(answer); err != nil {
			t.Fatalf("answer %x: %v", answer, err)
		}
		if len(answer) > limit || answer[0] != b[0] || answer[1] != b[1] || !m.Response {
			t.Fatalf("answer %x to %x", answer, b)
		}
	})
}
