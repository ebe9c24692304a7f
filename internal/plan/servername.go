package plan

import (
	"net/netip"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/model"
)

// ServerName is what a gateway between networks is asked for, by the server name of the client's TLS greeting: all that it sees
// of a call.
type ServerName struct {
	At HostPort
	// Subset is that of a DestinationRule, of the gateway's choosing which endpoint; empty for all.
	Subset string
	// Pod is the endpoint that the client has chosen itself, as Fairlead's sidecars do; invalid where the gateway chooses.
	Pod netip.Addr
}

// The forms are "outbound_.<port>_.<subset, if any>_.<host>", which is Istio's, and "pod_.<port>_.<address>_.<host>" with dashes
// in the address, as no label of a name can have its colons, and none of its dots would be told from the host's.
const (
	anyOfHost = "outbound_."
	podOfHost = "pod_."
)

// String gives the name as it is sent.
func (n ServerName) String() string {
	port := strconv.Itoa(int(n.At.Port))
	if n.Pod.IsValid() {
		dashed := strings.NewReplacer(".", "-", ":", "-").Replace(n.Pod.String())
		return podOfHost + port + "_." + dashed + "_." + string(n.At.Host)
	}
	return anyOfHost + port + "_." + n.Subset + "_." + string(n.At.Host)
}

// maxServerName bounds a name: that of a host (RFC 1035 §2.3.4) and what is before it.
const maxServerName = 253 + 128

// ParseServerName reads what String gives, and nothing else: ok is false for every other text. Case makes no difference, as in
// DNS.
func ParseServerName(s string) (n ServerName, ok bool) {
	if len(s) > maxServerName {
		return n, false
	}
	s = strings.ToLower(s)
	rest, isPod := strings.CutPrefix(s, podOfHost)
	if !isPod {
		if rest, ok = strings.CutPrefix(s, anyOfHost); !ok {
			return n, false
		}
	}
	port, rest, ok := strings.Cut(rest, "_.")
	if !ok {
		return n, false
	}
	which, host, ok := strings.Cut(rest, "_.") // a subset or a pod
	number, err := strconv.ParseUint(port, 10, 16)
	if !ok || err != nil || number == 0 {
		return n, false
	}
	n.At = HostPort{Host: model.CanonicalHost(host), Port: uint16(number)}
	if n.Subset = which; isPod {
		n.Subset = ""
		n.Pod, ok = undashed(which)
	}
	return n, ok && n.named() && n.String() == s
}

// named reports whether the parts can be what they are called.
func (n ServerName) named() bool {
	return plain(string(n.At.Host)) && !n.At.Host.Wildcard() && !strings.ContainsAny(string(n.At.Host), ":_ ") &&
		(n.Subset == "" || plain(n.Subset))
}

// undashed reads an address whose dots or colons are dashes.
func undashed(s string) (netip.Addr, bool) {
	if strings.ContainsAny(s, ".:") {
		return netip.Addr{}, false
	}
	if a, err := netip.ParseAddr(strings.ReplaceAll(s, "-", ".")); err == nil {
		return a, true
	}
	a, err := netip.ParseAddr(strings.ReplaceAll(s, "-", ":"))
	return a.Unmap(), err == nil && a.Zone() == ""
}
