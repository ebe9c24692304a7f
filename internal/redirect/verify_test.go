package redirect

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

func TestTargetsAreCaptured(t *testing.T) {
	tests := []struct {
		name  string
		flags []string
		want  string
	}{
		{"everything", nil, "192.0.2.1:80 [2001:db8::1]:80"},
		{"port_excluded", []string{"--exclude-outbound-ports=1-100"}, "192.0.2.1:443 [2001:db8::1]:443"},
		{"cidr_excluded", []string{"--exclude-outbound-cidrs=192.0.2.0/24,2001:db8::/32"}, "198.51.100.1:80"},
		{"one_cidr_included", []string{"--include-outbound-cidrs=10.96.0.0/12"}, "10.96.0.1:80"},
		{"one_address_included", []string{"--include-outbound-cidrs=10.96.0.7"}, "10.96.0.7:80"},
		{"one_cidr_and_a_port_included", []string{"--include-outbound-cidrs=10.96.0.0/12", "--include-outbound-ports=3306"}, "192.0.2.1:3306 [2001:db8::1]:3306"},
		{"nothing_but_a_port_excluded_from_it", []string{"--include-outbound-cidrs=10.96.0.0/12", "--exclude-outbound-cidrs=10.0.0.0/8"}, ""},
		{"nothing", []string{"--include-outbound-cidrs=0.0.0.0/32"}, ""},
		{"loopback", []string{"--include-outbound-cidrs=127.0.0.0/8,::1"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, err := ParseFlags(tt.flags)
			must(t, err)
			got := make([]string, 0, 2)
			for _, target := range o.targets() {
				got = append(got, target.String())
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("targets() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVerify(t *testing.T) {
	tests := []struct {
		name  string
		flags []string
		rules bool
		want  error // ErrNotRedirected or nil
	}{
		{name: "rules", rules: true},
		{name: "no_rules", want: ErrNotRedirected},
		{name: "rules_that_exclude_the_usual_target", flags: []string{"--exclude-outbound-cidrs=192.0.2.0/24", "--exclude-outbound-ports=80"}, rules: true},
		{name: "ipv6_only", flags: []string{"--include-outbound-cidrs=2001:db8::/32"}, rules: true},
		{name: "ipv6_only_without_rules", flags: []string{"--include-outbound-cidrs=2001:db8::/32"}, want: ErrNotRedirected},
		{name: "nothing_to_capture", flags: []string{"--include-outbound-cidrs=0.0.0.0/32"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNetwork(t)
			// Where there are no rules the connection is refused by the peer, who stands for the rest of the world.
			n.in(t, n.peer, func() { setUp(t, "192.0.2.1/32", "2001:db8::1/128") })
			o, err := ParseFlags(tt.flags)
			must(t, err)
			n.in(t, n.pod, func() {
				if tt.rules {
					must(t, applyOptions(o))
				}
				if err := Verify(t.Context(), o); !errors.Is(err, tt.want) || (err != nil) != (tt.want != nil) {
					t.Errorf("Verify() = %v, want %v", err, tt.want)
				}
			})
		})
	}
}

func applyOptions(o Options) error {
	rules, err := Plan(o)
	if err != nil {
		return err
	}
	return Apply(rules)
}

// TestVerifySeesWhoAnswers has a listener other than the sidecar accept the connection, as a transparent proxy on the way would.
func TestVerifySeesWhoAnswers(t *testing.T) {
	n := newNetwork(t)
	var server net.Listener
	n.in(t, n.peer, func() {
		setUp(t, "192.0.2.1/32")
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "192.0.2.1:80")
		must(t, err)
		server = l
	})
	defer server.Close()
	n.in(t, n.pod, func() {
		o, err := ParseFlags(nil)
		must(t, err)
		if err := Verify(t.Context(), o); !errors.Is(err, ErrNotRedirected) || !strings.Contains(err.Error(), "somebody else") {
			t.Errorf("Verify() = %v, want ErrNotRedirected, answered by somebody else", err)
		}
	})
}

// TestVerifyWithARouterThatRefuses has the network answer that there is no way, as a node without a default route does:
// the connection left the pod, and that is what matters.
func TestVerifyWithARouterThatRefuses(t *testing.T) {
	n := newNetwork(t)
	n.in(t, n.peer, func() {
		must(t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600))
		must(t, netlink.RouteAdd(&netlink.Route{Type: unix.RTN_UNREACHABLE, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}}))
	})
	n.in(t, n.pod, func() {
		o, err := ParseFlags(nil)
		must(t, err)
		if err := Verify(t.Context(), o); !errors.Is(err, ErrNotRedirected) || !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("Verify() = %v, want ErrNotRedirected because of EHOSTUNREACH", err)
		}
	})
}

// TestVerifyCannotTell has the cases in which nothing may be concluded: a repair acts on ErrNotRedirected.
func TestVerifyCannotTell(t *testing.T) {
	o, err := ParseFlags(nil)
	must(t, err)
	n := newNetwork(t)
	n.in(t, n.pod, func() {
		eth0, err := netlink.LinkByName("eth0")
		must(t, err)
		must(t, netlink.LinkSetDown(eth0))
		if err := Verify(t.Context(), o); err == nil || errors.Is(err, ErrNotRedirected) || !strings.Contains(err.Error(), "no route") {
			t.Errorf("Verify() without a route = %v, want an error that says so", err)
		}
	})
	n = newNetwork(t)
	n.in(t, n.pod, func() {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), DefaultOutboundPort).String())
		must(t, err)
		defer l.Close()
		if err := Verify(t.Context(), o); !errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, ErrNotRedirected) {
			t.Errorf("Verify() beside a sidecar = %v, want EADDRINUSE", err)
		}
	})
}

func TestPresent(t *testing.T) {
	n := newNetwork(t)
	look := func(ns netns.NsHandle, want bool) {
		t.Helper()
		n.in(t, ns, func() {
			if got, err := Present(); err != nil || got != want {
				t.Errorf("Present() = %t, %v, want %t", got, err, want)
			}
		})
	}
	look(n.pod, false)
	o, err := ParseFlags(nil)
	must(t, err)
	n.in(t, n.pod, func() { must(t, applyOptions(o)) })
	look(n.pod, true)
	look(n.peer, false)
}

func TestParseFlags(t *testing.T) {
	tests := []struct {
		name  string
		flags []string
		want  string // part of the error
	}{
		{"none", nil, ""},
		{"all", []string{
			"--uid=1000", "--no-dns", "--include-inbound-ports=80,8000-8010", "--exclude-inbound-ports", "22",
			"--include-outbound-ports=443", "--exclude-outbound-ports=25", "--include-outbound-cidrs=10.0.0.0/8,fd00::/8",
			"--exclude-outbound-cidrs=10.1.2.3", "--exclude-interfaces=net1,net2",
		}, ""},
		{"port", []string{"--exclude-inbound-ports=http"}, `--exclude-inbound-ports: "http" is no port`},
		{"range", []string{"--exclude-inbound-ports=90-80"}, `"90-80" is no port or range`},
		{"cidr", []string{"--include-outbound-cidrs=10.0.0.0/33"}, `--include-outbound-cidrs: "10.0.0.0/33" is no CIDR`},
		{"command_and_not_an_option", []string{"--remove"}, "flag provided but not defined: -remove"},
		{"no_flag", []string{"all"}, `"all" is no flag`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseFlags(tt.flags)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseFlags(%q) = %v, want %q", tt.flags, err, tt.want)
			}
		})
	}
}
