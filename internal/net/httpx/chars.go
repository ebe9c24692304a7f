package httpx

import (
	"bytes"
	"encoding/binary"
)

// The rules for what stands in a head are the same for both codecs: what one takes, the other must be able to send.

// IsHostPort reports whether b is a host and a port, as CONNECT asks for (RFC 9110 §9.3.6).
func IsHostPort(b []byte) bool {
	colon := bytes.LastIndexByte(b, ':')
	return colon > 0 && colon < len(b)-1 && b[len(b)-1] != ']' && IsHost(b)
}

// IsTarget reports whether b can be a request target: no blank, no control character, no fragment. Bytes above
// ASCII are let through, as nginx and net/http do.
func IsTarget(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c == 0x7f || c == '#' {
			return false
		}
	}
	return len(b) > 0
}

// IsHexDigit reports whether c is a hexadecimal digit of either case.
func IsHexDigit(c byte) bool { return '0' <= c && c <= '9' || 'a' <= lower(c) && lower(c) <= 'f' }

// Unescape reads the percent-encoded byte (RFC 3986 §2.1) that b may begin with.
func Unescape(b []byte) (c byte, ok bool) {
	if len(b) < 3 || b[0] != '%' || !IsHexDigit(b[1]) || !IsHexDigit(b[2]) {
		return 0, false
	}
	return unhex(b[1])<<4 | unhex(b[2]), true
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return lower(c) - 'a' + 10
}

// IsText reports whether b has no control characters but tabs: what a field value may hold (RFC 9110 §5.5).
// Eight bytes at a time: values are most of a head.
func IsText(b []byte) bool {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	for len(b) >= 8 {
		x := binary.LittleEndian.Uint64(b)
		del := x ^ 0x7f*ones
		if ((x-' '*ones)&^x|(del-ones)&^del)&highs != 0 && !isShortText(b[:8]) {
			return false
		}
		b = b[8:]
	}
	return isShortText(b)
}

func isShortText(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// IsGRPC reports whether a content type is that of gRPC: "application/grpc", alone or with the format of its messages behind "+"
// (gRPC over HTTP/2, "Content-Type"). That of gRPC-Web, which only begins so, is not: its clients look for the status of a
// call in its body, and take none from a head or from trailers.
func IsGRPC(contentType []byte) bool {
	rest, ok := bytes.CutPrefix(contentType, []byte("application/grpc"))
	return ok && (len(rest) == 0 || rest[0] == '+' || rest[0] == ';')
}
