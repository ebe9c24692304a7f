package istio

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
)

const (
	maxLabelLength = 63  // RFC 1123
	maxNameLength  = 253 // RFC 1035 §2.3.4, in text form
)

// isLabel reports whether s is one label of a DNS name in lower case (RFC 1123).
func isLabel(s string) bool {
	if s == "" || len(s) > maxLabelLength || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return onlyOf(s, isLowerAlphanumeric, "-")
}

// isHost reports whether s names one host. A last label of digits alone would be an address.
func isHost(s string) bool {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	if s == "" || len(s) > maxNameLength {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return false
		}
	}
	last := s[strings.LastIndexByte(s, '.')+1:]
	return !onlyOf(last, isDigit, "")
}

// isWildcardHost reports whether s is "*", a host, or a wildcard: for whole labels ("*.example.com") or the beginning of one
// ("*-v1.example.com", "*example.com"). Istio takes no others.
func isWildcardHost(s string) bool {
	rest, ok := strings.CutPrefix(s, "*")
	switch {
	case !ok:
		return isHost(s)
	case rest == "":
		return true
	}
	return isHost(strings.TrimPrefix(rest, rest[:1])) && (rest[0] == '.' || rest[0] == '-') || isHost(rest)
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// parsePrefix reads "10.0.0.0/8" or a single address.
func parsePrefix(s string) (netip.Prefix, bool) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	prefix, err := netip.ParsePrefix(s)
	return prefix.Masked(), err == nil
}

// isToken reports whether s can be a header name (RFC 9110 §5.6.2).
func isToken(s string) bool { return s != "" && onlyOf(s, isAlphanumeric, "!#$%&'*+-.^_`|~") }

// isLabelKey reports whether s can be the name of a Kubernetes label: a name of at most 63 characters, behind a domain and
// a slash where there is one.
func isLabelKey(s string) bool {
	domain, name, prefixed := strings.Cut(s, "/")
	if !prefixed {
		name = s
	}
	return name != "" && isLabelValue(name) && (!prefixed || isHost(domain))
}

// isLabelValue reports whether s can be the value of a Kubernetes label.
func isLabelValue(s string) bool {
	if s == "" {
		return true
	}
	return len(s) <= maxLabelLength && onlyOf(s, isAlphanumeric, "-_.") &&
		isAlphanumeric(s[0]) && isAlphanumeric(s[len(s)-1])
}

func onlyOf(s string, class func(byte) bool, extra string) bool {
	for i := range len(s) {
		if !class(s[i]) && strings.IndexByte(extra, s[i]) < 0 {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLowerAlphanumeric(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

func isAlphanumeric(c byte) bool { return isLowerAlphanumeric(c) || 'A' <= c && c <= 'Z' }

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// covers reports whether every name that b stands for is one that a stands for.
func covers(a, b model.Hostname) bool {
	return a == b || a.Wildcard() && a.Covers(b)
}

// qualify gives the best reading of a host that was written in an object of the report's namespace.
func (r *report) qualify(written string) model.Hostname {
	return model.HostCandidates(written, r.namespace, r.clusterDomain)[0]
}
