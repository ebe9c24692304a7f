package model

import (
	"net/netip"
	"strconv"
	"strings"
)

// What a rule writes into a message has to be something that a codec can send. The codecs check once more, but then the
// request has already failed.

// SendablePath reports whether a request target may hold text (RFC 9112 §3.2): no blank, no control character, no
// fragment. Bytes above ASCII are let through, as clients send them.
func SendablePath(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c == 0x7f || c == '#' {
			return false
		}
	}
	return true
}

// SendableAuthority reports whether text is a host with or without a port (RFC 3986 §3.2.2, §3.2.3).
func SendableAuthority(text string) bool {
	host, port, ported := cutPort(text)
	if ported {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && addr.Is6() && strings.HasSuffix(host, "]")
	}
	for i := range len(host) {
		if c := host[i]; !isRegName(c) {
			return false
		}
	}
	return host != ""
}

// cutPort splits off what stands behind the last colon that is outside of brackets.
func cutPort(text string) (host, port string, ok bool) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 || i < strings.LastIndexByte(text, ']') {
		return text, "", false
	}
	return text[:i], text[i+1:], true
}

// isRegName reports whether c may stand in a registered name: unreserved, sub-delims and percent-encodings.
func isRegName(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~!$&'()*+,;=%", c) >= 0
}
