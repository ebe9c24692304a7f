package h2

import (
	"bytes"
	"strconv"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// section is what a header block is allowed to be.
type section uint8

const (
	sectionRequest  section = iota + 1
	sectionResponse         // or the trailers after one; which, the stream's state tells
	sectionTrailers
)

// The pseudo-header fields, RFC 9113 §8.3 and RFC 8441 §4, as a set of bits.
const (
	pseudoMethod = 1 << iota
	pseudoScheme
	pseudoAuthority
	pseudoPath
	pseudoProtocol
	pseudoStatus
)

// headReader collects the fields of one block, enforcing RFC 9113 §8.1 to §8.3. Regular fields go to fields, and the
// bytes of pseudo-header fields live in the same buffer.
type headReader struct {
	section section
	fields  *httpx.Fields
	limit   int // of the header list, bytes
	// anyAuthority leaves an :authority out that cannot be one, see Options.AnyAuthority.
	anyAuthority bool
	size         int
	// bad is the first rule broken, "" for none. The block is read to its end all the same, for HPACK's sake.
	bad      string
	tooLarge bool

	pseudo                                          uint8 // those seen
	regular                                         bool  // a regular field was seen
	method, scheme, authority, path, protocol, host []byte
	status                                          int
	length                                          int64 // content-length, -1 for none
	expect                                          bool
	cookies                                         int
	grpc                                            bool // by its content-type, also of a head that is too large
}

func (h *headReader) reset(s section, fields *httpx.Fields) {
	fields.Reset()
	*h = headReader{section: s, fields: fields, limit: h.limit, anyAuthority: h.anyAuthority, length: -1}
}

func (h *headReader) fail(rule string) {
	if h.bad == "" {
		h.bad = rule
	}
}

// field takes one field. Valid says that name and value keep the rules for their bytes.
func (h *headReader) field(name, value []byte, valid bool) { //nolint:revive // valid is a fact, not a switch
	h.size += len(name) + len(value) + entryOverhead // RFC 9113 §10.5.1
	if h.size > h.limit {
		h.tooLarge = true
		h.noteType(name, value)
		return
	}
	if !valid {
		h.fail("invalid field " + strconv.Quote(string(name)))
		return
	}
	if name[0] == ':' {
		h.pseudoField(name, value)
		return
	}
	h.regular = true
	if h.plain(name, value) {
		h.fields.Add(name, value)
	}
}

// keep copies a pseudo-header field's value next to the fields.
func (h *headReader) keep(v []byte) []byte {
	return h.fields.Block(h.fields.AppendBlock(v), len(v))
}

func (h *headReader) pseudoField(name, value []byte) {
	if h.regular {
		h.fail("pseudo-header field after a regular one")
		return
	}
	bit, dst := h.pseudoSlot(name)
	if bit == 0 || (bit == pseudoStatus) != (h.section == sectionResponse) || h.section == sectionTrailers {
		h.fail("unexpected pseudo-header field " + strconv.Quote(string(name)))
		return
	}
	if h.pseudo&bit != 0 {
		h.fail("repeated pseudo-header field " + strconv.Quote(string(name)))
		return
	}
	h.pseudo |= bit
	if bit != pseudoStatus {
		*dst = h.keep(value)
		return
	}
	if h.status = parseStatus(value); h.status == 0 {
		h.fail("invalid :status")
	}
}

func (h *headReader) pseudoSlot(name []byte) (bit uint8, dst *[]byte) {
	switch string(name) {
	case ":method":
		return pseudoMethod, &h.method
	case ":scheme":
		return pseudoScheme, &h.scheme
	case ":authority":
		return pseudoAuthority, &h.authority
	case ":path":
		return pseudoPath, &h.path
	case ":protocol":
		return pseudoProtocol, &h.protocol
	case ":status":
		return pseudoStatus, nil
	}
	return 0, nil
}

func parseStatus(v []byte) int {
	if len(v) != 3 || v[0]-'1' >= 9 || v[1]-'0' >= 10 || v[2]-'0' >= 10 {
		return 0
	}
	return int(v[0]-'0')*100 + int(v[1]-'0')*10 + int(v[2]-'0')
}

// plain handles the regular fields that mean something to the codec, and tells whether the field is one of the head.
func (h *headReader) plain(name, value []byte) bool {
	switch string(name) {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade": // RFC 9113 §8.2.2
		h.fail("connection-specific field " + strconv.Quote(string(name)))
		return false
	case "te":
		if !httpx.EqualFold(value, "trailers") {
			h.fail("te other than trailers")
		}
	case "content-length":
		h.contentLength(value)
		return false
	case "host":
		if h.section != sectionRequest {
			return true
		}
		if h.host != nil && !bytes.Equal(h.host, value) {
			h.fail("host fields that differ")
		}
		h.host = h.keep(value)
		return false
	case "expect":
		if h.section == sectionRequest && httpx.EqualFold(value, "100-continue") {
			h.expect = true
			return false
		}
	case "cookie":
		h.cookies++
	case "content-type":
		h.noteType(name, value)
	}
	return true
}

// noteType looks for gRPC, whose calls are refused in their own way.
func (h *headReader) noteType(name, value []byte) {
	if string(name) == "content-type" {
		h.grpc = httpx.IsGRPC(value)
	}
}

// contentLength reads digits only. The same value may come repeatedly (RFC 9110 §8.6).
func (h *headReader) contentLength(v []byte) {
	n := int64(0)
	for _, c := range v {
		if c-'0' >= 10 || n > (1<<62)/10 {
			h.fail("invalid content-length")
			return
		}
		n = n*10 + int64(c-'0')
	}
	if len(v) == 0 || h.length >= 0 && h.length != n {
		h.fail("invalid content-length")
		return
	}
	h.length = n
}

// request completes the head of a request, and returns the rule it breaks, "" for none.
func (h *headReader) request(r *httpx.Request) string {
	const ordinary = pseudoMethod | pseudoScheme | pseudoPath
	r.Version, r.Method, r.Scheme, r.Path = httpx.HTTP2, h.method, h.scheme, h.path
	r.Authority, r.ContentLength, r.ExpectContinue = h.authority, h.length, h.expect
	switch {
	case h.bad != "":
		return h.bad
	case string(h.method) != "CONNECT":
		if h.pseudo&^pseudoAuthority != ordinary {
			return "pseudo-header fields missing or too many"
		}
		if rule := validPath(r); rule != "" {
			return rule
		}
	case h.protocol != nil: // RFC 8441 §4
		if h.pseudo != ordinary|pseudoAuthority|pseudoProtocol || validPath(r) != "" || len(h.protocol) == 0 {
			return "extended CONNECT with invalid pseudo-header fields"
		}
		r.Method, r.Upgrade, r.ContentLength = staticTable[2].value, h.protocol, -1
	case h.pseudo != pseudoMethod|pseudoAuthority || !httpx.IsHostPort(h.authority): // RFC 9113 §8.5
		return "CONNECT with invalid pseudo-header fields"
	default:
		r.ContentLength = -1
	}
	return h.finish(r)
}

// finish checks what HTTP/1 would otherwise let slip into a request line, and joins what HTTP/2 takes apart.
func (h *headReader) finish(r *httpx.Request) string {
	for _, c := range r.Method {
		if !isToken(c) {
			return "invalid :method"
		}
	}
	for _, c := range r.Scheme {
		if c != '+' && c != '-' && c != '.' && c-'0' >= 10 && c|0x20-'a' >= 26 {
			return "invalid :scheme"
		}
	}
	if len(r.Authority) == 0 {
		r.Authority = h.host
	} else if h.host != nil && !bytes.EqualFold(r.Authority, h.host) {
		return "host that differs from :authority"
	}
	if !httpx.IsHost(r.Authority) {
		if !h.anyAuthority {
			return "invalid :authority"
		}
		r.Authority = nil
	}
	if h.cookies > 1 {
		joinCookies(h.fields)
	}
	return ""
}

func validPath(r *httpx.Request) string {
	switch {
	case len(r.Method) == 0:
		return "empty :method"
	case len(r.Path) > 0 && r.Path[0] == '/' && httpx.IsTarget(r.Path):
		return ""
	case string(r.Path) == "*" && string(r.Method) == "OPTIONS":
		return ""
	}
	return "invalid :path"
}

// joinCookies makes one field of several, as RFC 9113 §8.2.3 asks before the request leaves HTTP/2.
func joinCookies(f *httpx.Fields) {
	var all []byte
	for i := f.Next("cookie", 0); i >= 0; i = f.Next("cookie", i+1) {
		_, v := f.At(i)
		if all != nil {
			all = append(all, "; "...)
		}
		all = append(all, v...)
	}
	f.Set("cookie", string(all))
}
