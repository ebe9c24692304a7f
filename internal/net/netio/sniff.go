package netio

// Detected is what the first bytes of a connection are.
type Detected uint8

// What they may be. The zero value is invalid.
const (
	// NeedMore: the bytes so far fit more than one protocol.
	NeedMore Detected = iota + 1
	// HTTP1 is a request line of HTTP/1.0 or 1.1.
	HTTP1
	// HTTP2 is the connection preface (RFC 9113 §3.4).
	HTTP2
	// TLS is a handshake record that begins with a ClientHello.
	TLS
	// Opaque is anything else.
	Opaque
)

const (
	http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	// SniffLimit is how many bytes are looked at. Text that fills them with what a request line may begin with is HTTP/1:
	// no other protocol looks like that for so long.
	SniffLimit = 1024
)

// Claim is what is known of a port before its client has sent anything. The more it is, the less passes as opaque.
type Claim uint8

// The claims. The zero value is invalid.
const (
	// Unclaimed: nothing says what the port carries.
	Unclaimed Claim = iota + 1
	// Routed: nothing says it either, but there are rules for requests, which HTTP/0.9 must not get round.
	Routed
	// Declared: the port carries HTTP. What is no request is for the codec to refuse.
	Declared
)

// Sniff tells the protocol from the first bytes that a client sent. An answer other than NeedMore stays the same when
// more bytes follow, and at SniffLimit bytes there always is one. It does not allocate.
//
// It errs towards HTTP/1: relayed bytes meet no rule, and may hold fields that only a sidecar may set. So nothing is
// Opaque that a lenient server would read as a request.
func (c Claim) Sniff(prefix []byte) Detected {
	prefix = prefix[:min(len(prefix), SniffLimit)]
	n := min(len(prefix), len(http2Preface))
	switch {
	case n == len(http2Preface) && string(prefix[:n]) == http2Preface:
		return HTTP2
	case string(prefix[:n]) == http2Preface[:n]:
		return NeedMore
	case c == Declared:
		return HTTP1
	case prefix[0] == recordHandshake:
		return sniffTLS(prefix)
	}
	return c.sniffText(prefix)
}

// SpeaksHTTP tells by the first bytes that a server sends whether they are an HTTP server's. It has not decided the
// protocol by speaking first: HTTP/2 servers send SETTINGS without waiting for the client's preface (RFC 9113 §3.4), and
// HTTP/1.1 servers say 408 to a client that is silent for long. The answer is NeedMore, HTTP1, HTTP2 or Opaque.
func SpeaksHTTP(prefix []byte) Detected {
	const status = "HTTP/1."
	n := min(len(prefix), len(status))
	switch {
	case n == len(status) && string(prefix[:n]) == status:
		return HTTP1
	case string(prefix[:n]) == status[:n]:
		return NeedMore
	}
	// The header of a frame (RFC 9113 §4.1): a length below 64 KiB, type 4, no flags, stream 0.
	settings := [...]byte{3: 4, 8: 0}
	for i, c := range prefix[:min(len(prefix), len(settings))] {
		if c != settings[i] && i != 1 && i != 2 {
			return Opaque
		}
	}
	if len(prefix) < len(settings) {
		return NeedMore
	}
	return HTTP2
}

// sniffTLS looks at the record header (RFC 8446 §5.1) and the type of the handshake message in it. The minor version
// is 1 or 3 in practice; 0 is SSL 3 and 4 has been seen from old TLS 1.3 drafts.
func sniffTLS(p []byte) Detected {
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

// sniffText looks for a request line (RFC 9112 §3) as the most lenient servers read one: behind empty lines, split at
// blanks of any kind and number, the version in any case. Less than a whole line is not enough where nothing is claimed,
// because "GET x" is a Redis inline command and "set a 0 0 1" is memcached.
func (c Claim) sniffText(p []byte) Detected {
	undecided := NeedMore
	if len(p) == SniffLimit {
		undecided = HTTP1
	}
	start := 0
	for start < len(p) && (isBlank(p[start]) || p[start] == '\n') {
		start++
	}
	end := start
	for end < len(p) && isToken(p[end]) {
		end++
	}
	switch {
	case end == len(p):
		return undecided
	case end == start, !isBlank(p[end]):
		return Opaque
	}
	l := line{claim: c, method: p[start:end]}
	for i := end + 1; i < len(p); i++ {
		if v := l.next(p[i-1], p[i:]); v != NeedMore {
			return v
		}
		if l.version {
			break
		}
	}
	return undecided
}

// line is a request line behind its method.
type line struct {
	claim   Claim
	method  []byte
	words   int
	version bool // the rest may be the beginning of a version
}

// next looks at the byte rest[0], which follows before.
func (l *line) next(before byte, rest []byte) Detected {
	const version = "http/"
	b := rest[0]
	switch {
	case b == '\n', b == 0:
		return Opaque
	case isControl(b) && !isLetter(l.method[0]):
		return Opaque // LDAP and its like: "0" and a blank are how a message of 32 bytes begins
	case isBlank(b), !isBlank(before): // no word begins here
		return NeedMore
	case l.claim == Routed:
		return HTTP1
	}
	n := min(len(rest), len(version))
	l.version = equalFold(rest[:n], version[:n])
	switch {
	case l.version && n == len(version):
		return HTTP1
	case l.version, isLatin1Blank(before): // what only few servers take for a blank may be part of a target in UTF-8
		return NeedMore
	}
	l.words++
	if l.words == 2 {
		return Opaque
	}
	return NeedMore
}

// isToken follows RFC 9110 §5.6.2.
func isToken(c byte) bool {
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return '0' <= c && c <= '9' || isLetter(c)
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// isBlank holds for what RFC 9112 §3 lets servers take for a blank, and for what Python's str.split does.
func isBlank(c byte) bool {
	return c == ' ' || '\t' <= c && c <= '\r' && c != '\n' || 0x1c <= c && c <= 0x1f || isLatin1Blank(c)
}

func isLatin1Blank(c byte) bool { return c == 0x85 || c == 0xa0 }

func isControl(c byte) bool { return c < ' ' && !isBlank(c) || c == 0x7f }

// equalFold compares b with ASCII letters in lower case.
func equalFold(b []byte, lower string) bool {
	for i, c := range b {
		if c|0x20 != lower[i] {
			return false
		}
	}
	return true
}
