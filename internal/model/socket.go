package model

import (
	"net/netip"
	"strings"
)

// Endpoints are told apart by their addresses. That of a Unix socket is the unspecified address of IPv6 with the path in the place
// of a zone, and port 0; no zone of an interface begins as a path does.

// maxSocketPath is the longest path of a Unix socket, as Linux takes it (sun_path in unix(7), with the zero at its end).
const maxSocketPath = 107

// IsSocketPath reports whether a text can be the path of a Unix socket: absolute, or beginning with "@" for one in Linux's
// abstract namespace, of visible ASCII without quotes and backslashes.
func IsSocketPath(path string) bool {
	if len(path) < 2 || len(path) > maxSocketPath || path[0] != '/' && path[0] != '@' || path[0] == '/' && strings.HasSuffix(path, "/") {
		return false
	}
	return strings.IndexFunc(path, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' }) < 0
}

// SocketAddr gives the address of a Unix socket with a path for which IsSocketPath is true.
func SocketAddr(path string) netip.AddrPort {
	return netip.AddrPortFrom(netip.IPv6Unspecified().WithZone(path), 0)
}

// SocketPath gives the path of a SocketAddr, empty for any other address.
func SocketPath(a netip.Addr) string {
	if zone := a.Zone(); zone != "" && (zone[0] == '/' || zone[0] == '@') {
		return zone
	}
	return ""
}

// AppendAddr appends an address, that of a Unix socket as its path, as Envoy prints it.
func AppendAddr(b []byte, a netip.AddrPort) []byte {
	if path := SocketPath(a.Addr()); path != "" {
		return append(b, path...)
	}
	return a.AppendTo(b)
}
