package redirect

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
)

// The ports of the sidecar, those of Istio's.
const (
	DefaultOutboundPort = 15001
	DefaultInboundPort  = 15006
	DefaultMeshPort     = 15008
	DefaultDNSPort      = 15053
)

// DefaultUser is the user and group ID that the sidecar runs as.
const DefaultUser = 1337

const dnsPort = 53

// The conntrack zones of UDP port 53.
const (
	zoneUpstream = 1
	zoneApp      = 2
)

// InboundCapture says which inbound connections are captured.
type InboundCapture uint8

// The captures. The zero value is CaptureAll.
const (
	// CaptureAll takes every TCP port, or those of IncludeInboundPorts where there are any.
	CaptureAll InboundCapture = iota
	// CaptureNone leaves inbound connections alone.
	CaptureNone
)

// PortRange is a range of ports, both ends included.
type PortRange struct{ From, To uint16 }

// Port is the range of a single port.
func Port(p uint16) PortRange { return PortRange{p, p} }

// String gives "80" or "80-90".
func (r PortRange) String() string {
	if r.From == r.To {
		return strconv.Itoa(int(r.From))
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}

// Options say what is captured. At least one of ProxyUID, ProxyGID and Mark must be set.
type Options struct {
	// ProxyUID, ProxyGID and Mark tell the proxy's own packets: sockets of that user or group, packets with that mark
	// (SO_MARK). 0 means not used. Where only one user ID exists, as in a user namespace, only the mark works.
	ProxyUID, ProxyGID, Mark uint32
	// InboundPort, OutboundPort, DNSPort and MeshPort are the proxy's. 0 means the default.
	InboundPort, OutboundPort, DNSPort, MeshPort uint16
	// CaptureDNS takes port 53, UDP and TCP.
	CaptureDNS bool

	Inbound InboundCapture
	// IncludeInboundPorts, where not empty, are the only inbound ports that are captured.
	IncludeInboundPorts []PortRange
	ExcludeInboundPorts []PortRange

	ExcludeOutboundPorts []PortRange
	ExcludeOutboundCIDRs []netip.Prefix
	// IncludeOutboundCIDRs, where not empty, are the only destinations that are captured.
	IncludeOutboundCIDRs []netip.Prefix
	// IncludeOutboundPorts are captured whatever IncludeOutboundCIDRs says.
	IncludeOutboundPorts []PortRange
	// ExcludeInterfaces are left alone in both directions, such as a second network of the pod.
	ExcludeInterfaces []string
}

// Names of the sets.
const (
	setInExclude    = "in_excl_ports"
	setInInclude    = "in_incl_ports"
	setOutExclude   = "out_excl_ports"
	setOutInclude   = "out_incl_ports"
	setOutExclude4  = "out_excl_v4"
	setOutExclude6  = "out_excl_v6"
	setOutInclude4  = "out_incl_v4"
	setOutInclude6  = "out_incl_v6"
	loopback        = "lo"
	maxInterface    = 15 // IFNAMSIZ less the final zero
	maxSetPorts     = 1024
	maxSetAddresses = 4096
)

// Plan says which rules o means.
func Plan(o Options) (Ruleset, error) {
	o.InboundPort = cmp.Or(o.InboundPort, DefaultInboundPort)
	o.OutboundPort = cmp.Or(o.OutboundPort, DefaultOutboundPort)
	o.DNSPort = cmp.Or(o.DNSPort, DefaultDNSPort)
	o.MeshPort = cmp.Or(o.MeshPort, DefaultMeshPort)
	if err := o.validate(); err != nil {
		return Ruleset{}, fmt.Errorf("redirect: %w", err)
	}
	p := planner{o: o}
	p.addPorts(setInExclude, o.ExcludeInboundPorts)
	p.addPorts(setInInclude, o.IncludeInboundPorts)
	p.addPorts(setOutExclude, o.ExcludeOutboundPorts)
	p.addPorts(setOutInclude, o.IncludeOutboundPorts)
	p.addPrefixes(setOutExclude4, setOutExclude6, o.ExcludeOutboundCIDRs)
	p.addPrefixes(setOutInclude4, setOutInclude6, o.IncludeOutboundCIDRs)
	p.rules.Chains = []Chain{
		{Name: "prerouting", Type: NAT, Hook: Prerouting, Priority: priorityNAT, Rules: p.inbound()},
		{Name: "output", Type: NAT, Hook: Output, Priority: priorityNAT, Rules: p.outbound()},
	}
	if o.CaptureDNS {
		p.rules.Chains = append(
			p.rules.Chains,
			Chain{Name: "rawout", Type: Filter, Hook: Output, Priority: priorityRaw, Rules: p.zonesOut()},
			Chain{Name: "rawpre", Type: Filter, Hook: Prerouting, Priority: priorityRaw, Rules: p.zonesIn()},
		)
	}
	return p.rules, nil
}

func (o *Options) validate() error {
	if o.ProxyUID == 0 && o.ProxyGID == 0 && o.Mark == 0 {
		return errors.New("none of ProxyUID, ProxyGID and Mark is set: the proxy's own connections would be captured")
	}
	for _, l := range []struct {
		name  string
		ports []PortRange
	}{
		{"IncludeInboundPorts", o.IncludeInboundPorts},
		{"ExcludeInboundPorts", o.ExcludeInboundPorts},
		{"IncludeOutboundPorts", o.IncludeOutboundPorts},
		{"ExcludeOutboundPorts", o.ExcludeOutboundPorts},
	} {
		if len(l.ports) > maxSetPorts {
			return fmt.Errorf("%s: %d entries, more than %d", l.name, len(l.ports), maxSetPorts)
		}
		for _, r := range l.ports {
			if r.From == 0 || r.To < r.From {
				return fmt.Errorf("%s: %s is not a range of ports", l.name, r)
			}
		}
	}
	for _, l := range []struct {
		name     string
		prefixes []netip.Prefix
	}{
		{"IncludeOutboundCIDRs", o.IncludeOutboundCIDRs},
		{"ExcludeOutboundCIDRs", o.ExcludeOutboundCIDRs},
	} {
		if len(l.prefixes) > maxSetAddresses {
			return fmt.Errorf("%s: %d entries, more than %d", l.name, len(l.prefixes), maxSetAddresses)
		}
		for _, p := range l.prefixes {
			if !p.IsValid() || p.Addr().Is4In6() {
				return fmt.Errorf("%s: %s is not an IPv4 or IPv6 prefix", l.name, p)
			}
		}
	}
	for _, name := range o.ExcludeInterfaces {
		if name == "" || len(name) > maxInterface || name == loopback {
			return fmt.Errorf("ExcludeInterfaces: %q is not the name of a network interface", name)
		}
	}
	return nil
}

// planner builds the rules of one set of options.
type planner struct {
	o     Options
	rules Ruleset
}

func (p *planner) addPorts(name string, ports []PortRange) {
	if ports = mergePorts(ports); len(ports) > 0 {
		p.rules.Sets = append(p.rules.Sets, Set{Name: name, Kind: Ports, Ports: ports})
	}
}

func (p *planner) addPrefixes(name4, name6 string, prefixes []netip.Prefix) {
	var v4, v6 []netip.Prefix
	for _, x := range outermost(prefixes) {
		if x.Addr().Is4() {
			v4 = append(v4, x)
		} else {
			v6 = append(v6, x)
		}
	}
	if len(v4) > 0 {
		p.rules.Sets = append(p.rules.Sets, Set{Name: name4, Kind: Addresses4, Prefixes: v4})
	}
	if len(v6) > 0 {
		p.rules.Sets = append(p.rules.Sets, Set{Name: name6, Kind: Addresses6, Prefixes: v6})
	}
}

func (p *planner) has(set string) bool {
	return slices.ContainsFunc(p.rules.Sets, func(s Set) bool { return s.Name == set })
}

// owners are the ways to tell the proxy's own packets.
func (p *planner) owners() []Match {
	var m []Match
	for _, x := range []struct {
		field Field
		value uint32
	}{{SocketUID, p.o.ProxyUID}, {SocketGID, p.o.ProxyGID}, {PacketMark, p.o.Mark}} {
		if x.value != 0 {
			m = append(m, Match{Field: x.field, Number: x.value})
		}
	}
	return m
}

func (p *planner) inbound() []Rule {
	if p.o.Inbound == CaptureNone {
		return nil
	}
	rules := []Rule{rule(doReturn(), is(InInterface, loopback))}
	for _, name := range p.o.ExcludeInterfaces {
		rules = append(rules, rule(doReturn(), is(InInterface, name)))
	}
	rules = append(rules, rule(doReturn(), port(TCPDestination, p.o.MeshPort)))
	if p.has(setInExclude) {
		rules = append(rules, rule(doReturn(), in(TCPDestination, setInExclude)))
	}
	return append(rules, rule(redirectTo(p.o.InboundPort), p.inboundPorts()))
}

// inboundPorts matches what is captured after the exclusions.
func (p *planner) inboundPorts() Match {
	if p.has(setInInclude) {
		return in(TCPDestination, setInInclude)
	}
	return Match{Field: TCP}
}

func (p *planner) outbound() []Rule {
	rules := []Rule{
		// The leg from the sidecar to its own app.
		rule(doReturn(), is(OutInterface, loopback), from("127.0.0.6/32")),
		rule(doReturn(), is(OutInterface, loopback), from("::6/128")),
	}
	for _, owner := range p.owners() {
		if p.o.Inbound != CaptureNone {
			rules = append(rules, p.hairpin(owner, notTo("127.0.0.0/8")), p.hairpin(owner, notTo("::1/128")))
		}
	}
	for _, owner := range p.owners() {
		rules = append(rules, rule(doReturn(), owner))
	}
	for _, name := range p.o.ExcludeInterfaces {
		rules = append(rules, rule(doReturn(), is(OutInterface, name)))
	}
	if p.o.CaptureDNS {
		// Before the rule for loopback: a local resolver such as 127.0.0.53 is captured too.
		rules = append(
			rules,
			rule(redirectTo(p.o.DNSPort), port(UDPDestination, dnsPort)),
			rule(redirectTo(p.o.DNSPort), port(TCPDestination, dnsPort)),
		)
	}
	rules = append(rules, rule(doReturn(), is(OutInterface, loopback)))
	for _, x := range []struct {
		field Field
		set   string
	}{{TCPDestination, setOutExclude}, {Destination4, setOutExclude4}, {Destination6, setOutExclude6}} {
		if p.has(x.set) {
			rules = append(rules, rule(doReturn(), in(x.field, x.set)))
		}
	}
	return append(rules, p.captureOutbound()...)
}

// hairpin captures what the proxy sends to its own pod's address: an app that called its own Service. It is inbound
// traffic like any other, except that it never leaves the pod.
func (p *planner) hairpin(owner, away Match) Rule {
	m := []Match{is(OutInterface, loopback), owner, away}
	for _, not := range []uint16{dnsPort, p.o.MeshPort} {
		m = append(m, Match{Field: TCPDestination, Not: true, Number: uint32(not)})
	}
	if p.has(setInExclude) {
		m = append(m, Match{Field: TCPDestination, Not: true, Set: setInExclude})
	}
	if p.has(setInInclude) {
		m = append(m, in(TCPDestination, setInInclude))
	}
	return rule(redirectTo(p.o.InboundPort), m...)
}

func (p *planner) captureOutbound() []Rule {
	to := redirectTo(p.o.OutboundPort)
	if len(p.o.IncludeOutboundCIDRs) == 0 {
		return []Rule{rule(to, Match{Field: TCP})}
	}
	var rules []Rule
	if p.has(setOutInclude) {
		rules = append(rules, rule(to, in(TCPDestination, setOutInclude)))
	}
	if p.has(setOutInclude4) {
		rules = append(rules, rule(to, in(Destination4, setOutInclude4), Match{Field: TCP}))
	}
	if p.has(setOutInclude6) {
		rules = append(rules, rule(to, in(Destination6, setOutInclude6), Match{Field: TCP}))
	}
	return rules
}

// zonesOut puts the proxy's queries into one zone, and the app's queries with the proxy's answers into another. Each packet of the
// pod comes by here, those of TCP too: a rule asks for the port first, which ends it at the protocol of nearly all of them.
func (p *planner) zonesOut() []Rule {
	var rules []Rule
	for _, owner := range p.owners() {
		rules = append(rules, Rule{Action{Kind: SetZone, Zone: zoneUpstream, Return: true}, []Match{port(UDPDestination, dnsPort), owner}})
	}
	return append(
		rules,
		Rule{
			Action{Kind: SetZone, Zone: zoneApp, Return: true},
			[]Match{port(UDPSource, p.o.DNSPort), is(OutInterface, loopback)},
		},
		Rule{Action{Kind: SetZone, Zone: zoneApp}, []Match{port(UDPDestination, dnsPort)}},
	)
}

// zonesIn puts the upstream's answers into the zone of the proxy's queries.
func (p *planner) zonesIn() []Rule {
	return []Rule{{
		Action{Kind: SetZone, Zone: zoneUpstream},
		[]Match{port(UDPSource, dnsPort), {Field: InInterface, Not: true, Text: loopback}},
	}}
}

func rule(a Action, m ...Match) Rule { return Rule{Action: a, Matches: m} }

func doReturn() Action              { return Action{Kind: Return} }
func redirectTo(port uint16) Action { return Action{Kind: Redirect, Port: port} }

func is(f Field, name string) Match { return Match{Field: f, Text: name} }
func port(f Field, p uint16) Match  { return Match{Field: f, Number: uint32(p)} }
func in(f Field, set string) Match  { return Match{Field: f, Set: set} }
func from(prefix string) Match      { return address(Source4, Source6, prefix) }
func notTo(prefix string) Match {
	m := address(Destination4, Destination6, prefix)
	m.Not = true
	return m
}

func address(v4, v6 Field, prefix string) Match {
	p := netip.MustParsePrefix(prefix)
	if p.Addr().Is4() {
		return Match{Field: v4, Prefix: p}
	}
	return Match{Field: v6, Prefix: p}
}

// mergePorts sorts ranges and joins those that overlap or touch: an interval set takes no overlaps.
func mergePorts(ranges []PortRange) []PortRange {
	sorted := slices.SortedFunc(slices.Values(ranges), func(a, b PortRange) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	var out []PortRange
	for _, r := range sorted {
		if n := len(out); n > 0 && int(r.From) <= int(out[n-1].To)+1 {
			out[n-1].To = max(out[n-1].To, r.To)
			continue
		}
		out = append(out, r)
	}
	return out
}

// outermost sorts prefixes and drops those inside another one.
func outermost(prefixes []netip.Prefix) []netip.Prefix {
	masked := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		masked = append(masked, p.Masked())
	}
	slices.SortFunc(masked, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var out []netip.Prefix
	for _, p := range masked {
		if n := len(out); n > 0 && out[n-1].Overlaps(p) {
			continue
		}
		out = append(out, p)
	}
	return out
}
