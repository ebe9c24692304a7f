package redirect

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func prefixes(s ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, x := range s {
		out = append(out, netip.MustParsePrefix(x))
	}
	return out
}

func TestPlanText(t *testing.T) {
	got, err := Plan(Options{
		ProxyUID: 1337, ProxyGID: 1337, CaptureDNS: true,
		ExcludeInboundPorts:  []PortRange{Port(15090), Port(15020), Port(15021)},
		ExcludeOutboundPorts: []PortRange{Port(9999)},
		ExcludeOutboundCIDRs: prefixes("169.254.169.254/32", "fd00::/8"),
		ExcludeInterfaces:    []string{"net1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `table inet fairlead
delete table inet fairlead
table inet fairlead {
  set in_excl_ports { type inet_service; flags interval; elements = { 15020-15021, 15090 }; }
  set out_excl_ports { type inet_service; flags interval; elements = { 9999 }; }
  set out_excl_v4 { type ipv4_addr; flags interval; elements = { 169.254.169.254/32 }; }
  set out_excl_v6 { type ipv6_addr; flags interval; elements = { fd00::/8 }; }
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    iifname "lo" counter return
    iifname "net1" counter return
    tcp dport 15008 counter return
    tcp dport @in_excl_ports counter return
    meta l4proto tcp counter redirect to :15006
  }
  chain output {
    type nat hook output priority -100; policy accept;
    oifname "lo" ip saddr 127.0.0.6 counter return
    oifname "lo" ip6 saddr ::6 counter return
    oifname "lo" meta skuid 1337 ip daddr != 127.0.0.0/8 tcp dport != 53 tcp dport != 15008 tcp dport != @in_excl_ports counter redirect to :15006
    oifname "lo" meta skuid 1337 ip6 daddr != ::1 tcp dport != 53 tcp dport != 15008 tcp dport != @in_excl_ports counter redirect to :15006
    oifname "lo" meta skgid 1337 ip daddr != 127.0.0.0/8 tcp dport != 53 tcp dport != 15008 tcp dport != @in_excl_ports counter redirect to :15006
    oifname "lo" meta skgid 1337 ip6 daddr != ::1 tcp dport != 53 tcp dport != 15008 tcp dport != @in_excl_ports counter redirect to :15006
    meta skuid 1337 counter return
    meta skgid 1337 counter return
    oifname "net1" counter return
    udp dport 53 counter redirect to :15053
    tcp dport 53 counter redirect to :15053
    oifname "lo" counter return
    tcp dport @out_excl_ports counter return
    ip daddr @out_excl_v4 counter return
    ip6 daddr @out_excl_v6 counter return
    meta l4proto tcp counter redirect to :15001
  }
  chain rawout {
    type filter hook output priority -300; policy accept;
    udp dport 53 meta skuid 1337 counter ct zone set 1 return
    udp dport 53 meta skgid 1337 counter ct zone set 1 return
    udp sport 15053 oifname "lo" counter ct zone set 2 return
    udp dport 53 counter ct zone set 2
  }
  chain rawpre {
    type filter hook prerouting priority -300; policy accept;
    udp sport 53 iifname != "lo" counter ct zone set 1
  }
}
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("Plan (-want +got):\n%s", diff)
	}
}

func TestPlanParts(t *testing.T) {
	for _, tc := range []struct {
		name          string
		o             Options
		with, without []string
	}{
		{
			name: "mark_instead_of_user",
			o:    Options{Mark: 0x539, CaptureDNS: true},
			with: []string{
				`oifname "lo" meta mark 0x539 ip daddr != 127.0.0.0/8`, "meta mark 0x539 counter return",
				"udp dport 53 meta mark 0x539 counter ct zone set 1 return",
			},
			without: []string{"skuid", "skgid", "  set "},
		},
		{
			name:    "no_dns",
			o:       Options{Mark: 1},
			without: []string{"redirect to :15053", "rawout", "rawpre"},
		},
		{
			name:    "no_inbound",
			o:       Options{Mark: 1, Inbound: CaptureNone},
			with:    []string{"redirect to :15001"},
			without: []string{"15006"},
		},
		{
			name:    "some_inbound_ports",
			o:       Options{Mark: 1, IncludeInboundPorts: []PortRange{{80, 90}, Port(91), Port(8080)}},
			with:    []string{"elements = { 80-91, 8080 }", "    tcp dport @in_incl_ports counter redirect to :15006"},
			without: []string{"meta l4proto tcp counter redirect to :15006"},
		},
		{
			name: "some_destinations",
			o: Options{
				Mark: 1, IncludeOutboundCIDRs: prefixes("10.96.0.0/12", "10.100.0.0/16", "fd00::1/64"),
				IncludeOutboundPorts: []PortRange{Port(443)},
			},
			with: []string{
				"elements = { 10.96.0.0/12 }", "elements = { fd00::/64 }", "    tcp dport @out_incl_ports counter redirect to :15001",
				"    ip daddr @out_incl_v4 meta l4proto tcp counter redirect to :15001",
			},
			without: []string{"    meta l4proto tcp counter redirect to :15001"},
		},
		{
			name: "other_ports",
			o:    Options{Mark: 1, CaptureDNS: true, InboundPort: 4143, OutboundPort: 4140, DNSPort: 4153, MeshPort: 4148},
			with: []string{":4143", ":4140", ":4153", "udp sport 4153", "tcp dport 4148 counter return"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := Plan(tc.o)
			if err != nil {
				t.Fatal(err)
			}
			text := r.String()
			for _, s := range tc.with {
				if !strings.Contains(text, s) {
					t.Errorf("no %q in\n%s", s, text)
				}
			}
			for _, s := range tc.without {
				if strings.Contains(text, s) {
					t.Errorf("%q in\n%s", s, text)
				}
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		o    Options
		err  string
	}{
		{name: "nobody_is_the_proxy", o: Options{}, err: "none of ProxyUID, ProxyGID and Mark is set"},
		{name: "port_0", o: Options{Mark: 1, ExcludeInboundPorts: []PortRange{{}}}, err: "ExcludeInboundPorts: 0 is not a range"},
		{name: "range_backwards", o: Options{Mark: 1, IncludeOutboundPorts: []PortRange{{9, 8}}}, err: "IncludeOutboundPorts: 9-8 is not a range"},
		{name: "no_prefix", o: Options{Mark: 1, ExcludeOutboundCIDRs: []netip.Prefix{{}}}, err: "ExcludeOutboundCIDRs: invalid Prefix is not"},
		{name: "mapped_prefix", o: Options{Mark: 1, IncludeOutboundCIDRs: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.0"), 104)}}, err: "is not an IPv4 or IPv6 prefix"},
		{name: "loopback", o: Options{Mark: 1, ExcludeInterfaces: []string{"lo"}}, err: `ExcludeInterfaces: "lo"`},
		{name: "long_interface", o: Options{Mark: 1, ExcludeInterfaces: []string{"abcdefghijklmnop"}}, err: "not the name of a network interface"},
		{name: "too_many_ports", o: Options{Mark: 1, ExcludeInboundPorts: make([]PortRange, maxSetPorts+1)}, err: "more than 1024"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Plan(tc.o)
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("Plan: error %v, want one that mentions %q", err, tc.err)
			}
		})
	}
}
