package redirect

import (
	"fmt"
	"net/netip"
	"strings"
)

// Table is the name of the table, in family inet.
const Table = "fairlead"

// The priorities of the chains: before any other raw rule's conntrack, and where destinations are translated. Written
// as numbers because nft 1.0.6 does not take the name dstnat in the output hook.
const (
	priorityRaw = -300
	priorityNAT = -100
)

// Ruleset is a table as a value.
type Ruleset struct {
	Sets   []Set
	Chains []Chain
}

// SetKind says what a set holds.
type SetKind uint8

// The kinds. The zero value is invalid.
const (
	Ports SetKind = iota + 1
	Addresses4
	Addresses6
)

// Set is a named set of ranges, none of which overlap.
type Set struct {
	Name string
	Kind SetKind
	// Ports are the elements of kind Ports, Prefixes those of the other kinds.
	Ports    []PortRange
	Prefixes []netip.Prefix
}

// ChainType is the type of a base chain.
type ChainType uint8

// The types. The zero value is invalid.
const (
	NAT ChainType = iota + 1
	Filter
)

// Hook is where packets meet a base chain.
type Hook uint8

// The hooks. The zero value is invalid.
const (
	Prerouting Hook = iota + 1
	Output
)

// Chain is a base chain. Its policy is accept.
type Chain struct {
	Name     string
	Type     ChainType
	Hook     Hook
	Priority int
	Rules    []Rule
}

// Rule applies its action to packets that all matches fit.
type Rule struct {
	Action  Action
	Matches []Match
}

// Field is what a Match looks at.
type Field uint8

// The fields. The zero value is invalid.
const (
	InInterface Field = iota + 1
	OutInterface
	TCP // the packet is TCP
	TCPDestination
	UDPDestination
	UDPSource
	Source4
	Source6
	Destination4
	Destination6
	SocketUID
	SocketGID
	PacketMark
)

// Match compares one field. Exactly one of Text, Number, Prefix and Set is used; none with field TCP.
type Match struct {
	Field  Field
	Not    bool
	Text   string
	Number uint32
	Prefix netip.Prefix
	Set    string
}

// ActionKind is what a rule does.
type ActionKind uint8

// The actions. The zero value is invalid.
const (
	// Return leaves the packet alone.
	Return ActionKind = iota + 1
	// Redirect sends the connection to Port on this machine.
	Redirect
	// SetZone tracks the packet in conntrack zone Zone, and ends the chain where Return is set.
	SetZone
)

// Action is what a rule does, with its argument.
type Action struct {
	Kind   ActionKind
	Port   uint16
	Zone   uint16
	Return bool
}

// String gives the rules in the syntax of nft -f: as a file it replaces the table, like Apply.
func (r Ruleset) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s\ndelete table inet %s\ntable inet %s {\n", Table, Table, Table)
	for _, s := range r.Sets {
		fmt.Fprintf(&b, "  set %s { type %s; flags interval; elements = { %s }; }\n", s.Name, s.Kind.nft(), s.elements())
	}
	for _, c := range r.Chains {
		fmt.Fprintf(&b, "  chain %s {\n    type %s hook %s priority %d; policy accept;\n", c.Name, c.Type.nft(), c.Hook.nft(), c.Priority)
		for _, rule := range c.Rules {
			fmt.Fprintf(&b, "    %s\n", rule)
		}
		b.WriteString("  }\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// String gives the rule in nft's syntax.
func (r Rule) String() string {
	parts := make([]string, 0, len(r.Matches)+1)
	for _, m := range r.Matches {
		parts = append(parts, m.String())
	}
	return strings.Join(append(parts, "counter "+r.Action.String()), " ")
}

// String gives the action in nft's syntax.
func (a Action) String() string {
	switch a.Kind {
	case Return:
		return "return"
	case Redirect:
		return fmt.Sprintf("redirect to :%d", a.Port)
	case SetZone:
		if a.Return {
			return fmt.Sprintf("ct zone set %d return", a.Zone)
		}
		return fmt.Sprintf("ct zone set %d", a.Zone)
	}
	return "unset"
}

// String gives the match in nft's syntax.
func (m Match) String() string {
	s := m.Field.nft()
	if m.Field == TCP {
		return s
	}
	if m.Not {
		s += " !="
	}
	switch {
	case m.Set != "":
		return s + " @" + m.Set
	case m.Prefix.IsValid() && m.Prefix.IsSingleIP():
		return s + " " + m.Prefix.Addr().String()
	case m.Prefix.IsValid():
		return s + " " + m.Prefix.String()
	case m.Text != "":
		return fmt.Sprintf("%s %q", s, m.Text)
	case m.Field == PacketMark:
		return fmt.Sprintf("%s %#x", s, m.Number)
	}
	return fmt.Sprintf("%s %d", s, m.Number)
}

func (f Field) nft() string {
	switch f {
	case InInterface:
		return "iifname"
	case OutInterface:
		return "oifname"
	case TCP:
		return "meta l4proto tcp"
	case TCPDestination:
		return "tcp dport"
	case UDPDestination:
		return "udp dport"
	case UDPSource:
		return "udp sport"
	case Source4:
		return "ip saddr"
	case Source6:
		return "ip6 saddr"
	case Destination4:
		return "ip daddr"
	case Destination6:
		return "ip6 daddr"
	case SocketUID:
		return "meta skuid"
	case SocketGID:
		return "meta skgid"
	case PacketMark:
		return "meta mark"
	}
	return "unset"
}

func (k SetKind) nft() string {
	switch k {
	case Ports:
		return "inet_service"
	case Addresses4:
		return "ipv4_addr"
	case Addresses6:
		return "ipv6_addr"
	}
	return "unset"
}

func (t ChainType) nft() string {
	switch t {
	case NAT:
		return "nat"
	case Filter:
		return "filter"
	}
	return "unset"
}

func (h Hook) nft() string {
	switch h {
	case Prerouting:
		return "prerouting"
	case Output:
		return "output"
	}
	return "unset"
}

func (s Set) elements() string {
	var parts []string
	for _, p := range s.Ports {
		parts = append(parts, p.String())
	}
	for _, p := range s.Prefixes {
		parts = append(parts, p.String())
	}
	return strings.Join(parts, ", ")
}
