package plan

import (
	"net/netip"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/model"
)

// NameKind is what a name names. Metrics and statuses count by its text, which is a closed set.
type NameKind uint8

// The kinds of names. The zero value is a text that is none.
const (
	NameUnknown NameKind = iota
	NameDestination
	NamePod
	NameShard
	NameWorkload
	// NameAddress and NameHost are aliases of destinations: no resource is called so.
	NameAddress
	NameHost
	NameInbound
	NameDNS
	NameTrust
	NameMesh
	NameSeal
	// NameCredential and NameRoots are of Secrets: what is shown to servers, and what these are judged by.
	NameCredential
	NameRoots
	// NamePassage is a destination without routes: what a gateway between networks lets in.
	NamePassage
)

// String gives the first part of names of the kind. NameWorkload and NameAddress share theirs.
func (k NameKind) String() string {
	switch k {
	case NameDestination:
		return "dst"
	case NamePod:
		return "pod"
	case NameShard:
		return "eps"
	case NameWorkload, NameAddress:
		return "ip"
	case NameHost:
		return "host"
	case NameInbound:
		return "in"
	case NameDNS:
		return "dns"
	case NameTrust:
		return "trust"
	case NameMesh:
		return "mesh"
	case NameSeal:
		return "seal"
	case NameCredential:
		return "cred"
	case NameRoots:
		return "roots"
	case NamePassage:
		return "pass"
	case NameUnknown:
	}
	return "other"
}

// KindOf tells the kind of a name by its beginning, without looking at the rest. It allocates nothing.
func KindOf(name string) NameKind {
	first, rest, _ := strings.Cut(name, "/")
	switch first {
	case "dst":
		return NameDestination
	case "pod":
		return NamePod
	case "eps":
		return NameShard
	case "ip":
		if _, err := netip.ParseAddr(rest); err == nil || strings.Contains(rest, "/") {
			return NameWorkload
		}
		return NameAddress
	case "host":
		return NameHost
	case "in":
		return NameInbound
	case "dns":
		return NameDNS
	case "trust":
		return NameTrust
	case "mesh":
		return NameMesh
	case "seal":
		return NameSeal
	case "cred":
		return NameCredential
	case "roots":
		return NameRoots
	case "pass":
		return NamePassage
	}
	return NameUnknown
}

// ShardSource says where the endpoints of a shard come from.
type ShardSource uint8

// The sources. The zero value belongs to names that are not a shard's.
const (
	// FromSlice is an EndpointSlice in the namespace of the service behind the host.
	FromSlice ShardSource = iota + 1
	// FromStatic is the endpoints written in a ServiceEntry.
	FromStatic
	// FromWorkloads is the pods that a ServiceEntry's workloadSelector picks.
	FromWorkloads
	// FromPod is the one workload at an address that was dialled.
	FromPod
)

// String gives the word in the shard's name.
func (s ShardSource) String() string {
	switch s {
	case FromSlice:
		return "slice"
	case FromStatic:
		return "static"
	case FromWorkloads:
		return "workloads"
	case FromPod:
		return "pod"
	}
	return "invalid"
}

// Name is the name of a resource, or an alias of one, taken apart. The package comment has the forms; which fields a kind
// uses can be read off String.
type Name struct {
	Kind NameKind
	// Namespace is the owner's: of the service, of the ServiceEntry whose endpoints a shard has, of the pod.
	Namespace string
	// At is what is called.
	At HostPort
	// IP is the address of a NameWorkload.
	IP netip.Addr
	// Host is the question of a NameDNS, and whose tokens a NameSeal is for.
	Host model.Hostname
	// Pod is that of a NameInbound.
	Pod string
	// Secret is that of a NameCredential or NameRoots, in Namespace.
	Secret string
	// Source, Slice and Part say which endpoints a shard has. Slice is set for FromSlice, Part counts from 1.
	Source ShardSource
	Slice  string
	Part   int
	// Cluster is where pod or slice are, Network where the address is; empty for the control plane's own.
	Cluster, Network string
	// Client is the namespace that sees the resource otherwise than all others, empty for what all others see.
	Client string
	// Selected is the name of the DestinationRule of that namespace whose workloadSelector the clients are that see a shard
	// otherwise than the rest of the namespace; empty for the rest.
	Selected string
}

// variantMark precedes the client's namespace, selectedMark the rule that selects the clients.
const (
	variantMark  = "?ns="
	selectedMark = "&rule="
)

// String gives the canonical spelling.
func (n Name) String() string {
	first := n.Kind.String()
	switch n.Kind {
	case NameDestination:
		return n.variant(first + "/" + n.Namespace + "/" + n.At.String())
	case NamePod:
		return n.variant(first + "/" + within(n.Network, n.At.String()))
	case NameShard:
		return n.variant(first + "/" + n.At.String() + "/" + n.endpoints())
	case NameWorkload:
		return WorkloadName(n.Network, n.IP)
	case NameAddress, NameHost, NamePassage:
		return first + "/" + n.At.String()
	case NameInbound:
		return first + "/" + within(n.Cluster, n.Namespace+"/"+n.Pod)
	case NameDNS, NameSeal:
		return first + "/" + string(n.Host)
	case NameCredential, NameRoots:
		return first + "/" + n.Namespace + "/" + n.Secret
	case NameTrust, NameMesh:
		return first
	case NameUnknown:
	}
	return ""
}

// endpoints says which endpoints a shard has.
func (n Name) endpoints() string {
	s := n.Source.String()
	switch n.Source {
	case FromSlice:
		s += "/" + within(n.Cluster, n.Slice)
	case FromStatic, FromWorkloads:
		s += "/" + n.Namespace
	case FromPod:
		if n.Network != "" {
			s += "/" + n.Network
		}
	}
	if n.Part > 1 {
		s += "#" + strconv.Itoa(n.Part)
	}
	return s
}

// Destination names what callers hold that have a shard: its host, and the namespace of the ServiceEntry that defines it; empty for
// what is no shard of a host.
func (n Name) Destination() string {
	switch {
	case n.Kind != NameShard || n.Source == FromPod:
		return ""
	case n.Namespace == "":
		return string(n.At.Host)
	}
	return n.Namespace + "/" + string(n.At.Host)
}

func (n Name) variant(name string) string {
	if n.Client == "" {
		return name
	}
	name += variantMark + n.Client
	if n.Selected != "" {
		name += selectedMark + n.Selected
	}
	return name
}

// within says that what is named is in another cluster or network than the control plane.
func within(where, what string) string {
	if where == "" {
		return what
	}
	return where + "/" + what
}

// WorkloadName is the name of what runs at an address; network is empty for the control plane's own.
func WorkloadName(network string, ip netip.Addr) string {
	return "ip/" + within(network, ip.Unmap().WithZone("").String())
}

// AddressName is the alias of the destination that an app dialled.
func AddressName(at netip.AddrPort) string { return "ip/" + at.String() }

// PassageName is the name of what a gateway between networks lets in for a host and port.
func PassageName(at HostPort) string { return Name{Kind: NamePassage, At: at}.String() }

// DialledAddress is the reverse of AddressName, as text; any other name is given back as it is.
func DialledAddress(name string) string { return strings.TrimPrefix(name, "ip/") }

// DNSQuestion is the name of the answer to a question.
func DNSQuestion(host model.Hostname) string { return "dns/" + string(host) }

// ParseName takes a name apart. Aliases, addresses and DNS names may be spelt in several ways (letter case, IPv4 in IPv6);
// of every other kind only what String gives is a name.
func ParseName(s string) (n Name, ok bool) {
	_, rest, more := strings.Cut(s, "/")
	switch n.Kind = KindOf(s); n.Kind {
	case NameTrust, NameMesh:
		return n, !more
	case NameDNS:
		n.Host = model.CanonicalHost(rest)
		return n, plain(string(n.Host))
	case NameSeal:
		n.Host = model.CanonicalHost(rest)
		ok = plain(string(n.Host))
	case NameHost:
		n.At, ok = ParseHostPort(rest)
		return n, ok
	case NamePassage:
		n.At, ok = ParseHostPort(rest)
	case NameAddress:
		n.At, ok = ParseHostPort(rest)
		if _, addr := n.At.AddrPort(); !addr {
			return n, false
		}
		return n, ok
	case NameWorkload:
		ok = parseWorkload(&n, rest)
		return n, ok
	case NameDestination, NamePod, NameShard:
		rest, n.Client, _ = strings.Cut(rest, variantMark)
		if n.Kind == NameShard {
			n.Client, n.Selected, _ = strings.Cut(n.Client, selectedMark)
		}
		ok = (n.Client == "" || plain(n.Client)) && (n.Selected == "" || plain(n.Selected)) && parseCalled(&n, rest)
	case NameInbound:
		n.Cluster, rest = outer(rest, 2)
		n.Namespace, n.Pod, _ = strings.Cut(rest, "/")
		ok = plain(n.Namespace) && plain(n.Pod)
	case NameCredential, NameRoots:
		n.Namespace, n.Secret, _ = strings.Cut(rest, "/")
		ok = plain(n.Namespace) && plain(n.Secret)
	case NameUnknown:
	}
	return n, ok && n.String() == s
}

func parseWorkload(n *Name, rest string) bool {
	n.Network, rest = outer(rest, 1)
	ip, err := netip.ParseAddr(rest)
	n.IP = ip.Unmap().WithZone("")
	return err == nil && (n.Network == "" || plain(n.Network))
}

// parseCalled reads the part of destinations and shards before the variant.
func parseCalled(n *Name, rest string) (ok bool) {
	if n.Kind == NameShard {
		at, source, _ := strings.Cut(rest, "/")
		n.At, ok = ParseHostPort(at)
		return ok && parseEndpoints(n, source)
	}
	if n.Kind == NamePod {
		n.Network, rest = outer(rest, 1)
		n.At, ok = ParseHostPort(rest)
		return ok && n.At.isAddress()
	}
	n.Namespace, rest, _ = strings.Cut(rest, "/")
	n.At, ok = ParseHostPort(rest)
	return ok && plain(n.Namespace)
}

// parseEndpoints reads what follows the host and port in the name of a shard.
func parseEndpoints(n *Name, s string) bool {
	s, part, parted := strings.Cut(s, "#")
	if n.Part = 1; parted {
		number, err := strconv.Atoi(part)
		if n.Part = number; err != nil || number < 2 {
			return false
		}
	}
	source, of, _ := strings.Cut(s, "/")
	switch source {
	case FromSlice.String():
		n.Source = FromSlice
		n.Cluster, n.Slice = outer(of, 1)
		return plain(n.Slice)
	case FromStatic.String():
		n.Source, n.Namespace = FromStatic, of
		return plain(of)
	case FromWorkloads.String():
		n.Source, n.Namespace = FromWorkloads, of
		return plain(of)
	case FromPod.String():
		n.Source, n.Network = FromPod, of
		return n.At.isAddress() && (of == "" || plain(of))
	}
	return false
}

// outer cuts the cluster or network off what has n parts without it.
func outer(s string, n int) (where, rest string) {
	if strings.Count(s, "/") < n {
		return "", s
	}
	if where, rest, _ = strings.Cut(s, "/"); where == "" {
		return "", s
	}
	return where, rest
}

// plain reports whether a text can be a part of a name: not empty, and without the marks between parts.
func plain(s string) bool { return s != "" && !strings.ContainsAny(s, "/?#&") }

// HostPort is a host and a port that can be called.
type HostPort struct {
	Host model.Hostname // an address too
	Port uint16
}

// String gives "host:port", an IPv6 address in brackets.
func (t HostPort) String() string {
	host := string(t.Host)
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(t.Port))
}

// HostPortOf gives an address as a host.
func HostPortOf(at netip.AddrPort) HostPort {
	return HostPort{Host: model.Hostname(at.Addr().String()), Port: at.Port()}
}

// ParseHostPort reads "host:port". The host comes back canonical.
func ParseHostPort(s string) (HostPort, bool) {
	i := strings.LastIndexByte(s, ':')
	if i <= 0 {
		return HostPort{}, false
	}
	port, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil || port == 0 {
		return HostPort{}, false
	}
	host := model.CanonicalHost(strings.TrimSuffix(strings.TrimPrefix(s[:i], "["), "]"))
	return HostPort{Host: host, Port: uint16(port)}, plain(string(host))
}

// isAddress reports whether the host is an address, in the spelling of HostPortOf.
func (t HostPort) isAddress() bool {
	at, ok := t.AddrPort()
	return ok && HostPortOf(at) == t
}

// AddrPort gives it as an address, where the host is one.
func (t HostPort) AddrPort() (netip.AddrPort, bool) {
	addr, err := netip.ParseAddr(string(t.Host))
	if err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr.Unmap().WithZone(""), t.Port), true
}
