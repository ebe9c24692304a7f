package netio

import "bytes"

// Verdict is what the first bytes of a connection are.
type Verdict uint8

// The verdicts. The zero value is invalid.
const (
	// NeedMore: the bytes so far fit more than one protocol.
	NeedMore Verdict = iota + 1
	// HTTP1 is a request line of HTTP/1.0 or 1.1.
	HTTP1
	// HTTP2 is the connection preface (RFC 9113 §3.4).
	HTTP2
	// TLS is a handshake record that begins with a ClientHello.
	TLS
	// Opaque is anything else.
	Opaque
)

// String names the verdict.
func (v Verdict) String() string {
	switch v {
	case NeedMore:
		return "need more"
	case HTTP1:
		return "HTTP/1"
	case HTTP2:
		return "HTTP/2"
	case TLS:
		return "TLS"
	case Opaque:
		return "opaque"
	}
	return "unset"
}

const (
	http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	// maxMethod is longer than every registered method (UPDATEREDIRECTREF, 17).
	maxMethod = 24
	// SniffLimit is how many bytes are looked at. A request line that fills them with a method and a target is HTTP/1:
	// no other protocol looks like that for so long.
	SniffLimit = 1024
)

// Sniff tells the protocol from the first bytes that a client sent. A verdict other than NeedMore stays the same when
// more bytes follow, and at SniffLimit bytes there always is one. It does not allocate.
func Sniff(prefix []byte) Verdict {
	prefix = prefix[:min(len(prefix), SniffLimit)]
	if len(prefix) == 0 {
		return NeedMore
	}
	if prefix[0] == recordHandshake {
		return sniffTLS(prefix)
	}
	n := min(len(prefix), len(http2Preface))
	if string(prefix[:n]) == http2Preface[:n] {
		if n == len(http2Preface) {
			return HTTP2
		}
		return NeedMore
	}
	return sniffHTTP1(prefix)
}

// sniffTLS looks at the record header (RFC 8446 §5.1) and the type of the handshake message in it. The minor version
// is 1 or 3 in practice; 0 is SSL 3 and 4 has been seen from old TLS 1.3 drafts.
func sniffTLS(p []byte) Verdict {
	if len(p) > 1 && p[1] != 3 || len(p) > 2 && p[2] > 4 {
		return Opaque
	}
	if len(p) >= recordHeader {
		if n := int(p[3])<<8 | int(p[4]); n == 0 || n > maxRecord {
			return Opaque
		}
	}
	switch {
	case len(p) <= recordHeader:
		return NeedMore
	case p[recordHeader] == handshakeClientHello:
		return TLS
	}
	return Opaque
}

// sniffHTTP1 wants a whole request line (RFC 9112 §3): method, target and "HTTP/1." apart by single spaces. Less is
// not enough, because "GET x" is a Redis inline command and "set a 0 0 1" is memcached.
func sniffHTTP1(p []byte) Verdict {
	method, rest, ok := bytes.Cut(p, []byte{' '})
	if len(method) == 0 || len(method) > maxMethod || !all(method, isToken) {
		return Opaque
	}
	if !ok {
		return NeedMore
	}
	target, rest, ok := bytes.Cut(rest, []byte{' '})
	if !all(target, isVisible) || (ok && len(target) == 0) {
		return Opaque
	}
	if !ok {
		if len(p) == SniffLimit {
			return HTTP1
		}
		return NeedMore
	}
	const version = "HTTP/1."
	n := min(len(rest), len(version))
	switch {
	case string(rest[:n]) != version[:n]:
		return Opaque
	case n == len(version), len(p) == SniffLimit:
		return HTTP1
	}
	return NeedMore
}

func all(b []byte, ok func(byte) bool) bool {
	for _, c := range b {
		if !ok(c) {
			return false
		}
	}
	return true
}

// isToken follows RFC 9110 §5.6.2.
func isToken(c byte) bool {
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// isVisible allows bytes above ASCII as well: clients send raw UTF-8 in targets, whatever RFC 3986 says.
func isVisible(c byte) bool { return c > ' ' && c != 0x7f }
