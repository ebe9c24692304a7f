package model

import "strings"

// ReservedHeader reports whether a header belongs to the proxy itself, which takes it out of a message and writes its
// own: the hop-by-hop fields (RFC 9110 §7.6.1) and those that frame the body (RFC 9112 §6). No rule can change one.
func ReservedHeader(name string) bool {
	switch strings.ToLower(name) {
	case "connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade":
		return true
	}
	return false
}
