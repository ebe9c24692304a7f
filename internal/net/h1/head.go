package h1

import (
	"bytes"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// collector gathers a head, or a trailer section, from the buffer into the memory of a Fields, across as many reads
// as it takes. It never waits.
type collector struct {
	scanned int // bytes of the buffer that hold no end of head
	taken   int // bytes already moved out of a full buffer
}

// collect moves the block up to and including its empty line. It returns false where more must be read first.
func (c *collector) collect(in *input, f *httpx.Fields, limit int) (bool, error) {
	data := in.bytes()
	from := max(c.scanned-3, 0)
	if i := bytes.Index(data[from:], []byte("\r\n\r\n")); i >= 0 {
		n := from + i + 4
		if c.taken+n > limit {
			return false, c.tooLarge(f, data[:n], limit)
		}
		f.AppendBlock(data[:n])
		in.consume(n)
		*c = collector{}
		return true, nil
	}
	// An end written with bare LFs would never be found: refuse such a line as soon as it is seen.
	for at := c.scanned; ; {
		i := bytes.IndexByte(data[at:], '\n')
		if i < 0 {
			break
		}
		at += i + 1
		if at < 2 || data[at-2] != '\r' {
			return false, bad("a line ends in LF without CR")
		}
	}
	c.scanned = len(data)
	if c.taken+len(data) > limit {
		return false, c.tooLarge(f, data, limit)
	}
	if in.full() {
		n := len(data) - 3 // the end may lie across the border
		f.AppendBlock(data[:n])
		in.consume(n)
		c.taken += n
		c.scanned = 3
	}
	return false, nil
}

func (c *collector) tooLarge(f *httpx.Fields, data []byte, limit int) error {
	if bytes.IndexByte(f.Block(0, f.Size()), '\n') < 0 && bytes.IndexByte(data, '\n') < 0 {
		return &Error{statusURITooLong, "the request line is longer than " + itoa(limit) + " bytes"}
	}
	return &Error{statusHeadTooLarge, "the head is longer than " + itoa(limit) + " bytes"}
}

// role sorts field names by what the codec does with them.
type role uint8

const (
	roleOrdinary role = iota
	roleHost
	roleContentLength
	roleTransferEncoding
	roleConnection
	roleUpgrade
	roleTE
	roleExpect
	roleKeepAlive
	roleHop // removed without a look
)

// kindOf tells by length first: hardly any ordinary field gets as far as a comparison.
func roleOf(name []byte) role {
	switch len(name) {
	case 2:
		return ifName(name, "te", roleTE)
	case 4:
		return ifName(name, "host", roleHost)
	case 6:
		return ifName(name, "expect", roleExpect)
	case 7:
		return ifName(name, "upgrade", roleUpgrade)
	case 10:
		if httpx.EqualFold(name, "keep-alive") {
			return roleKeepAlive
		}
		return ifName(name, "connection", roleConnection)
	case 14:
		if httpx.EqualFold(name, "http2-settings") { // RFC 9113 §3.2.1: of h2c upgrades only
			return roleHop
		}
		return ifName(name, "content-length", roleContentLength)
	case 16:
		return ifName(name, "proxy-connection", roleHop)
	case 17:
		return ifName(name, "transfer-encoding", roleTransferEncoding)
	}
	return roleOrdinary
}

func ifName(name []byte, is string, r role) role {
	if httpx.EqualFold(name, is) {
		return r
	}
	return roleOrdinary
}

// maxConnectionFields bounds how many Connection fields one head may have.
const maxConnectionFields = 4

// head is what the codec keeps to itself of a message's fields.
type head struct {
	host    []byte
	hosts   int
	length  int64 // -1 where there is no Content-Length
	lengths []byte
	chunked bool
	upgrade []byte
	// patience is the value of Keep-Alive (RFC 2068 §19.7.1.1), nil where there is none.
	patience []byte

	close, keepAlive, upgrading bool // options of Connection
	trailersWelcome             bool // TE: trailers
	expectContinue              bool

	listed  int // fields of Connection
	options [maxConnectionFields][]byte
}

// parse reads the field lines of f's block between off and end and makes the ordinary ones fields of f.
func (h *head) parse(f *httpx.Fields, off, end int, maxFields int) error {
	*h = head{length: -1}
	for n := 0; off < end; n++ {
		if n == maxFields {
			return &Error{statusHeadTooLarge, "more than " + itoa(maxFields) + " fields"}
		}
		line, next, err := cutLine(f, off, end)
		if err != nil {
			return err
		}
		if err := h.field(f, off, line); err != nil {
			return err
		}
		off = next
	}
	if h.chunked && h.lengths != nil {
		return bad("Content-Length beside Transfer-Encoding") // RFC 9112 §6.1: possible request smuggling
	}
	return h.removeListed(f)
}

// cutLine gives the line that starts at off, without its CRLF, and where the next one starts.
func cutLine(f *httpx.Fields, off, end int) (line []byte, next int, err error) {
	block := f.Block(off, end-off)
	n := bytes.IndexByte(block, '\n')
	if n < 1 || block[n-1] != '\r' {
		return nil, 0, bad("a line ends in LF without CR")
	}
	return block[:n-1], off + n + 1, nil
}

func (h *head) field(f *httpx.Fields, off int, line []byte) error {
	name, value, err := cutField(line)
	if err != nil {
		return err
	}
	k := roleOf(name)
	keep, err := h.note(k, value)
	if err != nil || !keep {
		return err
	}
	f.AddSpan(off, len(name), off+valueStart(line, len(name)), len(value))
	return nil
}

func valueStart(line []byte, nameLen int) int {
	i := nameLen + 1
	for i < len(line) && isBlank(line[i]) {
		i++
	}
	return i
}

func cutField(line []byte) (name, value []byte, err error) {
	colon := bytes.IndexByte(line, ':')
	switch {
	case len(line) > 0 && isBlank(line[0]):
		return nil, nil, bad("a field line starts with a blank (line folding, RFC 9112 §5.2)")
	case colon < 0:
		return nil, nil, badf("field line %q has no colon", clip(line))
	}
	name, value = line[:colon], trimBlanks(line[colon+1:])
	if !isToken(name) {
		return nil, nil, badf("field name %q has a blank or a character that is not allowed", clip(name))
	}
	if !httpx.IsText(value) {
		return nil, nil, badf("value of field %s has a control character", clip(name))
	}
	return name, value, nil
}

// note takes from a field what the codec needs and reports whether it stays among the fields.
func (h *head) note(r role, value []byte) (keep bool, err error) {
	switch r {
	case roleOrdinary:
		return true, nil
	case roleKeepAlive:
		h.patience = value
		return false, nil
	case roleHop:
		return false, nil
	case roleHost:
		h.hosts++
		h.host = value
		return false, nil
	case roleContentLength:
		return false, h.noteLength(value)
	case roleTransferEncoding:
		return false, h.noteCoding(value)
	case roleConnection:
		return false, h.noteConnection(value)
	case roleUpgrade:
		if h.upgrade == nil {
			h.upgrade = value
		}
		return false, nil
	case roleTE:
		return h.noteTE(value), nil
	case roleExpect:
		if httpx.EqualFold(value, "100-continue") {
			h.expectContinue = true
			return false, nil
		}
		return true, nil
	}
	return true, nil
}

// noteLength follows RFC 9112 §6.3 rule 5, and refuses the lists it would let us merge.
func (h *head) noteLength(value []byte) error {
	n, ok := parseLength(value)
	if !ok {
		return badf("Content-Length %q is not a number below 2^63", clip(value))
	}
	if h.lengths != nil && !bytes.Equal(h.lengths, value) {
		return badf("Content-Length twice: %s and %s", clip(h.lengths), clip(value))
	}
	h.length, h.lengths = n, value
	return nil
}

func (h *head) noteCoding(value []byte) error {
	if h.chunked {
		return bad("Transfer-Encoding twice")
	}
	if !httpx.EqualFold(value, "chunked") {
		return &Error{statusNotImplemented, "Transfer-Encoding " + quote(value) + ", only chunked is known"}
	}
	h.chunked = true
	return nil
}

func (h *head) noteConnection(value []byte) error {
	if h.listed == maxConnectionFields {
		return badf("more than %d Connection fields", maxConnectionFields)
	}
	h.options[h.listed] = value
	h.listed++
	return nil
}

// noteTE keeps "trailers" and drops transfer codings: they are between neighbours, trailers matter end to end.
func (h *head) noteTE(value []byte) bool {
	if h.trailersWelcome || !httpx.EqualFold(value, "trailers") {
		return false
	}
	h.trailersWelcome = true
	return true
}

// removeListed reads the options of Connection, and removes the fields it lists (RFC 9110 §7.6.1).
func (h *head) removeListed(f *httpx.Fields) error {
	const maxOptions = 32
	n := 0
	for _, list := range h.options[:h.listed] {
		for list != nil {
			var option []byte
			option, list = nextElement(list)
			n++
			if n > maxOptions {
				return badf("more than %d options in Connection", maxOptions)
			}
			h.option(f, option)
		}
	}
	return nil
}

func (h *head) option(f *httpx.Fields, option []byte) {
	switch {
	case len(option) == 0:
	case httpx.EqualFold(option, "close"):
		h.close = true
	case httpx.EqualFold(option, "keep-alive"):
		h.keepAlive = true
	case httpx.EqualFold(option, "upgrade"):
		h.upgrading = true
	case httpx.EqualFold(option, "te"): // the field that is left says "trailers"
	case roleOf(option) == roleOrdinary:
		f.Del(string(option))
	}
}

// protocol is what to upgrade to, nil for none. An h2c offer counts as none.
func (h *head) protocol() []byte {
	if !h.upgrading || len(h.upgrade) == 0 {
		return nil
	}
	for list := h.upgrade; list != nil; {
		var offer []byte
		offer, list = nextElement(list)
		if httpx.EqualFold(offer, "h2c") {
			return nil
		}
	}
	return h.upgrade
}

// persists reports whether the peer keeps the connection open (RFC 9112 §9.3).
func (h *head) persists(v httpx.Version) bool {
	return !h.close && (v == httpx.HTTP11 || h.keepAlive)
}

// parseTrailers makes fields of a trailer section; those that frame or route are dropped (RFC 9110 §6.5.1).
func parseTrailers(f *httpx.Fields, maxFields int) error {
	off, end := 0, f.Size()-2
	for n := 0; off < end; n++ {
		if n == maxFields {
			return &Error{statusHeadTooLarge, "more than " + itoa(maxFields) + " trailers"}
		}
		line, next, err := cutLine(f, off, end)
		if err != nil {
			return err
		}
		name, value, err := cutField(line)
		if err != nil {
			return err
		}
		if roleOf(name) == roleOrdinary {
			f.AddSpan(off, len(name), off+valueStart(line, len(name)), len(value))
		}
		off = next
	}
	return nil
}

// maxKeepAlive bounds what a server can say, in seconds.
const maxKeepAlive = 24 * 60 * 60

// timeout is how long the sender keeps the connection while it is idle (Keep-Alive: timeout=5, max=100); 0 where it does not
// say so, or says it in another way.
func (h *head) timeout() time.Duration {
	for list := h.patience; list != nil; {
		var element []byte
		element, list = nextElement(list)
		name, value, _ := bytes.Cut(element, []byte("="))
		if !httpx.EqualFold(trimBlanks(name), "timeout") {
			continue
		}
		seconds := int64(0)
		digits := bytes.Trim(trimBlanks(value), `"`)
		for _, c := range digits {
			if c < '0' || c > '9' || seconds > maxKeepAlive {
				return 0
			}
			seconds = seconds*10 + int64(c-'0')
		}
		return time.Duration(min(seconds, maxKeepAlive)) * time.Second
	}
	return 0
}
