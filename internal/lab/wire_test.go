package lab

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/model"
)

// testTable knows a Service, a headless one with a set's pod behind it, and an external name.
func testTable() *dnsTable {
	headless := testService()
	headless.Name, headless.Spec.ClusterIP, headless.Spec.ClusterIPs = "db", corev1.ClusterIPNone, nil
	first := testPod(5, "ready", 3306)
	first.spec.hostname, first.spec.subdomain = "db-0", "db"
	unready := testPod(6, "", 3306)
	external := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "alias"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "web.default.svc.cluster.local"},
	}
	return newDNSTable([]*corev1.Service{testService(), headless, external}, map[model.Key][]*discoveryv1.EndpointSlice{
		{Namespace: "default", Name: "db"}: endpointSlices(headless, []endpointPod{first, unready}),
	}, []*pod{{spec: *first.spec}})
}

func TestDNSAnswers(t *testing.T) {
	table := testTable()
	for _, tt := range []struct {
		name, question string
		kind           dnsmessage.Type
		want           string
	}{
		{"service", "web.default.svc.cluster.local.", dnsmessage.TypeA, "A 10.96.7.7"},
		{"any_case", "WEB.Default.svc.cluster.local.", dnsmessage.TypeA, "A 10.96.7.7"},
		{"no_ipv6", "web.default.svc.cluster.local.", dnsmessage.TypeAAAA, ""},
		{"headless_gives_ready_endpoints", "db.default.svc.cluster.local.", dnsmessage.TypeA, "A 10.244.0.5"},
		{"set_pod", "db-0.db.default.svc.cluster.local.", dnsmessage.TypeA, "A 10.244.0.5"},
		{"pod_by_address", "10-244-0-5.default.pod.cluster.local.", dnsmessage.TypeA, "A 10.244.0.5"},
		{"external_name", "alias.default.svc.cluster.local.", dnsmessage.TypeA, "CNAME web.default.svc.cluster.local. A 10.96.7.7"},
		{"srv", "_http._tcp.web.default.svc.cluster.local.", dnsmessage.TypeSRV, "SRV web.default.svc.cluster.local.:80"},
		{"srv_of_headless", "_http._tcp.db.default.svc.cluster.local.", dnsmessage.TypeSRV, "SRV db-0.db.default.svc.cluster.local.:3306"},
		{"unknown_service", "nobody.default.svc.cluster.local.", dnsmessage.TypeA, "RCodeNameError"},
		{"outside", "example.com.", dnsmessage.TypeA, "RCodeNameError"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := dnsmessage.Question{Name: dnsmessage.MustNewName(tt.question), Type: tt.kind, Class: dnsmessage.ClassINET}
			request := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{q}}
			raw, err := request.Pack()
			if err != nil {
				t.Fatal(err)
			}
			var answer dnsmessage.Message
			if err := answer.Unpack(table.respond(raw, 512)); err != nil {
				t.Fatal(err)
			}
			if answer.ID != 7 || !answer.Response || answer.Questions[0].Name.String() != tt.question {
				t.Errorf("header %+v", answer.Header)
			}
			if got := describeAnswer(&answer); got != tt.want {
				t.Errorf("answer %q, want %q", got, tt.want)
			}
		})
	}
}

func describeAnswer(m *dnsmessage.Message) string {
	var parts []string
	if m.RCode != dnsmessage.RCodeSuccess {
		parts = append(parts, m.RCode.GoString()[len("dnsmessage."):])
	}
	for _, a := range m.Answers {
		switch b := a.Body.(type) {
		case *dnsmessage.AResource:
			parts = append(parts, "A "+netip.AddrFrom4(b.A).String())
		case *dnsmessage.CNAMEResource:
			parts = append(parts, "CNAME "+b.CNAME.String())
		case *dnsmessage.SRVResource:
			parts = append(parts, "SRV "+netip.AddrPortFrom(netip.IPv4Unspecified(), b.Port).String()[len("0.0.0.0"):])
			parts[len(parts)-1] = "SRV " + b.Target.String() + parts[len(parts)-1][len("SRV "):]
		}
	}
	return strings.Join(parts, " ")
}

func TestDNSTruncatesAndSurvives(t *testing.T) {
	table := testTable()
	for i := range 200 {
		table.add("many.default.svc.cluster.local", netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}))
	}
	q := dnsmessage.Question{Name: dnsmessage.MustNewName("many.default.svc.cluster.local."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	raw, err := (&dnsmessage.Message{Questions: []dnsmessage.Question{q}}).Pack()
	if err != nil {
		t.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(table.respond(raw, 512)); err != nil || !m.Truncated {
		t.Errorf("UDP answer truncated %v, %v", m.Truncated, err)
	}
	if err := m.Unpack(table.respond(raw, 0)); err != nil || m.Truncated || len(m.Answers) != 200 {
		t.Errorf("TCP answer truncated %v, %d answers, %v", m.Truncated, len(m.Answers), err)
	}
	for cut := range raw {
		table.respond(raw[:cut], 512) // half a request is no reason to fall over
	}
}

func TestClassify(t *testing.T) {
	for _, tt := range []struct{ payload, want string }{
		{"\x16\x03\x01\x02\x00\x01", tlsHandshake},
		{"\x17\x03\x03\x00\x10", tlsApplication},
		{"GET / HTTP/1.1\r\n", plaintextHTTP},
		{"HTTP/1.1 200 OK\r\n", plaintextHTTP},
		{"PRI * HTTP/2.0\r\n", plaintextHTTP},
		{"5.7.0 greeting", otherPayload},
		{"\x16", otherPayload},
	} {
		if got := classify([]byte(tt.payload)); got != tt.want {
			t.Errorf("classify(%q) = %s, want %s", tt.payload, got, tt.want)
		}
	}
}

// frameOf builds an Ethernet frame with a TCP segment.
func frameOf(src, dst string, flags byte, payload string) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	tcp := make([]byte, 20)
	tcp[0], tcp[1], tcp[2], tcp[3] = byte(s.Port()>>8), byte(s.Port()), byte(d.Port()>>8), byte(d.Port())
	tcp[12], tcp[13] = 5<<4, flags
	tcp = slices.Concat(tcp, []byte(payload))
	frame := make([]byte, 14)
	if s.Addr().Is4() {
		frame[12], frame[13] = 0x08, 0x00
		ip := make([]byte, 12)
		total := 20 + len(tcp)
		ip[0], ip[2], ip[3], ip[9] = 0x45, byte(total>>8), byte(total), 6
		ip = slices.Concat(ip, s.Addr().AsSlice(), d.Addr().AsSlice())
		padding := make([]byte, 6) // short frames are padded on the wire
		return slices.Concat(frame, ip, tcp, padding)
	}
	frame[12], frame[13] = 0x86, 0xdd
	ip := make([]byte, 8)
	ip[0], ip[6] = 0x60, 6
	ip = slices.Concat(ip, s.Addr().AsSlice(), d.Addr().AsSlice())
	return slices.Concat(frame, ip, tcp)
}

func TestFlows(t *testing.T) {
	const syn, ack = 2, 16
	const pod4, peer4, pod6, peer6 = "10.244.0.2:8080", "10.244.0.3:40000", "[fd00::2]:41000", "[fd00::3]:15008"
	f := &flows{
		pod:  map[netip.Addr]bool{netip.MustParseAddr("10.244.0.2"): true, netip.MustParseAddr("fd00::2"): true},
		grep: []byte("secret"), seen: map[[2]netip.AddrPort]*Flow{},
	}
	for _, frame := range [][]byte{
		frameOf(peer4, pod4, syn, ""), frameOf(pod4, peer4, syn|ack, ""),
		frameOf(peer4, pod4, ack, "GET /secret HTTP/1.1\r\n"), frameOf(pod4, peer4, ack, "HTTP/1.1 200"),
		frameOf(pod6, peer6, syn, ""), frameOf(pod6, peer6, ack, "\x16\x03\x01"), frameOf(peer6, pod6, ack, "\x16\x03\x03"),
	} {
		s, ok := parseSegment(frame)
		if !ok {
			t.Fatalf("frame %x is no segment", frame)
		}
		f.add(s)
	}
	want := []Flow{
		{
			Direction: "inbound", Pod: netip.MustParseAddrPort(pod4), Peer: netip.MustParseAddrPort(peer4), PacketsOut: 2, PacketsIn: 2,
			BytesOut: 12, BytesIn: 22, FirstOut: plaintextHTTP, FirstIn: plaintextHTTP, Matches: 1,
		},
		{
			Direction: "outbound", Pod: netip.MustParseAddrPort(pod6), Peer: netip.MustParseAddrPort(peer6), PacketsOut: 2, PacketsIn: 1,
			BytesOut: 3, BytesIn: 3, FirstOut: tlsHandshake, FirstIn: tlsHandshake,
		},
	}
	if diff := cmp.Diff(want, f.list(), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("flows (-want +got):\n%s", diff)
	}
	whole := frameOf(pod4, peer4, ack, "x")
	for cut := range whole[:53] {
		if _, ok := parseSegment(whole[:cut]); ok {
			t.Errorf("%d bytes were taken for a segment", cut)
		}
	}
}
