package redirect

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const proxyMark = 0x539

// mode is a way to tell the proxy's packets from the app's.
type mode struct {
	name string
	set  func(*Options)
	// become makes the sockets of the calling thread the proxy's.
	become  func() error
	control func(network, address string, c syscall.RawConn) error
}

// modes are those that this process can play: other users exist only where their IDs are mapped.
func modes(tb testing.TB) []mode {
	tb.Helper()
	m := []mode{{
		name:   "mark",
		set:    func(o *Options) { o.Mark = proxyMark },
		become: func() error { return nil },
		control: func(_, _ string, c syscall.RawConn) error {
			var sockErr error
			err := c.Control(func(fd uintptr) {
				sockErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, proxyMark)
			})
			return errors.Join(err, sockErr)
		},
	}}
	if !mapped(tb, "/proc/self/uid_map") || !mapped(tb, "/proc/self/gid_map") {
		return m
	}
	return append(
		m,
		mode{
			name:   "uid",
			set:    func(o *Options) { o.ProxyUID = DefaultUser },
			become: func() error { return unix.Setfsuid(DefaultUser) },
		},
		mode{
			name:   "gid",
			set:    func(o *Options) { o.ProxyGID = DefaultUser },
			become: func() error { return unix.Setfsgid(DefaultUser) },
		},
	)
}

// mapped reports whether ID 1337 exists in this user namespace.
func mapped(tb testing.TB, file string) bool {
	tb.Helper()
	b, err := os.ReadFile(file)
	must(tb, err)
	var inside, outside, count int64
	_, err = fmt.Sscan(string(b), &inside, &outside, &count)
	must(tb, err)
	return inside <= DefaultUser && DefaultUser < inside+count
}

// world is a network with servers; each answers with its name.
type world struct {
	*network
	mode mode
	wg   sync.WaitGroup
}

func newWorld(t *testing.T, m mode) *world {
	t.Helper()
	w := &world{network: newNetwork(t), mode: m}
	t.Cleanup(w.wg.Wait)
	for _, s := range []struct {
		name  string
		ns    netns.NsHandle
		proxy bool
		ports []int
	}{
		{name: "app", ns: w.pod, ports: []int{8080}},
		{name: "metrics", ns: w.pod, ports: []int{15020}, proxy: true},
		{name: "mesh", ns: w.pod, ports: []int{DefaultMeshPort}, proxy: true},
		{name: "outbound", ns: w.pod, ports: []int{DefaultOutboundPort}, proxy: true},
		{name: "inbound", ns: w.pod, ports: []int{DefaultInboundPort}, proxy: true},
		{name: "peer", ns: w.peer, ports: []int{80, 443, 9999}},
	} {
		for _, port := range s.ports {
			for _, host := range []string{"0.0.0.0", "::"} {
				w.serveTCP(t, s.ns, s.name, netip.AddrPortFrom(netip.MustParseAddr(host), uint16(port)), s.proxy)
			}
		}
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		at := netip.AddrPortFrom(netip.MustParseAddr(host), DefaultDNSPort)
		w.serveTCP(t, w.pod, "dns", at, true)
		w.serveUDP(t, w.pod, "dns", at, true)
	}
	for _, host := range []string{peerIP4, peerIP6} {
		at := netip.AddrPortFrom(netip.MustParseAddr(host), dnsPort)
		w.serveTCP(t, w.peer, "upstream", at, false)
		w.serveUDP(t, w.peer, "upstream", at, false)
	}
	return w
}

// as runs do in a namespace, as the proxy where proxy is set.
func (w *world) as(tb testing.TB, ns netns.NsHandle, proxy bool, do func(control func(string, string, syscall.RawConn) error)) {
	tb.Helper()
	w.in(tb, ns, func() {
		if !proxy {
			do(nil)
			return
		}
		if err := w.mode.become(); err != nil {
			tb.Error(err)
		}
		do(w.mode.control)
	})
}

func (w *world) serveTCP(t *testing.T, ns netns.NsHandle, name string, at netip.AddrPort, proxy bool) {
	t.Helper()
	var l net.Listener
	var err error
	w.as(t, ns, proxy, func(control func(string, string, syscall.RawConn) error) {
		lc := net.ListenConfig{Control: control}
		network := "tcp4"
		if at.Addr().Is6() {
			network = "tcp6"
		}
		l, err = lc.Listen(t.Context(), network, at.String())
	})
	must(t, err)
	w.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(c, name)
			c.Close()
		}
	})
	t.Cleanup(func() { l.Close() })
}

func (w *world) serveUDP(t *testing.T, ns netns.NsHandle, name string, at netip.AddrPort, proxy bool) {
	t.Helper()
	var p net.PacketConn
	var err error
	w.as(t, ns, proxy, func(control func(string, string, syscall.RawConn) error) {
		lc := net.ListenConfig{Control: control}
		p, err = lc.ListenPacket(t.Context(), "udp", at.String())
	})
	must(t, err)
	w.wg.Go(func() {
		buf := make([]byte, 64)
		for {
			_, from, err := p.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = p.WriteTo([]byte(name+"\n"), from) // a lost answer fails the test by its deadline
		}
	})
	t.Cleanup(func() { p.Close() })
}

// call connects and gives the name of who answered. source may be invalid.
type call struct {
	name, network string
	from          string // app, proxy, or peer
	source        string // local address, or ""
	to, want      string
}

func (w *world) ask(t *testing.T, c call) string {
	t.Helper()
	ns := w.pod
	if c.from == "peer" {
		ns = w.peer
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var conn net.Conn
	var err error
	w.as(t, ns, c.from == "proxy", func(control func(string, string, syscall.RawConn) error) {
		d := net.Dialer{Control: control}
		to := netip.MustParseAddrPort(c.to)
		var local netip.AddrPort
		if c.source != "" {
			local = netip.MustParseAddrPort(c.source)
		}
		if c.network == "udp" {
			conn, err = d.DialUDP(ctx, "udp", local, to)
		} else {
			conn, err = d.DialTCP(ctx, "tcp", local, to)
		}
	})
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	must(t, conn.SetDeadline(deadline))
	if c.network == "udp" {
		if _, err := conn.Write([]byte("?")); err != nil {
			return err.Error()
		}
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err.Error()
	}
	return strings.TrimSpace(line)
}

func (w *world) apply(t *testing.T, o Options) {
	t.Helper()
	w.mode.set(&o)
	r, err := Plan(o)
	must(t, err)
	w.in(t, w.pod, func() { err = Apply(r) })
	must(t, err)
}

func (w *world) check(t *testing.T, calls []call) {
	t.Helper()
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			if got := w.ask(t, c); got != c.want {
				t.Errorf("%s %s to %s is answered by %q, want %q", c.from, c.network, c.to, got, c.want)
			}
		})
	}
}

func TestTraffic(t *testing.T) {
	for _, m := range modes(t) {
		t.Run(m.name, func(t *testing.T) {
			w := newWorld(t, m)
			t.Run("everything", func(t *testing.T) {
				w.apply(t, Options{CaptureDNS: true, ExcludeInboundPorts: []PortRange{Port(15020)}})
				w.check(t, everything())
			})
			t.Run("exclusions", func(t *testing.T) {
				w.apply(t, Options{
					ExcludeInboundPorts:  []PortRange{{8000, 9000}},
					ExcludeOutboundPorts: []PortRange{Port(9999)},
					ExcludeOutboundCIDRs: prefixes("10.7.0.0/25", "10.7.0.128/25", "fd07::3/128"),
				})
				w.check(t, []call{
					{name: "excluded_network", from: "app", to: "10.7.0.3:80", want: "peer"},
					{name: "excluded_address_v6", from: "app", to: "[fd07::3]:80", want: "peer"},
					{name: "other_network", from: "app", to: "10.96.0.1:80", want: "outbound"},
					{name: "excluded_inbound_port", from: "peer", to: "10.7.0.2:8080", want: "app"},
					{name: "excluded_inbound_port_v6", from: "peer", to: "[fd07::2]:8080", want: "app"},
					{name: "excluded_inbound_port_of_the_own_service", from: "proxy", to: "10.7.0.2:8080", want: "app"},
					{name: "dns_is_not_captured", network: "udp", from: "app", to: "10.7.0.3:53", want: "upstream"},
				})
			})
			t.Run("excluded_port", func(t *testing.T) {
				w.apply(t, Options{ExcludeOutboundPorts: []PortRange{{9000, 65535}}})
				w.check(t, []call{
					{name: "excluded", from: "app", to: "10.7.0.3:9999", want: "peer"},
					{name: "excluded_v6", from: "app", to: "[fd07::3]:9999", want: "peer"},
					{name: "other", from: "app", to: "10.7.0.3:80", want: "outbound"},
				})
			})
			t.Run("inclusions", func(t *testing.T) {
				w.apply(t, Options{
					IncludeInboundPorts:  []PortRange{Port(80)},
					IncludeOutboundCIDRs: prefixes("10.96.0.0/12", "fd96::/16"),
					IncludeOutboundPorts: []PortRange{Port(443)},
				})
				w.check(t, []call{
					{name: "included_network", from: "app", to: "10.96.0.1:80", want: "outbound"},
					{name: "included_network_v6", from: "app", to: "[fd96::1]:80", want: "outbound"},
					{name: "other_network", from: "app", to: "10.7.0.3:80", want: "peer"},
					{name: "other_network_v6", from: "app", to: "[fd07::3]:80", want: "peer"},
					{name: "included_port", from: "app", to: "10.7.0.3:443", want: "outbound"},
					{name: "included_inbound_port", from: "peer", to: "10.7.0.2:80", want: "inbound"},
					{name: "other_inbound_port", from: "peer", to: "10.7.0.2:8080", want: "app"},
					{name: "other_port_of_the_own_service", from: "proxy", to: "10.7.0.2:8080", want: "app"},
				})
			})
			t.Run("every_address_excluded", func(t *testing.T) {
				w.apply(t, Options{ExcludeOutboundCIDRs: prefixes("0.0.0.0/0", "::/0")})
				w.check(t, []call{
					{name: "v4", from: "app", to: "10.7.0.3:80", want: "peer"},
					{name: "v6", from: "app", to: "[fd07::3]:80", want: "peer"},
				})
			})
			t.Run("interface", func(t *testing.T) {
				w.apply(t, Options{ExcludeInterfaces: []string{"eth0"}})
				w.check(t, []call{
					{name: "out", from: "app", to: "10.7.0.3:80", want: "peer"},
					{name: "in", from: "peer", to: "10.7.0.2:8080", want: "app"},
				})
			})
			t.Run("no_inbound", func(t *testing.T) {
				w.apply(t, Options{Inbound: CaptureNone})
				w.check(t, []call{
					{name: "in", from: "peer", to: "10.7.0.2:8080", want: "app"},
					{name: "out", from: "app", to: "10.7.0.3:80", want: "outbound"},
				})
			})
			t.Run("removed", func(t *testing.T) {
				for range 2 {
					var err error
					w.in(t, w.pod, func() { err = Remove() })
					must(t, err)
				}
				w.check(t, []call{
					{name: "out", from: "app", to: "10.7.0.3:80", want: "peer"},
					{name: "in", from: "peer", to: "10.7.0.2:8080", want: "app"},
				})
			})
		})
	}
}

// everything is what happens when all is captured, for both families.
func everything() []call {
	var out []call
	for _, f := range []struct{ name, pod, peer, vip, lo, app, resolver string }{
		{"v4", podIP4, peerIP4, "10.96.0.1", "127.0.0.1", "127.0.0.6", "127.0.0.53"},
		{"v6", podIP6, peerIP6, "fd96::1", "::1", "::6", "::1"},
	} {
		at := net.JoinHostPort
		calls := []call{
			{name: "outbound", from: "app", to: at(f.peer, "80"), want: "outbound"},
			{name: "outbound_to_a_service", from: "app", to: at(f.vip, "80"), want: "outbound"},
			{name: "outbound_mesh_port", from: "app", to: at(f.peer, "15008"), want: "outbound"},
			{name: "proxy_to_the_peer", from: "proxy", to: at(f.peer, "80"), want: "peer"},
			{name: "inbound", from: "peer", to: at(f.pod, "8080"), want: "inbound"},
			{name: "inbound_port_nobody_has", from: "peer", to: at(f.pod, "81"), want: "inbound"},
			{name: "inbound_mesh", from: "peer", to: at(f.pod, "15008"), want: "mesh"},
			{name: "inbound_excluded_port", from: "peer", to: at(f.pod, "15020"), want: "metrics"},
			{name: "proxy_to_its_app", from: "proxy", source: at(f.app, "0"), to: at(f.pod, "8080"), want: "app"},
			{name: "proxy_to_its_app_on_loopback", from: "proxy", to: at(f.lo, "8080"), want: "app"},
			{name: "own_service_after_the_proxy", from: "proxy", to: at(f.pod, "8080"), want: "inbound"},
			{name: "own_service_over_the_mesh_port", from: "proxy", to: at(f.pod, "15008"), want: "mesh"},
			{name: "own_service_excluded_port", from: "proxy", to: at(f.pod, "15020"), want: "metrics"},
			{name: "app_to_itself_on_loopback", from: "app", to: at(f.lo, "8080"), want: "app"},
			{name: "app_to_its_own_address", from: "app", to: at(f.pod, "8080"), want: "app"},
			{name: "dns_udp", network: "udp", from: "app", to: at(f.peer, "53"), want: "dns"},
			{name: "dns_udp_to_a_service", network: "udp", from: "app", to: at(f.vip, "53"), want: "dns"},
			{name: "dns_udp_to_a_local_resolver", network: "udp", from: "app", to: at(f.resolver, "53"), want: "dns"},
			{name: "dns_tcp", from: "app", to: at(f.peer, "53"), want: "dns"},
			{name: "dns_of_the_proxy_udp", network: "udp", from: "proxy", to: at(f.peer, "53"), want: "upstream"},
			{name: "dns_of_the_proxy_tcp", from: "proxy", to: at(f.peer, "53"), want: "upstream"},
			// The same two addresses and ports for two flows: only the conntrack zones tell them apart.
			{name: "dns_udp_from_port_40000", network: "udp", from: "app", source: at(f.pod, "40000"), to: at(f.peer, "53"), want: "dns"},
			{name: "dns_of_the_proxy_from_port_40000", network: "udp", from: "proxy", source: at(f.pod, "40000"), to: at(f.peer, "53"), want: "upstream"},
			{name: "dns_udp_from_port_40000_again", network: "udp", from: "app", source: at(f.pod, "40000"), to: at(f.peer, "53"), want: "dns"},
		}
		for _, c := range calls {
			c.name += "_" + f.name
			out = append(out, c)
		}
	}
	return out
}

func TestKernelHasThePlan(t *testing.T) {
	n := newNetwork(t)
	for _, tc := range []struct {
		name string
		o    Options
	}{
		{name: "least", o: Options{Mark: 1}},
		{name: "most", o: Options{
			ProxyUID: 1337, ProxyGID: 1337, Mark: 0x539, CaptureDNS: true,
			IncludeInboundPorts:  []PortRange{Port(80), {8000, 9000}},
			ExcludeInboundPorts:  []PortRange{Port(15020)},
			IncludeOutboundPorts: []PortRange{Port(443)},
			ExcludeOutboundPorts: []PortRange{{60000, 65535}},
			IncludeOutboundCIDRs: prefixes("10.96.0.0/12", "fd00::/8"),
			ExcludeOutboundCIDRs: prefixes("169.254.169.254/32", "255.0.0.0/8", "fe80::/10", "::1/128"),
			ExcludeInterfaces:    []string{"net1", "net2"},
		}},
		{name: "least_again", o: Options{Mark: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := Plan(tc.o)
			must(t, err)
			for range 2 { // applying is repeatable
				n.in(t, n.pod, func() { err = Apply(r) })
				must(t, err)
			}
			var got kernel
			n.in(t, n.pod, func() { got, err = readKernel() })
			must(t, err)
			if diff := cmp.Diff(planned(r), got); diff != "" {
				t.Errorf("kernel (-planned +listed):\n%s", diff)
			}
		})
	}
	t.Run("prepare_loopback_again", func(t *testing.T) {
		var err error
		n.in(t, n.pod, func() { err = PrepareLoopback() })
		must(t, err)
	})
}

// kernel is a table as the kernel lists it.
type kernel struct {
	Sets  map[string][]nftables.SetElement
	Rules map[string][][]expr.Any
}

func planned(r Ruleset) kernel {
	k := kernel{Sets: map[string][]nftables.SetElement{}, Rules: map[string][][]expr.Any{}}
	for _, s := range r.Sets {
		k.Sets[s.Name] = s.intervals()
	}
	for _, c := range r.Chains {
		for _, rule := range c.Rules {
			k.Rules[c.Name] = append(k.Rules[c.Name], rule.exprs(nil))
		}
	}
	return k
}

func readKernel() (kernel, error) {
	k := kernel{Sets: map[string][]nftables.SetElement{}, Rules: map[string][][]expr.Any{}}
	c, err := nftables.New()
	if err != nil {
		return k, err
	}
	sets, err := c.GetSets(table())
	if err != nil {
		return k, err
	}
	for _, s := range sets {
		elements, err := c.GetSetElements(s)
		if err != nil {
			return k, err
		}
		for _, e := range elements {
			k.Sets[s.Name] = append(k.Sets[s.Name], nftables.SetElement{Key: e.Key, IntervalEnd: e.IntervalEnd})
		}
		sortElements(k.Sets[s.Name])
	}
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return k, err
	}
	for _, ch := range chains {
		rules, err := c.GetRules(table(), ch)
		if err != nil {
			return k, err
		}
		for _, r := range rules {
			for _, e := range r.Exprs {
				switch e := e.(type) {
				case *expr.Lookup:
					e.SetID = 0 // a number of the transaction, not of the rule
				case *expr.Ct: // the library sends the source register, but does not read it back
					e.Register, e.SourceRegister = register, true
				}
			}
			k.Rules[ch.Name] = append(k.Rules[ch.Name], r.Exprs)
		}
	}
	return k, nil
}

// sortElements puts elements in the order of the plan: by key, an end before a beginning.
func sortElements(e []nftables.SetElement) {
	slices.SortFunc(e, func(a, b nftables.SetElement) int {
		if c := bytes.Compare(a.Key, b.Key); c != 0 || a.IntervalEnd == b.IntervalEnd {
			return c
		}
		if a.IntervalEnd {
			return -1
		}
		return 1
	})
}
